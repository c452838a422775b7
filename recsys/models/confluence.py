"""Confluence: the standardised scores of several models, added up at weights chosen on validation; ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import field_validator
from torch import Tensor, nn

from recsys.errors import UserError
from recsys.evaluation.evaluator import COLD_POOL, WARM
from recsys.evaluation.scorers import KeptScorer, Scorer, StandardScorer, SumScorer
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.sampler import derived_seed
from recsys.inputs.train_settings import TrainSettings
from recsys.inputs.training_data import TrainingData
from recsys.models import MODELS
from recsys.models.base import Model, figure_by
from recsys.models.inner import inner_settings, own_settings
from recsys.serving.parts import Part, Standard, Sum
from recsys.settings import Settings, build, merge, setting

DENSE = frozenset({"ease", "contentridge"})
"""Models that hold a number for each pair of items."""
MULTIPLES = (0.0, 0.3, 0.6, 1.0, 1.6, 2.5)
"""Multiples of a component's weight, which validation chooses among."""
COLD_OFFSETS = (-0.5, -0.2, 0.0, 0.2, 0.5, 0.8, 1.2, 1.8, 2.5)
"""Offsets of cold items' scores, which validation chooses among, in multiples of the warm weights' sum."""
CACHED_BYTES = 2**31
"""Size of the components' scores that are kept while weights are calibrated; scores beyond it are computed anew."""


class Component(Settings):
    """One model of the sum."""

    weight: float = setting(1.0, "weight of its standardised scores; 0 leaves it out for warm items", low=0)
    cold_weight: float | None = setting(
        None, "weight for cold items; 0 leaves it out for them; empty: as `weight`", low=0
    )
    settings: dict[str, Any] = setting({}, "settings of the model and of its training by name")


class ConfluenceSettings(Settings):
    components: dict[str, Component] = setting(
        {
            "cm3": Component(),
            "mmhcl": Component(),
            "hyperwalk": Component(weight=0.5),
            "ease": Component(weight=0.5, settings={"content": 1.0}),
            "contentridge": Component(weight=0.3),
            "pop": Component(settings={"power": 0.5}),
        },
        "model name -> {weight, cold_weight, settings}; a mapping replaces all of it, a dotted key "
        "(components.ease.weight) changes or adds one value",
    )
    cold_offset: float = setting(0.0, "added to the weighted sum of a cold item's standardised scores")
    ensemble_size: int = setting(
        1,
        "models of each trained component, from different seeds, whose scores are averaged",
        low=1,
        high=100,
    )
    dense_up_to: int = setting(
        17_000,
        "largest number of items with ease and contentridge, which hold a number for each pair of items",
        low=0,
    )
    calibrate: bool = setting(True, "choose among multiples of the weights on validation, for cold items too")
    calibrate_cold_offset: Literal["none", "overall", "harmonic"] = setting(
        "overall",
        "what the cold items' offset is chosen by: all answers, or the harmonic mean of warm and cold ones",
    )

    @field_validator("components")
    @classmethod
    def _known(cls, components: dict[str, Component]) -> dict[str, Component]:
        for name, component in components.items():
            if MODELS.get(name).stages is not Model.stages:
                raise UserError(f"components: {name} is made of components itself; name other models")
            _divided(name, component)
        return components


class Confluence(Model):
    """score = sum over components of weight * (score - mean) / standard deviation, both over the warm items that the
    component ranks.

    A component is any registered model. Those of the default see different things. CM3's items are their content
    alone, on the unit sphere, kept apart as far as content says (calibrated uniformity). MMHCL's have ID tables whose
    norms carry popularity, contrasted with hypergraphs of users and of content neighbourhoods. HyperWalk counts steps
    over hyperedges: where a user has two or three interactions, no table learns what they say at once. EASE solves for
    item-item weights, which are hard to beat where interactions are many. ContentRidge weighs a user's items by
    content, for cold items first of all. Pop is the best guess for users of whom next to nothing is known. Others are
    of use on some data: LightGCN knows the graph alone, WMF solves in few dimensions, TwoTower learns which features go
    together, AFF reads attributes. Each is wrong elsewhere, and scores on one scale add up to better rankings than any
    of them gives.

    Components share no parameter: each trained one is trained to its own best epoch, then the weights are calibrated
    on validation. With `ensemble_size` above 1 a trained component's scores are the mean of several trainings from
    different seeds.

    Cold items, whose scores come from content alone, have weights of their own, calibrated by ranking cold items among
    themselves, and an offset, for their scores are less sure than warm items' and not lower. `calibrate_cold_offset`
    says whom the offset serves: all answers, most of which are warm items, or cold and warm ones alike, by the harmonic
    mean of their figures. Where one draw of cold items says little of the next, `calibrate = False` keeps the given
    `weight`, `cold_weight` and `cold_offset`. A new item is scored as a cold item of the catalogue is, and no score
    depends on which other new items there are.

    EASE and ContentRidge hold 4 bytes for every pair of items, and 8 more while the second is fitted: 4.6 GB for
    17,000. A catalogue beyond `dense_up_to` items goes without them.
    """

    Settings = ConfluenceSettings
    paper = "None: this engine's sum of models' standardised scores"
    train_defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 2048, "patience": 10}
    reads_content = True
    ranks_cold_items = True
    exports_vectors = False
    calibrated = ("weights", "cold_weights", "cold_offset")
    weights: Tensor
    cold_weights: Tensor
    cold_offset: Tensor

    def __init__(self, settings: ConfluenceSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        small = data.n_items <= settings.dense_up_to
        used = {name: one for name, one in settings.components.items() if small or name not in DENSE}
        warm = {name: one.weight for name, one in used.items()}
        cold = {
            name: one.weight if one.cold_weight is None else one.cold_weight for name, one in used.items()
        }
        names = [name for name in used if warm[name] or cold[name]]
        for key, weights in (("weight", warm), ("cold_weight", cold)):
            if not any(weights.values()):
                raise UserError(f"confluence: each {key} is 0; give a component one above 0")
        if all(MODELS.get(name).closed_form for name in names):
            raise UserError(f"confluence: {', '.join(names)} are not trained; add a component that is")
        self.train_settings: dict[str, dict[str, Any]] = {}
        self.components = {name: self._ensemble(name, seed) for name in names}
        self.ensembles = nn.ModuleList(nn.ModuleList(models) for models in self.components.values())
        self.register_buffer("weights", torch.tensor([warm[name] for name in names]))
        self.register_buffer("cold_weights", torch.tensor([cold[name] for name in names]))
        self.register_buffer("cold_offset", torch.tensor([settings.cold_offset]))
        self.unfitted = [models[0] for models in self.components.values() if models[0].closed_form]
        self.calibrating, self.cached = False, list[Scorer]()
        first = [models[0] for models in self.components.values()]
        self.reads_content = any(model.reads_content for model in first)
        self.ranks_cold_items = any(model.ranks_cold_items for model in first)

    def _ensemble(self, name: str, seed: int) -> list[Model]:
        """A component's model, once for each seed; a closed-form one once."""
        model, (settings, training) = MODELS.get(name), _divided(name, self.settings.components[name])
        if model.reads_content is True and not self.data.modalities:
            raise UserError(
                f"confluence: its component {name} reads content, and this data set has none; name another model, such "
                "as ease or lightgcn (--model), or components that read none"
            )
        if not model.closed_form:
            self.train_settings[name] = training
        size = 1 if model.closed_form else self.settings.ensemble_size
        seeds = [seed, *(derived_seed(seed, number) for number in range(1, size))]
        return [model(settings, self.data, each) for each in seeds]

    @classmethod
    def source_modules(cls, settings: Mapping[str, Any]) -> tuple[str, ...]:
        components = own_settings(cls, settings).components
        modules = [MODELS.get(name).source_modules(one.settings) for name, one in components.items()]
        return tuple(sorted({*super().source_modules(settings), *(m for some in modules for m in some)}))

    def stages(self, settings: Any) -> Mapping[str, tuple[Model, Any]]:
        shared = settings.model_dump()
        return {
            f"{name}-{number}" if number else name: (model, build(TrainSettings, merge(shared, own), name))
            for name, own in self.train_settings.items()
            for number, model in enumerate(self.components[name])
        }

    def calibrate(self, validate: Callable[[str], float]) -> None:
        """Try multiples of each weight in turn, twice over, and keep what validation ranks best: warm items' weights
        by the answers that are warm, cold items' among cold ones; then the cold items' offset, by all answers."""
        if not self.settings.calibrate:
            return
        self.calibrating = True
        try:
            by = self.settings.calibrate_cold_offset
            if has_warm := np.isfinite(validate(WARM)):
                self._climb(self.weights, lambda: validate(WARM))
            if np.isfinite(validate(COLD_POOL)):
                self._climb(self.cold_weights, lambda: validate(COLD_POOL))
                if by != "none":
                    self._choose_offset(lambda: figure_by(by if has_warm else "overall", validate))
            elif all(one.cold_weight is None for one in self.settings.components.values()):
                self.cold_weights.copy_(self.weights)
        finally:
            self.calibrating, self.cached = False, []

    def _climb(self, values: Tensor, validate: Callable[[], float]) -> None:
        """Coordinate ascent, in place; a weight of 0 tries multiples of the smallest other one."""
        best, start = validate(), values.clone()
        start[start == 0] = start[start > 0].min()
        for place in 2 * list(range(len(values))):
            kept = values[place].item()
            for multiple in MULTIPLES:
                values[place] = multiple * start[place]
                value = validate()
                if value > best and values.any():
                    best, kept = value, values[place].item()
            values[place] = kept

    def _choose_offset(self, validate: Callable[[], float]) -> None:
        """Scale and offset of the cold items' scores, which leave their order among themselves. A scale of 1 brings the
        sum of their weights to that of the warm ones: ranked among themselves, cold items have no scale."""
        best, kept = validate(), (self.cold_weights.clone(), float(self.cold_offset))
        direction = self.cold_weights * (self.weights.sum() / self.cold_weights.sum())
        for scale in MULTIPLES[1:]:
            for offset in COLD_OFFSETS:
                self.cold_weights.copy_(scale * direction)
                self.cold_offset.fill_(offset * self.weights.sum())
                value = validate()
                if value > best:
                    best, kept = value, (self.cold_weights.clone(), float(self.cold_offset))
        self.cold_weights.copy_(kept[0])
        self.cold_offset.fill_(kept[1])

    @torch.no_grad()
    def scores(self, query_users: QueryUsers, new_items: NewItems | None) -> Scorer:
        scorers = self.cached or self._standardised(query_users, new_items)
        if self.calibrating and not self.cached:
            self.cached = scorers = [KeptScorer(scorer, CACHED_BYTES // len(scorers)) for scorer in scorers]
        cold = torch.ones(scorers[0].n_items, dtype=torch.bool)
        cold[: self.data.n_items] = torch.from_numpy(~self.data.warm_items)
        with_offset = cold.clone()
        if new_items is not None:
            with_offset[self.data.n_items :] = torch.from_numpy(~self.without_content(new_items))
        device = scorers[0].device
        weights = torch.where(cold, self.cold_weights.cpu()[:, None], self.weights.cpu()[:, None]).to(device)
        return SumScorer(scorers, weights, offset=(with_offset * self.cold_offset.cpu()).to(device))

    def _standardised(self, query_users: QueryUsers, new_items: NewItems | None) -> list[Scorer]:
        self._fit_closed()
        return [self._averaged(models, query_users, new_items) for models in self.components.values()]

    def _averaged(
        self, models: Sequence[Model], query_users: QueryUsers, new_items: NewItems | None
    ) -> StandardScorer:
        """A component that reads no content scores a new item lowest, as it does a cold one of the catalogue; every
        component scores a new item without content as the average item."""
        counted = self._counted(models[0])
        if new_items is None or models[0].ranks_cold_items:
            return StandardScorer([each.scorer(query_users, new_items) for each in models], counted)
        unknown = ~self.without_content(new_items)
        return StandardScorer([each.scorer(query_users) for each in models], counted, unknown)

    @torch.no_grad()
    def served(self, users: QueryUsers) -> Part | None:
        self._fit_closed()
        reads = list(getattr(self, "modalities", self.data.modalities))
        parts: list[Part] = []
        for models in self.components.values():
            served = [model.serving(users) for model in models]
            if None in served:
                return None
            counted = np.flatnonzero(self._counted(models[0]))
            known = [part for part in served if part is not None]
            parts.append(Standard(known, counted, models[0].ranks_cold_items, reads))
        cold = ~self.data.warm_items
        of_cold, of_warm = self.cold_weights.cpu().numpy(), self.weights.cpu().numpy()
        weights = np.where(cold, of_cold[:, None], of_warm[:, None]).astype(np.float32)
        offset = float(self.cold_offset)
        return Sum(parts, weights, (cold * offset).astype(np.float32), of_cold, offset, reads)

    def _counted(self, model: Model) -> np.ndarray:
        """(n_items,) bool: the warm items that a component's model ranks."""
        return self.data.warm_items & ~model.cannot_score()

    def _fit_closed(self) -> None:
        """Fit the closed-form components, once, when their scores are first needed; a loaded model has them fitted."""
        while self.unfitted:
            self.unfitted.pop().fit()

    def arrays(self) -> dict[str, Tensor]:
        self._fit_closed()
        return super().arrays()

    def load_arrays(self, arrays: Mapping[str, Tensor]) -> None:
        super().load_arrays(arrays)
        self.unfitted = []

    def modality_vectors(self) -> Mapping[str, Tensor]:
        return next(iter(self.components.values()))[0].modality_vectors()


def _divided(name: str, component: Component) -> tuple[Any, dict[str, Any]]:
    """The settings of a component's model, and what its training does otherwise than the others'."""
    return inner_settings(MODELS.get(name), component.settings, f"components.{name}.settings")

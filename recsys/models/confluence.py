"""Confluence: models that see different things, each on its own scale, added up; ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from recsys.coldstart.cold_items import harmonic_mean
from recsys.errors import UserError, nearest
from recsys.evaluation.evaluator import COLD, COLD_POOL, OVERALL, WARM
from recsys.evaluation.scorers import KeptScorer, Scorer, StandardScorer, SumScorer
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.sampler import derived_seed
from recsys.inputs.train_settings import TrainSettings
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model
from recsys.models.closed_form.contentridge import ContentRidge
from recsys.models.closed_form.ease import EASE
from recsys.models.closed_form.hyperwalk import HyperWalk
from recsys.models.closed_form.pop import Pop
from recsys.models.closed_form.wmf import WMF
from recsys.models.cold_start.aff import AFF
from recsys.models.cold_start.twotower import TwoTower
from recsys.models.collaborative.lightgcn import LightGCN
from recsys.models.multimodal.cm3 import CM3
from recsys.models.multimodal.mmhcl import MMHCL
from recsys.settings import Settings, build, divide, setting

TRAINED = {
    "calibrated": CM3,
    "contrastive": MMHCL,
    "collaborative": LightGCN,
    "adaptive": AFF,
    "tower": TwoTower,
}
CLOSED = {"walk": HyperWalk, "linear": EASE, "ridge": ContentRidge, "factors": WMF, "popularity": Pop}
DENSE = ("linear", "ridge")
PARTS = (*TRAINED, *CLOSED)
MULTIPLES = (0.0, 0.3, 0.6, 1.0, 1.6, 2.5)
"""Of a part's weight, which validation chooses among."""
COLD_OFFSETS = (-0.5, -0.2, 0.0, 0.2, 0.5, 0.8, 1.2, 1.8, 2.5)
"""What validation chooses among to add to cold items' scores, in standard deviations of all parts together."""
KEPT_BYTES = 2**31
"""Of the parts' scores, remembered while weights are calibrated; what lies beyond is scored anew each time."""


class ConfluenceSettings(Settings):
    calibrated: float = setting(1.0, "weight of CM3's scores; 0 leaves the part out", low=0)
    contrastive: float = setting(1.0, "weight of MMHCL's scores; 0 leaves the part out", low=0)
    collaborative: float = setting(
        0.0, "weight of LightGCN's scores, which know no content; 0 leaves the part out", low=0
    )
    adaptive: float = setting(
        0.0, "weight of AFF's scores, for data with attributes; 0 leaves the part out", low=0
    )
    tower: float = setting(
        0.0, "weight of TwoTower's scores, for data rich in tags or words; 0 leaves the part out", low=0
    )
    walk: float = setting(0.5, "weight of HyperWalk's scores; 0 leaves the part out", low=0)
    linear: float = setting(0.5, "weight of EASE's scores; 0 leaves the part out", low=0)
    ridge: float = setting(0.3, "weight of ContentRidge's scores; 0 leaves the part out", low=0)
    factors: float = setting(
        0.0, "weight of WMF's scores, for users with many interactions; 0 leaves the part out", low=0
    )
    popularity: float = setting(1.0, "weight of the items' popularity; 0 leaves it out", low=0)
    cold_weights: dict[str, float] = setting(
        {},
        "weights of the parts for cold items, by name, those not named left out; without, those of warm items",
    )
    cold_offset: float = setting(0.0, "added to the weighted sum of a cold item's standard scores")
    ensemble_size: int = setting(
        1, "trainings of each trained part, from different seeds, whose scores are averaged", low=1, high=100
    )
    dense_up_to: int = setting(
        17_000,
        "items of the largest catalogue with a linear part and a ridge, which hold items by items",
        low=0,
    )
    calibrate: bool = setting(
        True, "let validation choose among multiples of the weights, for cold items too"
    )
    calibrate_cold_offset: Literal["none", "overall", "harmonic"] = setting(
        "overall",
        "calibrate what cold items' scores gain by all answers, or by warm and cold ones in equal parts",
    )
    calibrated_options: dict[str, Any] = setting({}, "settings of CM3 and of its training by name")
    contrastive_options: dict[str, Any] = setting({}, "settings of MMHCL and of its training by name")
    collaborative_options: dict[str, Any] = setting({}, "settings of LightGCN and of its training by name")
    adaptive_options: dict[str, Any] = setting(
        {"calibrate_cold_offset": "none"}, "settings of AFF and of its training by name"
    )
    tower_options: dict[str, Any] = setting({}, "settings of TwoTower and of its training by name")
    walk_options: dict[str, Any] = setting({}, "settings of HyperWalk by name")
    linear_options: dict[str, Any] = setting({"content": 1.0}, "settings of EASE by name")
    ridge_options: dict[str, Any] = setting({}, "settings of ContentRidge by name")
    factors_options: dict[str, Any] = setting({}, "settings of WMF by name")
    popularity_options: dict[str, Any] = setting({"power": 0.5}, "settings of Pop by name")


class Confluence(Model):
    """score = sum over parts of weight * (part's score - mean) / standard deviation, both over the warm items it ranks.

    The parts see different things. CM3's items are their content alone, on the unit sphere, kept apart as far as
    content says (calibrated uniformity): what things are like. MMHCL's have ID tables whose norms carry popularity,
    contrasted with hypergraphs of users and of content neighbourhoods: who takes what. LightGCN has nothing but the
    graph of who took what, and errs otherwise than both. HyperWalk counts: where two or three interactions are all
    there is, no table learns what they say at once. EASE and WMF solve: where there are many, they are hard to beat,
    the one item by item, the other in few dimensions. And where there is next to nothing, what most users take is the
    best guess: a part of its own, for unit vectors cannot say it. Each errs elsewhere, and scores on one scale add up
    to better rankings than any of them gives. Three parts speak of cold items first: ContentRidge weighs what a user
    took, TwoTower learns which features go together, AFF reads attributes too.

    The parts share no parameter: each is trained to its own best epoch, then the weights are calibrated on
    validation. Trained again from another seed a part errs elsewhere too: with several `members` a trained part's
    scores are their mean.

    Cold items, whose scores the parts make from content alone, have weights of their own, calibrated by ranking cold
    items among themselves, and an offset: they are less sure than warm ones, not less good. `calibrate_cold_offset`
    says whom it shall serve: all answers, most of which are warm items, or cold and warm ones alike, by the
    harmonic mean of
    their
    figures. Where one draw of cold items says little of the next, `calibrate = False` keeps the weights as they are
    given, `cold_weights` and `cold_lift` for cold items. A new item takes the same path, and nothing depends on
    which others are there.

    The linear part and the ridge hold 4 bytes each for every pair of items, and 8 more while the second is fitted: 4.6
    GB for 17,000. A catalogue beyond `dense_up_to` items goes without them.
    """

    Settings = ConfluenceSettings
    paper = "None: this engine's sum of models' standardised scores"
    train_defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 2048, "patience": 10}
    reads_content = True
    ranks_cold_items = True
    exports_vectors = False

    def __init__(self, settings: ConfluenceSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.parts, self.training = nn.ModuleDict(), {}
        warm = {name: float(getattr(settings, name)) for name in PARTS}
        if not any(warm.values()):
            raise UserError("confluence: all weights are 0; give a part one above 0")
        cold = _weights_by_name(settings.cold_weights) or warm
        for name in PARTS:
            if (warm[name] or cold[name]) and (name not in DENSE or data.n_items <= settings.dense_up_to):
                self.parts[name] = self._part(name, seed)
        if not set(self.parts) & set(TRAINED):
            raise UserError(f"confluence: {', '.join(TRAINED)} are all 0; give one a weight above 0")
        self.register_buffer("mix", torch.tensor([warm[name] for name in self.parts]))
        self.register_buffer("cold_mix", torch.tensor([cold[name] for name in self.parts]))
        self.register_buffer("cold_offset", torch.tensor([settings.cold_offset]))
        self.unfitted = [part for name, (part, *_) in self.parts.items() if name in CLOSED]
        self.calibrating, self.kept = False, list[Scorer]()

    def _part(self, name: str, seed: int) -> nn.ModuleList:
        """The members of a part; a closed one is its only member."""
        options = getattr(self.settings, f"{name}_options")
        if name in CLOSED:
            own = build(CLOSED[name].Settings, options, f"{name}_options")
            return nn.ModuleList([CLOSED[name](own, self.data, seed)])
        own, self.training[name] = _divided(TRAINED[name], options, name)
        seeds = [seed, *(derived_seed(seed, number) for number in range(1, self.settings.ensemble_size))]
        return nn.ModuleList([TRAINED[name](own, self.data, each) for each in seeds])

    def stages(self, settings: Any) -> Mapping[str, tuple[Model, Any]]:
        return {
            f"{name}-{number}" if number else name: (member, settings.model_copy(update=own))
            for name, own in self.training.items()
            for number, member in enumerate(self.parts[name])
        }

    def calibrate(self, validate: Callable[[str], float]) -> None:
        """Try multiples of each weight in turn, twice over, and keep what validation likes best: of the warm items'
        by the answers that are warm, of the cold items' among cold ones; then how high cold items stand among all."""
        if not self.settings.calibrate:
            return
        self.calibrating = True
        try:
            if np.isfinite(validate(WARM)):
                self._climb(self.mix, lambda: validate(WARM))
            if np.isfinite(validate(COLD_POOL)):
                self._climb(self.cold_mix, lambda: validate(COLD_POOL))
                if self.settings.calibrate_cold_offset != "none":
                    self._raise_cold(lambda: self._worth(validate))
            elif not self.settings.cold_weights:
                self.cold_mix.copy_(self.mix)
        finally:
            self.calibrating, self.kept = False, []

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

    def _worth(self, validate: Callable[[str], float]) -> float:
        if self.settings.calibrate_cold_offset == "overall" or not np.isfinite(warm := validate(WARM)):
            return validate(OVERALL)
        return harmonic_mean(warm, validate(COLD))

    def _raise_cold(self, validate: Callable[[], float]) -> None:
        """Scale and offset of the cold items' scores, which leave their order among themselves; a scale of 1 is the
        warm items' own, for the weights that ranked cold ones among themselves have none."""
        best, kept = validate(), (self.cold_mix.clone(), float(self.cold_offset))
        direction = self.cold_mix * (self.mix.sum() / self.cold_mix.sum())
        for scale in MULTIPLES[1:]:
            for lift in COLD_OFFSETS:
                self.cold_mix.copy_(scale * direction)
                self.cold_offset.fill_(lift * self.mix.sum())
                value = validate()
                if value > best:
                    best, kept = value, (self.cold_mix.clone(), float(self.cold_offset))
        self.cold_mix.copy_(kept[0])
        self.cold_offset.fill_(kept[1])

    @torch.no_grad()
    def scores(self, query_users: QueryUsers, new_items: NewItems | None) -> Scorer:
        scorers = self.kept or self._standardised(query_users, new_items)
        if self.calibrating and not self.kept:
            self.kept = scorers = [KeptScorer(scorer, KEPT_BYTES // len(scorers)) for scorer in scorers]
        cold = torch.ones(scorers[0].n_items, dtype=torch.bool)
        cold[: self.data.n_items] = torch.from_numpy(~self.data.warm_items)
        raised = cold.clone()
        if new_items is not None:
            raised[self.data.n_items :] = torch.from_numpy(~self.without_content(new_items))
        device = scorers[0].device
        weights = torch.where(cold, self.cold_mix.cpu()[:, None], self.mix.cpu()[:, None]).to(device)
        return SumScorer(scorers, weights, offset=(raised * self.cold_offset.cpu()).to(device))

    def _standardised(self, query_users: QueryUsers, new_items: NewItems | None) -> list[Scorer]:
        self._fit_closed()
        return [self._averaged(members, query_users, new_items) for members in self.parts.values()]

    def _averaged(
        self, members: Sequence[Model], query_users: QueryUsers, new_items: NewItems | None
    ) -> StandardScorer:
        """To a part that knows no content an new item is what a cold item of the catalogue is, the lowest; without
        content it is the average item to all."""
        counted, unknown = self._counted(members[0]), ()
        if new_items is not None and not members[0].ranks_cold_items:
            new_items, unknown = None, ~self.without_content(new_items)
        return StandardScorer([m.scorer(query_users, new_items) for m in members], counted, unknown)

    def _counted(self, member: Model) -> np.ndarray:
        """(n_items,) bool: the warm items that a part has something to say of."""
        return self.data.warm_items & ~member.cannot_score()

    def _fit_closed(self) -> None:
        """Once, when they are first asked for: a loaded model has them fitted."""
        while self.unfitted:
            self.unfitted.pop().fit()

    def arrays(self) -> dict[str, Tensor]:
        self._fit_closed()
        return super().arrays()

    def load_arrays(self, arrays: Mapping[str, Tensor]) -> None:
        super().load_arrays(arrays)
        self.unfitted = []

    def modality_vectors(self) -> Mapping[str, Tensor]:
        return next(iter(self.parts.values()))[0].modality_vectors()


def _weights_by_name(weights: Mapping[str, float]) -> dict[str, float]:
    """Each part's, 0 where it is not named; nothing where none is."""
    for name, weight in weights.items():
        if name not in PARTS:
            raise UserError(f"cold_weights of confluence: there is no part '{name}'{nearest(name, PARTS)}")
        if weight < 0:
            raise UserError(f"cold_weights of confluence: {name} is {weight:g}; give 0 or more")
    if weights and not any(weights.values()):
        raise UserError("cold_weights of confluence are all 0; give a part a weight above 0")
    return {name: float(weights.get(name, 0.0)) for name in PARTS} if weights else {}


def _divided(part: type[Model], options: Mapping[str, Any], name: str) -> tuple[Any, dict[str, Any]]:
    """A part's settings, and what its training does otherwise than the others'."""
    groups = divide(options, model=part.Settings, train=TrainSettings)
    build(TrainSettings, groups["train"], f"{name}_options")
    return build(part.Settings, groups["model"], f"{name}_options"), groups["train"]

"""CLHE on top of what counts and content say already: the engine's improved form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.encoders.linear import linear
from recsys.errors import UserError
from recsys.evaluation.evaluator import OVERALL
from recsys.inputs.content import shares
from recsys.inputs.requests import NewItems
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import calibrate_at
from recsys.models.bundle.clhe import CLHE, CLHESettings
from recsys.models.bundle.sets import Sets, to_rows
from recsys.models.bundle.signals import Signals
from recsys.objectives.ranking.multinomial import multinomial
from recsys.objectives.terms import ObjectiveSettings
from recsys.settings import setting

GAIN = 10.0
"""The weights of signals are learnt this many times as fast as CLHE's."""
FOLDS = 5
"""A training bundle is asked about with counts of the other folds: as many bundles unseen as in an 8:1:1 split."""
SHARES = 0.0, 0.2, 0.4, 0.6, 0.8, 1.0
"""Shares of the learnt scores that validation chooses from."""
PRIOR = 6.0
"""Scale of the first scores, as logits."""
_SIGNALS = 2**23  # signal values held at once when scores are asked for


class CLHESignalsSettings(CLHESettings):
    width: int = setting(
        64, "width of the vectors of CLHE's encoders", low=1, high=4096, search=[32, 64, 128]
    )
    find: Literal["rest"] = setting("rest", "what a set must predict: its items that are not given")
    slots: list[str] = setting(
        [], "feature slots of CLHE's encoders beside the signals; empty: the signals alone"
    )
    weights: dict[str, float] = setting(
        {}, "weights of the modalities' cosines in the first scores; 1 if unnamed"
    )
    counted: float = setting(4.0, "weight of the rates in the first scores", low=0)
    doubt: float = setting(0.5, "bundles of an item at which its similarity counts half", low=1e-6)
    learnt: float | None = setting(
        None, "share of the scores that is learnt; empty: calibrated on validation", low=0, high=1
    )
    hidden: int = setting(
        16, "hidden units of the network that weighs the signals; 0: linear weights", low=0, high=1024
    )
    item_weight: float = setting(0.1, "weight of the items' contrast", low=0, search=[0.0, 0.1, 0.5])
    bundle_weight: float = setting(0.1, "weight of the bundles' contrast", low=0, search=[0.0, 0.1, 0.5])


class CLHESignals(CLHE):
    """score = (1 - a) p . s + a (w . s + MLP(s)) [+ CLHE's inner product], s the signals of `signals.py`.

    Why: on small sets of bundles the sum of co-occurrence counts and content cosines beats CLHE, whose softmax
    must learn from a thousand bundles what counting knows at once, and whose loss asks for items that it was
    given. That sum in turn takes every like item for a likely one; yet an item that training bundles hold, and
    none of them with what is given, has had its chance. Its first scores p . s are therefore

        counted P(j | i) + sum_m weight_m cos_m(i, j) doubt / (doubt + n_j), averaged over the given items i,

    with n_j the training bundles that hold item j, and P(j | i) the share of those of i that hold j as well.

    From there CLHE's multinomial objective trains w and the MLP; its item dropout becomes the task: a part of each
    bundle has to find the rest, among items counted without that bundle's fold, so that some are in no bundle, as
    in a test. Validation calibrates a. `slots` puts CLHE's encoders and their contrasts beside the signals: on
    bundle-electronic that lowered NDCG@20 in validation, so it is off by default.
    """

    Settings = CLHESignalsSettings
    published = None  # no one but this engine has it
    paper = "None: this engine's, CLHE with counts and cosines as signals"
    train_defaults = CLHE.train_defaults | {
        "batch_size": 64,
        "learning_rate": 1e-3,
        "max_epochs": 20,
        "patience": 6,
    }
    scale: Tensor
    prior: Tensor
    calibrated = ("learnt",)
    learnt: Tensor

    def __init__(self, settings: CLHESignalsSettings, data: TrainingData, seed: int):
        self.encoded = bool(settings.slots)
        if not self.encoded and settings.objectives != ObjectiveSettings():
            raise UserError(
                "objectives of clhe-signals need its encoders' views; name slots, such as content"
            )
        inner = settings if self.encoded else settings.model_copy(update={"slots": ["content"]})
        super().__init__(inner, data, seed)
        self.settings = settings
        self.signals = Signals(data, settings.doubt)
        drawn = torch.randperm(data.n_users, generator=self.init_generator).numpy()
        self.fold_of = drawn % FOLDS
        width = len(self.signals.names)
        self.weigh = linear(width, 1, self.init_generator, bias=False)
        self.first = linear(width, settings.hidden, self.init_generator) if settings.hidden else None
        self.second = linear(settings.hidden, 1, self.init_generator, bias=False) if settings.hidden else None
        sample = data.interactions[np.flatnonzero(data.warm_users)[:256]]
        spread = self.signals(sample, np.flatnonzero(data.warm_items)).std((0, 1))
        self.register_buffer("scale", torch.where(spread > 1e-6, spread, torch.ones(())))
        self._start(shares(data.modalities, settings.weights, "clhe-signals") if data.modalities else {})

    @cached_property
    def folds(self) -> list[Signals]:
        """The signals without each fold; training alone needs them."""
        rows = self.data.interactions
        return [self.signals.without(rows[self.fold_of == fold]) for fold in range(FOLDS)]

    @torch.no_grad()
    def _start(self, weights: dict[str, float]) -> None:
        """Weights of the first scores, from which training starts."""
        shown = {"rate": self.settings.counted}
        shown |= {f"{name} of the rare": weight for name, weight in weights.items()}
        start = torch.tensor([shown.get(name, 0.0) for name in self.signals.names])
        self.register_buffer("prior", PRIOR * start)
        share = self.settings.learnt
        self.register_buffer("learnt", torch.tensor(1.0 if share is None else share))
        self.weigh.weight.copy_(PRIOR / GAIN * start * self.scale)
        if self.second is not None:
            self.second.weight.zero_()

    def cannot_score(self) -> np.ndarray:
        """(n_items,) bool, the items in no training bundle and without content."""
        content = [rows.get_buffer("present") for rows in self.content.values()]
        return ~torch.stack([self.warm, *content]).any(0).cpu().numpy()

    def weighed(self, signals: Tensor) -> Tensor:
        """(b, c) scores of signals (b, c, s) with the weights learnt."""
        signals = signals.to(self.scale.device) / self.scale
        score = GAIN * self.weigh(signals)
        if self.first is not None and self.second is not None:
            score = score + GAIN * self.second(torch.relu(self.first(signals)))
        return score.squeeze(-1)

    def calibrate(self, validate: Callable[[str], float]) -> None:
        """How much of the scores is learnt, and how much the first ones."""
        if self.settings.learnt is not None:
            return
        calibrate_at(self.learnt, SHARES, lambda: validate(OVERALL))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        sets, given, hidden = self.sets_of(batch)
        items = self.candidates(sets)
        parts = to_rows(sets.without(~given), self.data.n_items)
        scores = self.weighed(self._unseen(parts, batch.users.cpu().numpy(), items.cpu().numpy()))
        terms = {}
        if self.encoded:
            bundles = self.encode(sets.without(~given))
            scores = scores + bundles @ self.decode(items).T
            terms = self.side_terms(sets, bundles)
        return {"likelihood": self._likelihood_of_hidden(scores, sets, given, hidden, items)} | terms

    def _unseen(self, parts: sp.csr_array, bundles: np.ndarray, items: np.ndarray) -> Tensor:
        """(b, c, signals) of parts of the training bundles numbered `bundles`, as if their folds were unseen."""
        order = np.argsort(self.fold_of[bundles], kind="stable")
        folds, starts = np.unique(self.fold_of[bundles[order]], return_index=True)
        made = [
            self.folds[fold](parts[rows], items)
            for fold, rows in zip(folds, np.split(order, starts[1:]), strict=True)
        ]
        return torch.cat(made)[np.argsort(order)]

    def _likelihood_of_hidden(
        self, scores: Tensor, sets: Sets, given: Tensor, hidden: Tensor, items: Tensor
    ) -> Tensor:
        rows, places = sets.pairs(given)
        taken = torch.zeros_like(scores, dtype=torch.bool)
        taken[rows, torch.searchsorted(items, places)] = True
        rows, wanted = sets.pairs(hidden)
        partition = scores.masked_fill(taken, -torch.inf).logsumexp(1)
        return multinomial(partition, scores[rows, torch.searchsorted(items, wanted)], rows)

    def over(self, new_items: NewItems | None) -> CLHESignals:
        if new_items is None:
            return self
        wide = copy.copy(self)
        wide.signals = self.signals.with_items(new_items.modalities)
        return wide

    def _mixed(self, signals: Tensor) -> Tensor:
        first = signals.to(self.scale.device) @ self.prior
        return first.lerp(self.weighed(signals), self.learnt)

    def score_sets(self, rows: sp.csr_array, items: Tensor) -> Tensor:
        every, given = np.arange(len(self.signals.counts)), rows.copy()
        given.resize(rows.shape[0], len(every))
        step = max(1, _SIGNALS // (len(every) * len(self.signals.names)))
        blocks = [
            self._mixed(self.signals(given[low : low + step], every)) for low in range(0, rows.shape[0], step)
        ]
        scores = torch.cat(blocks)
        return scores + self.learnt * super().score_sets(rows, items) if self.encoded else scores

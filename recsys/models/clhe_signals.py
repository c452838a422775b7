"""CLHE on top of what counts and content say already: the engine's improved form."""

from __future__ import annotations

import copy
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.bundles.sets import Sets, to_rows
from recsys.bundles.signals import Signals
from recsys.content import shares
from recsys.data import TrainingData
from recsys.encoders.linear import linear
from recsys.models.clhe import CLHE, CLHESettings
from recsys.newcomers import Arrivals
from recsys.objectives.multinomial import multinomial
from recsys.sampling import Batch
from recsys.settings import setting

GAIN = 10.0
"""The weights of signals are learnt this many times as fast as CLHE's."""
PRIOR = 6.0
"""Scale of the sum of counts and cosines that training starts from."""
_SIGNALS = 2**23  # signal values held at once when scores are asked for


class CLHESignalsSettings(CLHESettings):
    find: Literal["rest"] = setting("rest", "what a set must find: its items that are not given")
    slots: list[str] = setting(
        [], "feature slots of CLHE's encoders beside the signals; empty: the signals alone"
    )
    weights: dict[str, float] = setting(
        {}, "weights of the modalities' cosines in the first scores; 1 if unnamed"
    )
    hidden: int = setting(16, "hidden units that weigh the signals; 0: a linear weighing", low=0, high=1024)
    item_weight: float = setting(0.1, "weight of the items' contrast", low=0, search=[0.0, 0.1, 0.5])
    bundle_weight: float = setting(0.1, "weight of the bundles' contrast", low=0, search=[0.0, 0.1, 0.5])


class CLHESignals(CLHE):
    """score = w . s + MLP(s) [+ CLHE's inner product], s the signals of `recsys.bundles.signals`.

    Why: on small sets of bundles the sum of co-occurrence counts and content cosines beats CLHE, whose softmax
    must learn from a thousand bundles what counting knows at once, and whose loss asks for items that it was
    given. Here CLHE's multinomial objective stays, and its item dropout becomes the task: a part of each bundle
    has to find the rest. Closed forms of CLHE's slots (counts for the item table, cosines for content) take the
    encoders' place, a bundle's own items left out of its counts; training starts from their sum. `slots` puts
    the encoders and their contrasts back beside them: on bundle-electronic that lowered NDCG@20 in validation,
    so it is off by default.
    """

    Settings = CLHESignalsSettings
    train_defaults = CLHE.train_defaults | {
        "batch_size": 64,
        "learning_rate": 1e-3,
        "max_epochs": 20,
        "patience": 6,
    }

    def __init__(self, settings: CLHESignalsSettings, data: TrainingData, seed: int):
        self.encoded = bool(settings.slots)
        inner = settings if self.encoded else settings.model_copy(update={"slots": ["content"]})
        super().__init__(inner, data, seed)
        self.settings = settings
        self.signals = Signals(data)
        width = len(self.signals.names)
        self.weigh = linear(width, 1, self.init_generator, bias=False)
        self.first = linear(width, settings.hidden, self.init_generator) if settings.hidden else None
        self.second = linear(settings.hidden, 1, self.init_generator, bias=False) if settings.hidden else None
        sample = data.interactions[np.flatnonzero(data.warm_users)[:256]]
        spread = self.signals(sample, sample, np.flatnonzero(data.warm_items)).std((0, 1))
        self.register_buffer("scale", torch.where(spread > 1e-6, spread, torch.ones(())))
        self._start_at_the_sum(shares(self.content, settings.weights, "clhe-signals") if self.content else {})

    @torch.no_grad()
    def _start_at_the_sum(self, weights: dict[str, float]) -> None:
        """First scores: the counts by given item plus the weighted mean cosines, as the baseline sums them."""
        prior = {"mean count": 1.0} | {f"{name} mean": weight for name, weight in weights.items()}
        start = torch.tensor([prior.get(name, 0.0) for name in self.signals.names])
        self.weigh.weight.copy_(PRIOR / GAIN * start * self.scale)
        if self.second is not None:
            self.second.weight.zero_()

    def unranked_items(self) -> np.ndarray | None:
        """Items in no training bundle that no modality tells anything of."""
        content = [rows.present for rows in self.content.values()]
        known = torch.stack([self.warm, *content]).any(0).cpu().numpy()
        return None if known.all() else ~known

    def weighed(self, signals: Tensor) -> Tensor:
        """(b, c) scores of signals (b, c, s)."""
        signals = signals.to(self.scale.device) / self.scale
        score = GAIN * self.weigh(signals)
        if self.first is not None:
            score = score + GAIN * self.second(torch.relu(self.first(signals)))
        return score.squeeze(-1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        sets, given, found = self.sets_of(batch)
        items = self.candidates(sets)
        parts = to_rows(sets.without(~given), self.data.n_items)
        own = self.data.interactions[batch.users.cpu().numpy()]
        scores = self.weighed(self.signals(parts, own, items.cpu().numpy()))
        terms = {}
        if self.encoded:
            bundles = self.encode(sets.without(~given))
            scores = scores + bundles @ self.decode(items).T
            terms = self.contrasts(sets, bundles)
        return {"likelihood": self._found(scores, sets, given, found, items)} | terms

    def _found(self, scores: Tensor, sets: Sets, given: Tensor, found: Tensor, items: Tensor) -> Tensor:
        rows, places = sets.pairs(given)
        hidden = torch.zeros_like(scores, dtype=torch.bool)
        hidden[rows, torch.searchsorted(items, places)] = True
        rows, wanted = sets.pairs(found)
        partition = scores.masked_fill(hidden, -torch.inf).logsumexp(1)
        return multinomial(partition, scores[rows, torch.searchsorted(items, wanted)], rows)

    def over(self, arrivals: Arrivals | None) -> CLHESignals:
        if arrivals is None:
            return self
        wide = copy.copy(self)
        wide.signals = self.signals.with_items(arrivals.modalities)
        return wide

    def scores(self, rows: sp.csr_array, items: Tensor) -> Tensor:
        every, given = np.arange(len(self.signals.counts)), rows.copy()
        given.resize(rows.shape[0], len(every))
        step = max(1, _SIGNALS // (len(every) * len(self.signals.names)))
        blocks = [
            self.weighed(self.signals(given[low : low + step], None, every))
            for low in range(0, rows.shape[0], step)
        ]
        scores = torch.cat(blocks)
        return scores + super().scores(rows, items) if self.encoded else scores

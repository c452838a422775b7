"""What models that encode sets of items share: a set in, a vector out, a softmax over the items."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.evaluation.scorers import Scorer
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors
from recsys.models.bundle.sets import Sets, draw_given, padded
from recsys.objectives.ranking.multinomial import log_partition, multinomial
from recsys.serving.parts import Part
from recsys.settings import Settings, setting

_ROWS = 1024  # sets encoded at once when scores are asked for


class SetSettings(Settings):
    width: int = setting(64, "width of the vectors", low=1, high=4096, search=[32, 64, 128])
    sampled: int = setting(0, "items sampled for the softmax besides those of the batch; 0: all items", low=0)
    max_length: int = setting(100, "most items of a set; a longer set is an error, and never cut", low=1)
    find: str = setting("rest", "what a set must predict: rest, its items not given; or all, given ones too")


class SetScorer:
    """Scores of sets against the catalogue, each block of sets encoded when it is asked for."""

    def __init__(self, model: SetModel, history: sp.csr_array, new_items: NewItems | None = None):
        self.model, self.history, self.items = model.over(new_items), history, model.decode().detach()
        if new_items is not None:
            new = model.encode_items(new_items.modalities, new_items.attributes)
            self.items = torch.cat([self.items, new])
        self.n_items, self.device = len(self.items), self.items.device

    @torch.no_grad()
    def __call__(self, users: np.ndarray) -> Tensor:
        return self.model.score_sets(self.history[users], self.items)


class SetModel(Model):
    """Base of the set encoders: `encode` a set, `decode` the items, score by inner product.

    Training draws sets, gives a part of each (or, with find=all, the whole) and maximises the multinomial
    likelihood of the others among the items that training knows: an item in no training row is never pushed away.
    """

    Settings: ClassVar[type[Settings]] = SetSettings
    exports_vectors = False
    popular_without_history = True
    train_defaults: ClassVar[dict[str, Any]] = {
        "sample_by": "rows",
        "batch_size": 256,
        "max_epochs": 100,
        "patience": 8,
    }

    def __init__(self, settings: SetSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.noise = torch.Generator().manual_seed(seed)
        self._warm = torch.from_numpy(np.flatnonzero(data.warm_items))
        padded(data.interactions, settings.max_length)

    def encode(self, sets: Sets) -> Tensor:
        """(b, d) vectors of sets."""
        raise NotImplementedError

    def decode(self, items: Tensor | None = None) -> Tensor:
        """(n, d) vectors of the items numbered `items`, of all where None."""
        raise NotImplementedError

    def over(self, new_items: NewItems | None) -> SetModel:
        """The model that scores sets over the catalogue and, behind it, new items; itself, where `score_sets` reads
        nothing of an item but its vector."""
        return self

    def score_sets(self, rows: sp.csr_array, items: Tensor) -> Tensor:
        """(b, n_items) float32 scores of the rows' sets, given all items' vectors."""
        sets = padded(self._known(rows), self.settings.max_length)
        return self.encode(Sets(*(t.to(items.device) for t in sets))) @ items.T

    def _known(self, rows: sp.csr_array) -> sp.csr_array:
        """The rows without items that the model cannot score."""
        cannot_score = self.cannot_score()
        if self.ranks_cold_items and not cannot_score.any():
            return rows
        kept = sp.csr_array(rows @ sp.diags_array((~cannot_score).astype(np.float32)))
        kept.eliminate_zeros()
        return kept

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.noise = generator

    def sets_of(self, batch: Batch) -> tuple[Sets, Tensor, Tensor]:
        """The batch's sets, which items are given, which are hidden and to be predicted."""
        device = batch.users.device
        rows = self.data.interactions[batch.users.cpu().numpy()]
        sets = Sets(*(t.to(device) for t in padded(rows, self.settings.max_length)))
        if self.settings.find == "all":
            return sets, sets.present, sets.present
        given = draw_given(sets, self.noise)
        return sets, given, sets.present & ~given

    def candidates(self, sets: Sets) -> Tensor:
        """(c,) ascending item numbers that a step's softmax goes over."""
        warm = self._warm.to(sets.items.device)
        if not self.settings.sampled or self.settings.sampled >= len(warm):
            return warm
        drawn = torch.randint(len(self._warm), (self.settings.sampled,), generator=self.noise)
        return torch.cat([warm[drawn.to(warm.device)], sets.items[sets.present]]).unique()

    def likelihood(self, vectors: Tensor, sets: Sets, given: Tensor, hidden: Tensor) -> Tensor:
        """The multinomial term: `vectors` (b, d) of the given parts against the hidden items."""
        items = self.candidates(sets)
        keys = self.decode(items)
        rows, wanted = sets.pairs(hidden)
        excluded = None
        if self.settings.find != "all":
            given_rows, given_items = sets.pairs(given)
            excluded = given_rows, torch.searchsorted(items, given_items)
        partition = log_partition(vectors, keys, excluded)
        scores = (vectors[rows] * keys[torch.searchsorted(items, wanted)]).sum(1)
        return multinomial(partition, scores, rows)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        sets, given, hidden = self.sets_of(batch)
        return {"likelihood": self.likelihood(self.encode(sets.without(~given)), sets, given, hidden)}

    @torch.no_grad()
    def forward(self) -> Vectors:
        items = self.decode()
        return Vectors(self.encode_users(self.data.interactions), items)

    @torch.no_grad()
    def encode_users(
        self, history: sp.csr_array, attributes: pd.DataFrame | None = None, vectors: Vectors | None = None
    ) -> Tensor:
        known, device = self._known(history), self._device()
        parts = []
        for low in range(0, known.shape[0], _ROWS):
            sets = padded(known[low : low + _ROWS], self.settings.max_length)
            parts.append(self.encode(Sets(*(t.to(device) for t in sets))))
        return torch.cat(parts) if parts else torch.empty(0, self.settings.width)

    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        return SetScorer(self, self._known(users.history), new_items)

    def served(self, users: QueryUsers) -> Part:
        return self.vector_part(users)

    def cannot_rank_for(self, users: QueryUsers) -> np.ndarray:
        return np.diff(self._known(users.history).indptr) == 0

    def _device(self) -> torch.device:
        return next(self.parameters()).device

"""What every recommender is: settings and training data in, user and item vectors (or scores) out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.evaluation.scorers import AverageScorer, FallbackScorer, Scorer, VectorScorer
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.settings import Settings

FOLD_IN_RIDGE = 1.0


class Vectors(NamedTuple):
    """What a model's forward pass gives.

    Attributes:
        users: (n_users, d); a cold user's row is replaced by `user_vectors_for` before it is scored.
        items: (n_items, d); a cold item's row comes from content, or is meaningless where
            `ranks_cold_items` is False.
        extras: what the loss needs besides.
    """

    users: Tensor
    items: Tensor
    extras: Mapping[str, Tensor] = {}


class Model(nn.Module):
    """Base of all recommenders.

    A trained model gives `forward` and `loss`; a closed-form one gives `fit` and `scorer`.

    Class attributes:
        Settings: the model's hyperparameters.
        train_defaults: its own defaults of the trainer's settings.
        closed_form: True where `fit` does it all and there is nothing to train by gradient.
        ranks_cold_items: False where the model has nothing to say of an item without training interactions;
            it then scores those items lowest, all alike, and the report says so.
        loss_is_mean: True where the loss of a batch is the mean of its rows' losses, and of what does not depend
            on the rows: several processes can then train on shares of each batch.
        idle_parameters: True where a step may leave some parameter without a gradient.
    """

    Settings: ClassVar[type[Settings]] = Settings
    train_defaults: ClassVar[Mapping[str, Any]] = {}
    closed_form: ClassVar[bool] = False
    ranks_cold_items: ClassVar[bool] = False
    loss_is_mean: ClassVar[bool] = False
    idle_parameters: ClassVar[bool] = False

    def __init__(self, settings: Any, data: TrainingData, seed: int):
        super().__init__()
        self.settings = settings
        self.data = data
        self.seed = seed
        self.init_generator = torch.Generator().manual_seed(seed)

    def table(self, name: str, rows: int, width: int) -> nn.Parameter:
        """A (rows, width) parameter registered under `name`, Xavier-normal from the model's own generator:
        N(0, 2 / (rows + width)). Small first rows matter: on tiktok N(0, 0.1^2) cost LightGCN a tenth."""
        std = math.sqrt(2 / (rows + width))
        values = torch.empty(rows, width).normal_(0, std, generator=self.init_generator)
        parameter = nn.Parameter(values)
        self.register_parameter(name, parameter)
        return parameter

    def id_tables(self) -> dict[str, tuple[nn.Parameter, str]]:
        """Parameters with a row for each user or item, with "users" or "items": their cold rows must never
        take a gradient. Those named `user_*` and `item_*` are found by themselves."""
        sizes = {"user": self.data.n_users, "item": self.data.n_items}
        found = {}
        for name, parameter in self.named_parameters():
            noun = name.rpartition(".")[2].partition("_")[0]
            if noun in sizes and parameter.ndim and parameter.shape[0] == sizes[noun]:
                found[name] = (parameter, noun + "s")
        return found

    def fit(self) -> None:
        """Closed-form models: compute what `scorer` needs, as buffers."""
        raise NotImplementedError

    def forward(self) -> Vectors:
        """All users' and items' vectors; the score is their inner product."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named terms of the loss, already weighted; the trainer minimises their sum."""
        raise NotImplementedError

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Called before each epoch; `generator` is the epoch's own, for noise, dropout masks and the like."""

    def modality_vectors(self) -> Mapping[str, Tensor]:
        """Modality -> (n, d), the vectors that the model makes of each item's content alone, one row for each item,
        zero where there is none; empty where it makes none. For diagnostics."""
        return {}

    def stages(self, settings: Any) -> Mapping[str, tuple[Model, Any]]:
        """Name -> a part of this model and its training's settings, where parts are trained one after another,
        each to its own best epoch; empty where the model is trained as one.

        Args:
            settings: the trainer's, for what a part does not say itself.
        """
        return {}

    def calibrate(self, validate: Callable[[str], float]) -> None:
        """Called once the model is trained, all its stages: choose what is left to choose by what `validate` says of
        this model as it stands, by the answers of a group such as "overall" or "cold_pool"; NaN where there are
        none."""

    def unranked_items(self) -> np.ndarray | None:
        """(n_items,) bool, the items that the model has nothing to say of; None where there are none."""
        return None if self.ranks_cold_items else ~self.data.warm_items

    @torch.no_grad()
    def scorer(self, support: sp.csr_array | None = None) -> Scorer:
        """The model's scores, for the evaluator.

        Args:
            support: (n_users, n_items) CSR of interactions that cold users bring along at scoring time.
        """
        numbers = np.where(self.data.warm_users, np.arange(self.data.n_users), -1)
        return self.scorer_for(QueryUsers(numbers, self.history(support), self.data.user_attributes))

    def serve(self, query_users: QueryUsers, new_items: NewItems | None = None) -> Scorer:
        """`scorer_for`, where the model can.

        Raises:
            UserError: there are new items and the model does not read content, or it knows no users and items but
                those of its training.
        """
        name = type(self).__name__
        if new_items is not None and not self.ranks_cold_items:
            raise UserError(f"{name} cannot rank new items: it does not read content")
        if type(self).scorer is not Model.scorer:
            raise UserError(f"{name} ranks the users and items of its training alone; use another model")
        return self.scorer_for(query_users, new_items)

    @torch.no_grad()
    def scorer_for(self, query_users: QueryUsers, new_items: NewItems | None = None) -> Scorer:
        """(m users) x (n_items + n new items) scores: inner products of vectors, unless a model has others.

        A cold user of the catalogue and a new one, a cold item and a new one, take the same path, and nobody's
        score depends on who else is asked about. An new item without any content that the model reads scores what
        the ranked warm items score on average.
        """
        vectors = self.forward()
        users = vectors.users[torch.from_numpy(np.maximum(query_users.numbers, 0)).to(vectors.users.device)]
        new = np.flatnonzero(query_users.numbers < 0)
        if len(new):
            users[torch.from_numpy(new).to(users.device)] = self.new_user_vectors(
                query_users.rows(new), vectors
            )
        return VectorScorer(users, self.with_new_items(vectors.items, new_items), self.unranked(new_items))

    def new_user_vectors(self, query_users: QueryUsers, vectors: Vectors) -> Tensor:
        """(m, d) vectors of users whom training has not seen; a model may read their attributes too."""
        return self.user_vectors_for(query_users.history, vectors)

    def new_item_vectors(self, new_items: NewItems) -> Tensor:
        """(n, d) vectors of items whom training has not seen; a model may read their attributes too."""
        return self.item_vectors_for(new_items.modalities)

    def blind(self, new_items: NewItems) -> np.ndarray:
        """(n,) bool, the new items without any content that the model reads."""
        names = getattr(self, "modalities", self.data.modalities)
        held = [new_items.modalities[name].mask for name in names]
        return ~np.any([*held, np.zeros(len(new_items), dtype=bool)], axis=0)

    def with_new_items(self, items: Tensor, new_items: NewItems | None) -> Tensor:
        """(n_items + n, d): the catalogue's vectors and, below, those of new items."""
        if new_items is None:
            return items
        new, blind = self.new_item_vectors(new_items), torch.from_numpy(self.blind(new_items))
        new[blind.to(new.device)] = items[torch.from_numpy(self._average_items()).to(items.device)].mean(0)
        return torch.cat([items, new])

    def unranked(self, new_items: NewItems | None) -> np.ndarray | None:
        """(n_items + n,) bool, as `unranked_items`; every new item is ranked."""
        unranked = self.unranked_items()
        if unranked is None or new_items is None:
            return unranked
        return np.append(unranked, np.zeros(len(new_items), dtype=bool))

    def _average_items(self) -> np.ndarray:
        unranked = self.unranked_items()
        warm = self.data.warm_items if unranked is None else self.data.warm_items & ~unranked
        return np.flatnonzero(warm)

    def history(self, support: sp.csr_array | None) -> sp.csr_array:
        """(n_users, n_items) CSR: what each user is known to like when scores are asked for."""
        return self.data.interactions if support is None else self.data.interactions + support

    def with_popularity(
        self, scorer: Scorer, history: sp.csr_array, new_items: NewItems | None = None
    ) -> FallbackScorer:
        """`scorer`, but the popularity ranking for users without any history, and the average item's score for
        new items without any content. Popularity is the same, none, for all new items."""
        counts = self.data.item_counts()
        if new_items is not None:
            counts = np.append(counts, np.zeros(len(new_items)))
            blind = self.data.n_items + np.flatnonzero(self.blind(new_items))
            scorer = AverageScorer(scorer, blind, self._average_items()) if len(blind) else scorer
        return FallbackScorer(scorer, np.diff(history.indptr) == 0, counts)

    @torch.no_grad()
    def user_vectors_for(self, history: sp.csr_array, vectors: Vectors | None = None) -> Tensor:
        """(n, d) vectors for users who were not trained on, from their interactions alone.

        A ridge regression, fitted on the training users, maps what a user's items add up to,
        sum_i v_i / sqrt(n), to the user's vector. A user without interactions takes the mean user's vector.

        Args:
            history: (n, n_items) CSR; interactions with items that the model cannot rank are left out.
        """
        vectors = vectors or self.forward()
        known = self.data.warm_items if not self.ranks_cold_items else np.ones(self.data.n_items, bool)
        history = history @ sp.diags_array(known.astype(np.float32))
        warm = np.flatnonzero(self.data.warm_users)
        target = vectors.users[torch.from_numpy(warm).to(vectors.users.device)].double().cpu()
        seen = _gathered(self.data.interactions[warm], vectors.items)
        mean_target, mean_seen = target.mean(0), seen.mean(0)
        centred = seen - mean_seen
        gram = centred.T @ centred + FOLD_IN_RIDGE * torch.eye(seen.shape[1], dtype=seen.dtype)
        weights = torch.linalg.solve(gram, centred.T @ (target - mean_target))
        folded = mean_target + (_gathered(history, vectors.items) - mean_seen) @ weights
        empty = torch.from_numpy(np.asarray(history.sum(axis=1)).ravel() == 0)
        folded[empty] = mean_target
        return folded.to(vectors.users)

    @torch.no_grad()
    def item_vectors_for(self, features: Mapping[str, Modality]) -> Tensor:
        """(n, d) vectors for items never seen in training, from their content alone.

        Raises:
            UserError: the model has no content path.
        """
        raise UserError(f"{type(self).__name__} cannot rank new items: it does not read content")

    def arrays(self) -> dict[str, Tensor]:
        """What must be kept of a trained model: parameters and persistent buffers."""
        return {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}

    def load_arrays(self, arrays: Mapping[str, Tensor]) -> None:
        """Put back what `arrays` gave, also buffers that `fit` would have made.

        Raises:
            UserError: an array is missing or has another shape.
        """
        own = dict(self.named_parameters())
        for name, parameter in own.items():
            if name not in arrays or arrays[name].shape != parameter.shape:
                raise UserError(
                    f"the saved model does not fit {type(self).__name__}: '{name}' is missing or has another "
                    f"shape than {tuple(parameter.shape)}; train it again"
                )
        for name, tensor in arrays.items():
            if name in own:
                own[name].data.copy_(tensor)
            else:
                owner, _, leaf = name.rpartition(".")
                self.get_submodule(owner).register_buffer(leaf, tensor)


def calibrate_at(buffer: Tensor, choices: Sequence[float], worth: Callable[[], float]) -> None:
    """Fill `buffer` with the choice of which `worth()` then says most: the first of equals, and of nothing but NaN."""
    best, kept = -math.inf, choices[0]
    for choice in choices:
        buffer.fill_(choice)
        if (value := worth()) > best:
            best, kept = value, choice
    buffer.fill_(kept)


def triples(users: Tensor, items: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The batch's rows of two tables: (b, d) users, (b, d) positives, (b, n, d) negatives."""
    return embedding(batch.users, users), embedding(batch.positives, items), embedding(batch.negatives, items)


def triple_scores(users: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """(b, 1) scores of the positives and (b, n) of the negatives."""
    return (users * positives).sum(-1, keepdim=True), (users.unsqueeze(1) * negatives).sum(-1)


def _gathered(history: sp.csr_array, items: Tensor) -> Tensor:
    """(n, d) float64: sum of each row's item vectors over the square root of their number."""
    counts = np.maximum(np.asarray(history.sum(axis=1)).ravel(), 1)
    sums = history @ items.cpu().numpy()
    return torch.from_numpy((sums / np.sqrt(counts)[:, None]).astype(np.float64))

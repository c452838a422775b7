"""The bridge to RecBole: its general and context-aware models on our data, in our training, under our evaluator."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import create_model
from torch import Tensor, nn

from recsys.errors import UserError
from recsys.evaluation.scorers import Scorer
from recsys.graphs.knn import knn
from recsys.graphs.normalise import row_normalise
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.sampler import Batch, Sampler
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors
from recsys.models.recbole.compat import Loan, find_model, make_config, model_defaults
from recsys.settings import Settings, setting

if TYPE_CHECKING:
    from recsys.models.recbole.data import Table

BY_USER = ("MultiDAE", "MultiVAE", "MacridVAE", "CDAE", "ENMF", "RaCT", "RecVAE", "DiffRec", "LDiffRec")
"""Models that RecBole trains on batches of users, each with its whole history."""
COUNTERS = ("update", "update_count", "update_count_vae")
"""Attributes in which RecBole's models count their steps, to anneal a weight."""
PAIRS = 2**13
"""Pairs that a model without a product over all items scores at once."""
NEIGHBOURS = 20
BORROWERS = 64
TOKENS = r"^[\w./ -]*$"
"""What a setting that is a text may hold: RecBole looks some of them up by evaluating them."""


class RecBole(Model):
    """A model of RecBole (Zhao et al., CIKM 2021, arXiv 2011.01731), as `recbole_model` makes it.

    Its own parameters, initialisation, `calculate_loss` and scores; its settings under their own names. Ours are
    the loop (Adam, early stopping on our validation, resume) and the batches: pairwise models get a user, an item
    and a warm item that the user has not taken, pointwise ones these pairs with labels 1 and 0, and those that
    RecBole trains by users get users.

    Only warm users and items have an id in it. So a general model, which knows nothing but ids, does not rank cold
    items. A context-aware one reads attributes besides, and meets a cold user or item, or a value that no training
    row has, under the unknown id, whose row is the mean of its field's trained rows. A user who arrives with
    interactions is scored as the 20 nearest training users are on average, by cosine of what they took; a general
    model ranks by popularity for one who arrives with nothing.

    Departures: AdamW in the place of Adam (alike without `weight_decay`); a validation after each pass of RecVAE's,
    where RecBole validates after the passes of encoder and decoder together; a resumed DiffRec has forgotten the
    losses by which it draws its time steps.
    """

    paper = (
        "RecBole: Towards a Unified, Comprehensive and Efficient Framework for Recommendation Algorithms, "
        "CIKM 2021, arXiv 2011.01731"
    )
    exports_vectors = False
    name: ClassVar[str]
    inner_class: ClassVar[type[Any]]
    context: ClassVar[bool]
    inner: Any  # RecBole has no types
    steps: Tensor

    def __init__(self, settings: Settings, data: TrainingData, seed: int):
        from recsys.models.recbole.data import make_sides

        super().__init__(settings, data, seed)
        self.loan = Loan(seed)
        self.users, self.items = make_sides(data, self.settings.attributes if self.context else None)
        self.reads_content = self.context
        self.ranks_cold_items = len(self.items) > 1
        data.ledger.record("fields", f"RecBole's {self.name}", data.warm_users, data.warm_items)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        if not self.closed_form:
            self.inner = self._build()

    def _build(self) -> Any:
        from recbole.utils import FeatureType

        from recsys.models.recbole.data import BridgedDataset

        config = make_config(self.name, self.inner_class, self.settings.model_dump(exclude={"attributes"}))
        fields = self.users.described() | self.items.described()
        config["numerical_features"] = [
            name for name, (kind, _) in fields.items() if kind is FeatureType.FLOAT
        ]
        with self.loan(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            inner = self.inner_class(config, BridgedDataset(config, self.users, self.items, self.data))
        names = getattr(inner, "other_parameter_name", ())
        self._caches = [name for name in names if getattr(inner, name) is None and not self.closed_form]
        if self.name == "DGCF":  # it samples so many users and items at once, also where there are fewer
            inner.cor_batch_size = min(inner.cor_batch_size, inner.n_users, inner.n_items)
        return inner

    def fit(self) -> None:
        sampler = Sampler(self.data, 2048, 1, self.seed)
        self.inner = self._build()
        with self.loan():
            for batch in sampler.epoch(0):
                self.inner.calculate_loss(self._interaction(batch))
        self.eval()

    def train(self, mode: bool = True) -> RecBole:
        with self.loan():
            return super().train(mode)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.epoch = epoch
        self.loan.seed(int(torch.randint(2**31, (), generator=generator)))
        for name in COUNTERS:
            if hasattr(self.inner, name):
                setattr(self.inner, name, int(self.steps))
        with self.loan():
            self.inner.train()
            if self.name == "RecVAE":
                self._alternate()
            elif self.name == "NCL" and epoch % self.settings.m_step == 0:
                self.inner.e_step()

    def _alternate(self) -> None:
        """RecVAE trains its encoder for some epochs, then its decoder."""
        settings = self.settings
        phase = self.epoch % (settings.n_enc_epochs + settings.n_dec_epochs)
        self.encoding = phase < settings.n_enc_epochs
        if phase == settings.n_enc_epochs:
            self.inner.update_prior()
        self.inner.encoder.requires_grad_(self.encoding)
        self.inner.decoder.requires_grad_(not self.encoding)

    def _interaction(self, batch: Batch) -> Any:
        """The batch in the form that the model trains on; RecBole repeats positives once for each negative."""
        from recbole.data.interaction import Interaction
        from recbole.utils import InputType

        from recsys.models.recbole.data import pairs

        times = batch.negatives.shape[1]
        negatives = batch.negatives.T.reshape(-1)
        tables = self.users.table, self.items.table
        if self.name in BY_USER:
            rows = pairs(*tables, batch.users, batch.positives)
        elif self.inner_class.input_type is InputType.PAIRWISE:
            rows = pairs(*tables, batch.users.repeat(times), batch.positives.repeat(times))
            rows["neg_item_id"] = self.items.table["item_id"][negatives.cpu()]
        else:
            items = torch.cat([batch.positives, negatives])
            rows = pairs(*tables, batch.users.repeat(1 + times), items)
            rows["label"] = (torch.arange(len(items)) < len(batch.positives)).float()
        return Interaction({name: values.to(batch.users.device) for name, values in rows.items()})

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.steps += 1
        if self.name == "SimpleX":
            self.inner.neg_seq_len = batch.negatives.shape[1]
        more = {"encoder_flag": self.encoding} if self.name == "RecVAE" else {}
        with self.loan():
            terms = self.inner.calculate_loss(self._interaction(batch), **more)
        if not isinstance(terms, tuple):
            return {"loss": terms}
        if self.name == "NCL" and self.epoch < self.settings.warm_up_step:
            terms = terms[:-1]
        return {f"loss_{number}": term.reshape(()) for number, term in enumerate(terms, 1)}

    def forward(self) -> Vectors:
        raise UserError(f"recbole:{self.name} gives scores, and no vectors of users and items")

    @torch.no_grad()
    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        for name in self._caches:
            setattr(self.inner, name, None)
        if self.context:
            self._fill_unknown()
        return BridgeScorer(self, users, new_items)

    def cannot_rank_for(self, users: QueryUsers) -> np.ndarray | None:
        """(m,) bool: of a model that knows ids alone, users without an id and without neighbours that have one."""
        if not self.popular_without_history:
            return None
        return (users.numbers < 0) & (np.diff(_nearest(users, self.data).indptr) == 0)

    def without_content(self, new_items: NewItems) -> np.ndarray:
        table = self.items.coded(new_items.attributes, torch.zeros(len(new_items), dtype=torch.long))
        return ~np.any([t.reshape(len(t), -1).numpy().any(1) for t in table.values()], axis=0)

    def _fill_unknown(self) -> None:
        """The unknown token's row of each field: the mean of the field's other rows."""
        sizes = self.inner.token_field_dims
        for name, module in self.inner.named_modules():
            if isinstance(module, nn.Embedding) and module.num_embeddings == sum(sizes) and "seq" not in name:
                for rows in module.weight.data.split(sizes):
                    rows[0] = rows[1:].mean(0)

    def score_tables(self, users: Table, items: Table) -> Tensor:
        """(b, n) of b users and n items; 0 for items without an id where the model knows ids alone."""
        b, n = len(users["user_id"]), len(items["item_id"])
        ranked = torch.arange(n) if self.context else items["item_id"].nonzero().squeeze(1)
        with self.loan(), torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(self.seed)
            scores = None if self.context else self._at_once(users)
            if scores is None:
                scores = self._in_pairs(users, {name: values[ranked] for name, values in items.items()})
        return scores.new_zeros(b, n).index_copy_(1, ranked.to(scores.device), scores)

    def _at_once(self, users: Table) -> Tensor | None:
        """(b, warm items) by the model's own product over all items; None where it has none."""
        from recbole.data.interaction import Interaction

        try:
            scores = self.inner.full_sort_predict(Interaction(dict(users)).to(self.steps.device))
        except NotImplementedError:
            return None
        return scores.float().view(len(users["user_id"]), -1)[:, 1:]

    def _in_pairs(self, users: Table, items: Table) -> Tensor:
        """(b, n) by the model's scores of pairs, some thousand at a time."""
        from recbole.data.interaction import Interaction

        from recsys.models.recbole.data import pairs

        b, n = len(users["user_id"]), len(items["item_id"])
        parts = []
        for number in torch.arange(b * n).split(PAIRS):
            rows = Interaction(pairs(users, items, number // n, number % n)).to(self.steps.device)
            parts.append(self.inner.predict(rows).reshape(-1).float())
        return torch.cat(parts).view(b, n)

    def start_from(
        self, arrays: Mapping[str, Tensor], known: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> list[str]:
        raise UserError(
            f"recbole:{self.name} numbers its rows itself: no training can start from another; train it anew"
        )

    def arrays(self) -> dict[str, Tensor]:
        # A closed form is computed again where a run is loaded: RecBole keeps it in no tensors.
        if self.closed_form:
            return {"steps": self.steps}
        # Some of its models register a table under two names.
        once = {name for name, _ in (*self.named_parameters(), *self.named_buffers())}
        return {name: tensor for name, tensor in super().arrays().items() if name in once}

    def load_arrays(self, arrays: Mapping[str, Tensor]) -> None:
        if self.closed_form:
            self.fit()
        else:
            super().load_arrays(arrays)

    def _apply(self, move: Any, recurse: bool = True) -> RecBole:
        """RecBole's models keep tensors, and the device, in plain attributes too."""
        super()._apply(move, recurse)
        for module in self.modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and module is not self:
                    setattr(module, name, move(value))
                elif isinstance(value, torch.device):
                    setattr(module, name, self.steps.device)
        return self


class BridgeScorer:
    """A RecBole model's scores for users to rank for.

    A user whom training has not seen is scored as the training users most like the user's history are on average,
    and where there is no history under the unknown id.
    """

    def __init__(self, model: RecBole, query_users: QueryUsers, new_items: NewItems | None):
        self.model, self.device = model, model.steps.device
        self.users, self.numbers = model.users.table, query_users.numbers
        unknown = torch.zeros(len(query_users), dtype=torch.long)
        self.arrived = model.users.coded(query_users.attributes, unknown)
        self.items = model.items.table
        if new_items is not None:
            new = model.items.coded(new_items.attributes, torch.zeros(len(new_items), dtype=torch.long))
            self.items = {name: torch.cat([values, new[name]]) for name, values in self.items.items()}
        self.n_items = len(self.items["item_id"])
        self.neighbours = _nearest(query_users, model.data)

    def __call__(self, users: np.ndarray) -> Tensor:
        users = np.asarray(users)
        borrowing = np.diff(self.neighbours.indptr)[users] > 0
        scores = torch.empty(len(users), self.n_items, device=self.device)
        if len(own := np.flatnonzero(~borrowing)):
            scores[torch.from_numpy(own)] = self.model.score_tables(self._table(users[own]), self.items)
        # Twenty neighbours for each: a few users at a time, so that a block stays small.
        for rows in np.array_split(np.flatnonzero(borrowing), -(-borrowing.sum() // BORROWERS) or 1):
            weights = self.neighbours[users[rows]]
            who, place = np.unique(weights.indices, return_inverse=True)
            mixed = sp.csr_array((weights.data, place, weights.indptr), shape=(len(rows), len(who)))
            if len(who):
                lent = self.model.score_tables(
                    {n: v[torch.from_numpy(who)] for n, v in self.users.items()}, self.items
                )
                scores[torch.from_numpy(rows)] = torch.from_numpy(mixed.toarray()).to(lent) @ lent
        return scores

    def _table(self, places: np.ndarray) -> Table:
        """The fields of users of the query users, a training user's as training had them."""
        numbers, rows = torch.from_numpy(self.numbers[places]), torch.from_numpy(places)
        known = numbers >= 0
        table = {name: values[rows] for name, values in self.arrived.items()}
        for name, values in table.items():
            values[known] = self.users[name][numbers[known]]
        return table


def _nearest(query_users: QueryUsers, data: TrainingData) -> sp.csr_array:
    """(m, n_users) CSR: for each new user with a history the training users who took the most alike, by cosine,
    in rows that sum to 1."""
    new = np.flatnonzero((query_users.numbers < 0) & (np.diff(query_users.history.indptr) > 0))
    near, close = knn(query_users.history[new], data.interactions, NEIGHBOURS, positive_only=True)
    rows, columns = np.nonzero(near >= 0)
    weights = (close[rows, columns], (new[rows], near[rows, columns]))
    return row_normalise(sp.csr_matrix(weights, shape=(len(query_users), data.n_users)))


@functools.cache
def recbole_model(name: str) -> type[RecBole]:
    """The model that `recbole:NAME` stands for.

    Raises:
        UserError: RecBole is not installed, or has no general or context-aware model of that name.
    """
    inner = find_model(name)
    from recbole.utils import ModelType

    context = inner.type is ModelType.CONTEXT
    declared: dict[str, Any] = {key: _declared(value) for key, value in model_defaults(name).items()}
    if context:
        meaning = "user and item attributes to read; empty: all that tell rows apart, but titles"
        declared["attributes"] = (list[str], setting([], meaning))
    parts = {
        "__doc__": RecBole.__doc__,
        "Settings": create_model(f"{name}Settings", __base__=Settings, **declared),
        "train_defaults": {"sample_by": "rows"} if name in BY_USER else {},
        # NCEPLRec does not say so, and has nothing to train either.
        "closed_form": inner.type is ModelType.TRADITIONAL or name == "NCEPLRec",
        "idle_parameters": True,
        "reads_content": context,
        "popular_without_history": not context,
        "name": name,
        "inner_class": inner,
        "context": context,
    }
    return type(name, (RecBole,), parts)


def _declared(default: Any) -> tuple[Any, Any]:
    """Type and field of a setting that has this default: RecBole states no types."""
    from pydantic import Field

    if isinstance(default, str):
        return str, Field(default, pattern=TOKENS)
    kinds = {bool: bool, int: int | float, float: float, list: list, dict: dict}
    return kinds.get(type(default), Any), setting(default)

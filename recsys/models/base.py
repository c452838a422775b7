"""What every recommender is: settings and training data in, user and item vectors (or scores) out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from recsys.coldstart.cold_items import harmonic_mean
from recsys.coldstart.scale import SCALES
from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.evaluation.evaluator import COLD, OVERALL, WARM
from recsys.evaluation.scorers import AverageScorer, FallbackScorer, LowestScorer, Scorer, VectorScorer
from recsys.graphs.operator import table_rows
from recsys.inputs.content import without_content
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.columns import Columns
from recsys.models.loss_terms import LossTerms
from recsys.serving.cold import Cold, Neighbours, Resembling, Scaled
from recsys.serving.fold_in import FoldIn, UserEncoder, gathered
from recsys.serving.parts import Part, Rules
from recsys.serving.parts import Vectors as VectorPart
from recsys.settings import Settings

FOLD_IN_RIDGE = 1.0
NEAREST = 10
"""Items whose vectors a new item averages in a bundle, by each modality."""


class Vectors(NamedTuple):
    """What a model's forward pass gives.

    Attributes:
        users: (n_users, d); a cold user's row is replaced by `encode_users` before it is scored.
        items: (n_items, d); a cold item's row comes from content, or is meaningless where
            `ranks_cold_items` is False.
        extras: what the loss needs besides.
    """

    users: Tensor
    items: Tensor
    extras: Mapping[str, Tensor] = {}


class Published(NamedTuple):
    """A model's defaults and protocol as its authors published them, where they are not ours.

    Besides, none of these protocols masks the validation part in the test, or does what
    `recsys.inputs.train_settings.AS_PUBLISHED` turns off, and a run that asks for them does neither.

    Attributes:
        source: the repository and commit that they were read off.
        settings: of the model and its training, by name. `patience` counts the validation that stops, so that
            it is one more than an authors' limit that must be passed.
    """

    source: str
    settings: Mapping[str, Any]


class Model(nn.Module):
    """Base of all recommenders.

    A trained model gives `forward` and `loss`; a closed-form one `fit`, and `forward` or, where its scores are no
    inner products, `scores`. One that places new items gives `encode_items`; one that places new users otherwise than
    by a regression on their items' vectors, `encode_users`, and `user_part` for bundles.

    What a model can do is declared in class attributes, which `recsys show model` prints and the tests of the contract
    prove; a model whose settings decide sets them on the instance too.

    Attributes:
        Settings: the model's hyperparameters.
        train_defaults: its own defaults of the trainer's settings.
        published: the authors' defaults and protocol, where they differ from ours; None where they are not known.
        paper: title, venue, year and arXiv number of what it implements, in one line.
        closed_form: `fit` does it all, and there is nothing to train by gradient.
        reads_content: its scores depend on modalities or attributes.
        ranks_cold_items: it scores items without training interactions, by content. A model that does not scores
            them lowest, all alike, and the report says so.
        exports_vectors: its scores are the inner products of `embed`'s vectors, for everybody.
        personal: different users get different rankings.
        serves_new_users: it ranks for users who were not trained on; otherwise they get the ranking by popularity.
        linear_in_history: its score of an item is the sum, over what a user is known to like, of what each of these
            alone would give it.
        popular_without_history: a user without any interaction gets the ranking by popularity.
        trains_in_shares: the loss of a batch is the mean of its rows' losses, and of what does not depend on the
            rows, so that several processes can train on shares of each batch.
        trains_by_columns: every parameter has the vectors' columns along one dimension (`column_dims`), no column
            depends on another but through sums over all of them, and the loss makes these by `columns.sum`, so that
            several processes can each hold and train some of the columns.
        idle_parameters: a step may leave some parameter without a gradient.
        whole_graph: a training step costs as much as the graph or the tables, however small its batch; the training
            takes larger batches on larger data.
        columns: which columns the parameters hold; all of them, but in one of several processes that divide them.
        calibrated: names of the buffers that `calibrate` fills.
        views: "users", "items" or "bundles" -> names of the views that terms of the loss may compare; see
            `recsys.models.loss_terms`.
        usual_views: two of them, which a term compares where nobody says.
        view_widths: widths of views that are not `settings.width` wide.
        terms: the terms of the loss that compare views; a model that offers none has no such attribute.
    """

    Settings: ClassVar[type[Settings]] = Settings
    train_defaults: ClassVar[Mapping[str, Any]] = {}
    published: ClassVar[Published | None] = None
    paper: ClassVar[str] = ""
    closed_form: bool = False
    reads_content: bool = False
    ranks_cold_items: bool = False
    exports_vectors: bool = True
    personal: bool = True
    serves_new_users: bool = True
    linear_in_history: bool = False
    popular_without_history: bool = False
    trains_in_shares: bool = False
    trains_by_columns: bool = False
    columns: Columns = Columns()
    idle_parameters: ClassVar[bool] = False
    calibrated: tuple[str, ...] = ()
    whole_graph: bool = False
    views: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    usual_views: ClassVar[tuple[str, ...]] = ("behaviour", "perturbed")
    view_widths: Mapping[str, int] = {}
    terms: LossTerms
    user_table: Tensor  # of models that call `add_id_tables`, or make one by `table`
    item_table: Tensor
    cold_scale: Tensor | None

    def __init__(self, settings: Any, data: TrainingData, seed: int):
        super().__init__()
        self.settings = settings
        scaled = getattr(settings, "calibrate_cold_scale", "none") != "none"
        self.register_buffer("cold_scale", torch.ones(1) if scaled else None)
        if scaled:
            self.calibrated = (*self.calibrated, "cold_scale")
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

    def add_id_tables(self, width: int) -> None:
        """A row for each user and each item: parameters `user_table` and `item_table`."""
        self.table("user_table", self.data.n_users, width)
        self.table("item_table", self.data.n_items, width)

    def id_tables(self) -> dict[str, tuple[nn.Parameter, str]]:
        """Parameters with a row for each user or item, with "users" or "items": their cold rows must never
        take a gradient. Those named `user_*` and `item_*` are found by themselves."""
        sizes = {"user": self.data.n_users, "item": self.data.n_items}
        tables = {}
        for name, parameter in self.named_parameters():
            noun = name.rpartition(".")[2].partition("_")[0]
            if noun in sizes and parameter.ndim and parameter.shape[0] == sizes[noun]:
                tables[name] = (parameter, noun + "s")
        return tables

    def column_dims(self) -> dict[str, int]:
        """Parameter -> the dimension along which its columns lie, where `trains_by_columns`: the second one of
        `id_tables` unless overridden."""
        return dict.fromkeys(self.id_tables(), 1)

    def fit(self) -> None:
        """Closed-form models: compute what the scores need, as buffers."""
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

    @classmethod
    def source_modules(cls, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Modules whose code makes this model's figures; a model that is made of others adds theirs.

        Args:
            settings: by name, as in a run's configuration.
        """
        return (cls.__module__,)

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
        none. Unless overridden, the factor of cold items' vectors, where the settings ask for one."""
        if self.cold_scale is not None:
            by = self.settings.calibrate_cold_scale
            calibrate_at(self.cold_scale, SCALES, lambda: figure_by(by, validate))

    def calibration(self) -> dict[str, Tensor]:
        """The buffers that `calibrate` fills, of the model's parts too, by name."""
        return {
            f"{place}.{name}" if place else name: module.get_buffer(name)
            for place, module in self.named_modules()
            if isinstance(module, Model)
            for name in module.calibrated
        }

    @torch.no_grad()
    def scorer(self, users: QueryUsers | None = None, new_items: NewItems | None = None) -> Scorer:
        """The scores of `users`, by place, for the catalogue's items and, behind them, for new items.

        A cold user of the catalogue and a new one, a cold item and a new one, take the same path, and nobody's
        score depends on who else is asked about. The rules for what the model knows nothing of stand here alone:
        items that it cannot score tie below all others, a new item without content gets the score that the average
        warm item has, and users whom it cannot rank for get the ranking by popularity. A model with other scores
        than inner products overrides `scores`, not this.

        Args:
            users: whom to rank for; None: all users of the training data, by what they took there.
            new_items: None: the catalogue alone.

        Raises:
            UserError: there are new items, and the model does not read content.
        """
        if new_items is not None and not self.ranks_cold_items:
            raise UserError(f"{type(self).__name__} cannot rank new items: it does not read content")
        users = self.data.query_users() if users is None else users
        scorer, cannot_score = self.scores(users, new_items), self.cannot_score()
        if cannot_score.any():
            scorer = LowestScorer(scorer, cannot_score)
        counts = self.data.item_counts()
        if new_items is not None:
            counts = np.append(counts, np.zeros(len(new_items)))
            if (without := self.without_content(new_items)).any():
                average_of = np.flatnonzero(self.data.warm_items & ~cannot_score)
                scorer = AverageScorer(scorer, self.data.n_items + np.flatnonzero(without), average_of)
        cannot_rank_for = self.cannot_rank_for(users)
        return scorer if cannot_rank_for is None else FallbackScorer(scorer, cannot_rank_for, counts)

    def scores(self, users: QueryUsers, new_items: NewItems | None) -> Scorer:
        """The bare scores, before the rules of `scorer`: inner products of `embed`'s vectors unless overridden."""
        return VectorScorer(*self.embed(users, new_items))

    @torch.no_grad()
    def embed(self, users: QueryUsers, new_items: NewItems | None = None) -> tuple[Tensor, Tensor]:
        """(m, d) vectors of `users` and (n_items + n, d) of the catalogue and, below it, of n new items.

        A known user's row and a catalogue item's are those of `forward`; the others' come from `encode_users` and
        `encode_items`. Cold and new items' rows are `cold_scale` times that, where there is such a factor.
        """
        vectors = self.forward()
        if self.cold_scale is not None:
            read = getattr(self, "modalities", self.data.modalities)
            without = without_content({name: self.data.modalities[name] for name in read}, self.data.n_items)
            placed = torch.from_numpy(~self.data.warm_items & ~without)[:, None].to(vectors.items.device)
            scaled = torch.where(placed, vectors.items * self.cold_scale, vectors.items)
            vectors = vectors._replace(items=scaled)
        rows = vectors.users[torch.from_numpy(np.maximum(users.numbers, 0)).to(vectors.users.device)]
        new = np.flatnonzero(users.numbers < 0)
        if len(new) and self.serves_new_users:
            strangers = users.rows(new)
            encoded = self.encode_users(strangers.history, strangers.attributes, vectors)
            rows[torch.from_numpy(new).to(rows.device)] = encoded
        if new_items is None:
            return rows, vectors.items
        encoded = self.encode_items(new_items.modalities, new_items.attributes)
        if self.cold_scale is not None:
            encoded = encoded * self.cold_scale
        return rows, torch.cat([vectors.items, encoded])

    def cannot_score(self) -> np.ndarray:
        """(n_items,) bool, the catalogue's items that the model knows nothing of; it can score every new item that
        has content."""
        return np.zeros(self.data.n_items, bool) if self.ranks_cold_items else ~self.data.warm_items

    def without_content(self, new_items: NewItems) -> np.ndarray:
        """(n,) bool, the new items without any content that the model reads."""
        read = getattr(self, "modalities", self.data.modalities)
        return without_content({name: new_items.modalities[name] for name in read}, len(new_items))

    def cannot_rank_for(self, users: QueryUsers) -> np.ndarray | None:
        """(m,) bool, the users who get the ranking by popularity; None where there never are any."""
        if self.serves_new_users and not self.popular_without_history:
            return None
        cannot = np.zeros(len(users), dtype=bool) if self.serves_new_users else users.numbers < 0
        return cannot | (np.diff(users.history.indptr) == 0) if self.popular_without_history else cannot

    @torch.no_grad()
    def encode_users(
        self, history: sp.csr_array, attributes: pd.DataFrame | None = None, vectors: Vectors | None = None
    ) -> Tensor:
        """(n, d) vectors of users who were not trained on.

        Unless overridden, from their interactions alone: a ridge regression, fitted on the training users, maps what
        a user's items add up to, sum_i v_i / sqrt(n), to the user's vector. A user without interactions takes the
        mean user's vector.

        Args:
            history: (n, n_items) CSR; interactions with items that the model cannot rank are left out.
            attributes: n rows with the data set's user attributes; None, or no rows, where there are none.
            vectors: of `forward`, where they are there already.
        """
        vectors = vectors or self.forward()
        return torch.from_numpy(self.fold_in(vectors)(history)).to(vectors.users)

    @torch.no_grad()
    def fold_in(self, vectors: Vectors) -> FoldIn:
        """The regression of `encode_users`, unless overridden, on the training users' `vectors`."""
        known = self.data.warm_items if not self.ranks_cold_items else np.ones(self.data.n_items, bool)
        warm = np.flatnonzero(self.data.warm_users)
        items = vectors.items.detach().float().cpu().numpy()
        target = vectors.users[torch.from_numpy(warm).to(vectors.users.device)].double().cpu().numpy()
        seen = gathered(self.data.interactions[warm], items)
        mean_target, mean_seen = target.mean(0), seen.mean(0)
        centred = seen - mean_seen
        gram = centred.T @ centred + FOLD_IN_RIDGE * np.eye(seen.shape[1])
        weights = np.linalg.solve(gram, centred.T @ (target - mean_target))
        return FoldIn(items, known.astype(np.float32), weights, mean_seen, mean_target)

    @torch.no_grad()
    def serving(self, users: QueryUsers) -> Part | None:
        """What `scorer` gives for `users`, as arrays that answer without the model; None where its scores need it."""
        part = self.served(users)
        if part is None:
            return None
        cannot_score = self.cannot_score()
        return Rules(
            part,
            cannot_score=np.flatnonzero(cannot_score),
            averaged=np.flatnonzero(self.data.warm_items & ~cannot_score),
            counts=self.data.item_counts().astype(np.float32),
            popular=self.cannot_rank_for(users),
            popular_without_history=self.popular_without_history,
            serves_new_users=self.serves_new_users,
            reads=list(getattr(self, "modalities", self.data.modalities)),
        )

    def served(self, users: QueryUsers) -> Part | None:
        """As `serving`, of the bare `scores`: the vectors of `embed`, where scores are their inner products. A model
        with other scores overrides it, or is served by lists made beforehand."""
        return self.vector_part(users) if type(self).scores is Model.scores else None

    @torch.no_grad()
    def vector_part(self, users: QueryUsers) -> VectorPart:
        """The vectors of `embed`; new users by `user_part`, new items by `cold_part`."""
        rows, items = (v.detach().float().cpu().numpy() for v in self.embed(users))
        vectors = self.forward()
        encoder = self.user_part(Vectors(vectors.users, torch.from_numpy(items).to(vectors.items)))
        cold = self.cold_part(items)
        if cold is not None and self.cold_scale is not None:
            cold = Scaled(cold, float(self.cold_scale))
        return VectorPart(np.ascontiguousarray(rows), items, encoder, cold)

    def user_part(self, vectors: Vectors) -> UserEncoder:
        """How a bundle places new users: `encode_users` in arrays. Who overrides that one alone is stood in for
        by the regression, and the bundle says so.

        Args:
            vectors: of `forward`.
        """
        return self.fold_in(vectors)

    def cold_part(self, items: np.ndarray) -> Cold | None:
        """How a bundle places new items; None where the model reads no modality. Unless overridden by the mean vector
        of the items that they resemble, which only stands in for the model's own rule.

        Args:
            items: (n_items, d) the catalogue's vectors.
        """
        names = getattr(self, "modalities", self.data.modalities) if self.ranks_cold_items else {}
        return Resembling(Neighbours(NEAREST, dict.fromkeys(names, 1.0)), items, False) if names else None

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        """(n, d) vectors of items that were not trained on, from their content alone.

        Args:
            content: every modality of the data set, n rows each.
            attributes: n rows with the data set's item attributes; None, or no rows, where there are none.

        Raises:
            UserError: the model does not read content.
        """
        raise UserError(f"{type(self).__name__} cannot rank new items: it does not read content")

    def arrays(self) -> dict[str, Tensor]:
        """What must be kept of a trained model: parameters and persistent buffers."""
        return {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}

    @torch.no_grad()
    def start_from(
        self, arrays: Mapping[str, Tensor], known: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> list[str]:
        """Take over another training's weights, to train on from them: of `id_tables` the rows in `known`, other
        parameters where names and shapes agree.

        Args:
            arrays: what that training's model gave by `arrays`.
            known: "users" and "items" -> rows here, and the rows there of the same ids.

        Returns:
            Names of the parameters of which nothing was taken over.

        Raises:
            UserError: the model's rows are not its own.
        """
        tables, anew = self.id_tables(), []
        for name, parameter in self.named_parameters():
            given = arrays.get(name)
            if given is None or given.shape[1:] != parameter.shape[1:]:
                anew.append(name)
            elif name in tables:
                here, there = (torch.from_numpy(rows) for rows in known[tables[name][1]])
                parameter[here] = given[there].to(parameter)
            elif given.shape == parameter.shape:
                parameter.copy_(given)
            else:
                anew.append(name)
        return anew

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


def calibrate_at(buffer: Tensor, choices: Sequence[float], figure: Callable[[], float]) -> None:
    """Fill `buffer` with the choice for which `figure()` is highest: the first of equals, and of nothing but NaN."""
    best, kept = -math.inf, choices[0]
    for choice in choices:
        buffer.fill_(choice)
        if (value := figure()) > best:
            best, kept = value, choice
    buffer.fill_(kept)


def figure_by(by: str, validate: Callable[[str], float]) -> float:
    """What cold items' place among all is calibrated by: the figure of all answers, or, with `by` "harmonic", the
    harmonic mean of those of warm and of cold answers, so that neither is given up for the other."""
    return harmonic_mean(validate(WARM), validate(COLD)) if by == "harmonic" else validate(OVERALL)


def triples(users: Tensor, items: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The batch's rows of two tables: (b, d) users, (b, d) positives, (b, n, d) negatives."""
    pairs = ((batch.users, users), (batch.positives, items), (batch.negatives, items))
    first, second, third = (table_rows(ids, table) for ids, table in pairs)
    return first, second, third


def triple_scores(users: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """(b, 1) scores of the positives and (b, n) of the negatives."""
    return (users * positives).sum(-1, keepdim=True), (users.unsqueeze(1) * negatives).sum(-1)

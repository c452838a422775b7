"""AFF: fields of users, items and context, weighed by gates for each instance, for cold start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import embedding

from recsys.coldstart.popularity import ContentPopularity
from recsys.datasets.dataset import Modality
from recsys.encoders.fields import DAYS, HOURS, AttributeFields, context_fields
from recsys.encoders.gated_fusion import (
    ContentFields,
    FieldFusion,
    FieldRows,
    Gates,
    HistoryField,
    root_mean,
)
from recsys.encoders.moving_average import MovingAverage
from recsys.errors import UserError
from recsys.inputs.content import choose, without_content
from recsys.inputs.requests import NewItems
from recsys.inputs.sampler import Batch
from recsys.inputs.support_query import SupportQuerySampler
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors, calibrate_at, figure_by
from recsys.objectives.contrastive.infonce import infonce
from recsys.settings import Settings, setting

CONTRASTED = 512
"""Users, items and pairs of a batch that the contrastive terms look at, at most."""
MOMENTS = HOURS * DAYS
COLD_OFFSETS = (0.0, 0.2, -0.2, 0.5, -0.5, 0.8, 1.2, 1.6, 2.0, 2.5, 3.0)
"""What `calibrate` tries to add to the scores of cold items."""


class AFFSettings(Settings):
    width: int = setting(64, "width of the fields and of the vectors", low=1, high=4096, search=[64, 128])
    dropout: float = setting(0.3, "share of fused entries dropped", low=0, high=0.9, search=(0.0, 0.6))
    content_dropout: float = setting(
        0.6,
        "share of the hidden entries of content and attributes dropped",
        low=0,
        high=0.9,
        search=(0.0, 0.8),
    )
    id_dropout: float = setting(
        0.3, "share of items whose ID is dropped in a step", low=0, high=1, search=(0.05, 0.9)
    )
    new_catalogues: float = setting(
        0.0, "share of steps in which no item has an ID", low=0, high=1, search=(0.0, 0.8)
    )
    popularity: float = setting(
        0.0,
        "weight of the error of the popularity predicted for items without an ID; 0: items have a bias instead",
        low=0,
    )
    ridge: float = setting(
        0.0,
        "share of a ridge regression on content in the mean score of cold items",
        low=0,
        high=1,
    )
    regularisation: float = setting(
        10.0, "regularisation of that regression", low=1e-6, search=(1.0, 100.0), log=True
    )
    new_users: float = setting(
        0.5,
        "share of users trained as new ones: without their ID, from their first items",
        low=0,
        high=1,
        search=(0.1, 0.9),
    )
    view_mask: float = setting(0.5, "share of fields masked in a view", low=0, high=0.95)
    view_weight: float = setting(
        0.1, "weight of the contrastive loss between views", low=0, search=(1e-3, 1.0), log=True
    )
    interaction_weight: float = setting(
        0.1, "weight of the contrastive loss between users and items", low=0, search=(1e-3, 1.0), log=True
    )
    temperature: float = setting(
        0.2, "temperature of both contrastive losses", low=0.01, high=10, search=(0.05, 1.0), log=True
    )
    average: float = setting(
        0.98,
        "decay of the exponential moving average (EMA) of the weights, which ranks users' items",
        low=0,
        high=0.9999,
    )
    gates: bool = setting(True, "weigh the fields for each user and item; false: all alike")
    attention: bool = setting(True, "self-attention over the fields; false: their sum")
    view_contrast: bool = setting(True, "contrast two masked views of one user or item")
    interaction_contrast: bool = setting(True, "contrast users with items they took")
    calibrate_cold_offset: Literal["none", "overall", "harmonic"] = setting(
        "overall",
        "what the cold items' offset is calibrated by: all answers, or warm and cold ones in equal parts",
    )
    context: bool | None = setting(None, "use the hour and the weekday; empty: where there are timestamps")
    ids: bool = setting(True, "give warm users and items a field of their own")
    history: bool = setting(True, "give users a field of the items they took")
    product: bool = setting(
        True,
        "multiply items' content fields with those of the items that a user took; false: two towers alone",
    )
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    codes: bool = setting(
        True, "read whole numbers as categories too; false: by their order alone, where they are many"
    )
    user_fields: list[str] = setting([], "user attributes to read; empty: all of them")
    item_fields: list[str] = setting([], "item attributes to read; empty: all of them")


class _Items(NamedTuple):
    """What the item tower says of n items: the vector that users meet, the bias (the popularity expected, where that
    is asked for), what a moment meets, the key in users' histories, and the gated content that tastes meet."""

    vectors: Tensor
    bias: Tensor
    moments: Tensor
    keys: Tensor
    content: Tensor

    def met(self) -> Tensor:
        """(n, D): what a user's vector, taste, 1 and moment, side by side, are multiplied with."""
        return torch.cat([self.vectors, self.content, self.bias, self.moments], 1)


def _taken(history: sp.csr_array, device: torch.device) -> tuple[Tensor, Tensor]:
    """The items of users' histories, one user's after another's, and how many are each one's, as int64."""
    taken, ends = (torch.from_numpy(a.astype(np.int64)) for a in (history.indices, history.indptr))
    return taken.to(device), ends.diff().to(device)


class AFF(Model):
    """Two towers over gated fields, trained to rank users' items among the whole catalogue, and a context term.

    "Adaptive feature fusion for cold start", arXiv 2502.03664, of which only the abstract was at hand: the equations
    are our reading of it. Fields of a user: each attribute, the items taken; of an item: each attribute and
    modality; of a moment: its hour and weekday (UTC). Warm users and items have an ID field besides. Each tower is a
    `FieldFusion`. With u, v, c the vectors of user, item and moment, v' and b an item's second vector and bias, and
    p_i = log(1 + n_i) for an item that n_i users took, b_i for a cold one:

        s(u, i, c) = u . v_i + t_u . q_i + c . v'_i + p_i
        q_i = sum_f g_if e_if over the attributes and modalities f of i, e the fields and g their gates
        t_u = sum of q_j over the items j taken / sqrt(their number) + the user's ID
        L = mean -log softmax_i s(u, i, c) over the warm items
            + view_weight (InfoNCE(i', i'') + InfoNCE(u', u'')) / 2 + interaction_weight InfoNCE(u, v)
            + popularity mean ((b_i - log(1 + n_i)) / sigma)^2 over the items that do without their ID

    where x', x'' are two views of x with a share `view_mask` of the fields masked, and sigma is the standard
    deviation of log(1 + n_i). The product t . q is ours, after the second-order term of "DeepFM", Guo et al., IJCAI
    2017; `product=false` leaves the two towers of our reading. In them a category of the history meets that of an
    item only through two fusions and two linear layers that know nothing of each other at first: where one category
    of many decides taste, training stands still at first, and early stopping may end it there. In the product both
    sides share their weights, so that equal categories agree from the first step, and the gates learn which field it
    is. Whole numbers are read as categories besides (`codes`): by their order alone, between 16 knots, a code looks
    like its neighbours.

    Popularity that is known need not be fitted: a softmax that learns it from content learns the content of a few
    popular items by heart, and ranks cold ones by it. With popularity = 0, the default, p_i is b_i for all: of warm
    items alone that ranked a little better. What a cold item is worth to the usual user, the mean s_i over the warm
    users, is drawn to what a ridge regression expects of its popularity (`ContentPopularity`), s_i + ridge (e_i - s_i):
    of a thousand items a straight line learns what a tower does not.

    A step gives each user some of their items as history and asks for the rest (`SupportQuerySampler`); a share
    `new_users` is met as one who arrives, without an ID and with the first items, and a share `id_dropout` of the items
    has no ID
    (after DropoutNet), so that the other fields carry what they can: cold ones never have one; in a share
    `new_catalogues` of the steps no item has one, so that cold ones are compared with each other too. What ranks is the
    weights' moving average; cold items get an offset that validation calibrates. A ranking has no moment of its own:
    its context is the mean of the training's. A step encodes all items: its time and memory grow with their number.
    """

    Settings = AFFSettings
    paper = "Adaptive feature fusion for cold start, arXiv 2502.03664, 2025"
    settings: AFFSettings
    train_defaults: ClassVar = {
        "batch_size": 256,
        "sample_by": "rows",
        "learning_rate": 3e-3,
        "eval_every": 4,
        "patience": 8,
    }
    reads_content = True
    ranks_cold_items = True
    calibrated = ("cold_offset",)
    warm_users: Tensor
    warm_items: Tensor
    warm_ids: Tensor
    place: Tensor
    known: Tensor
    cold_offset: Tensor
    moment_of: Tensor
    moment_share: Tensor
    hour_table: Tensor
    weekday_table: Tensor

    def __init__(self, settings: AFFSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        generator = self.init_generator
        wanted = data.modalities or settings.modalities
        self.modalities = choose(data.modalities, settings.modalities, "AFF") if wanted else {}
        self.user_columns = AttributeFields(
            data.user_attributes, data.warm_users, settings.user_fields, "user", settings.codes
        )
        self.item_columns = AttributeFields(
            data.item_attributes, data.warm_items, settings.item_fields, "item", settings.codes
        )
        data.ledger.record("vocabulary", "attributes", data.warm_users, data.warm_items)
        users = self.user_columns.read(data.user_attributes, data.n_users)
        self.catalogue = items = self._contents(data.modalities, data.item_attributes, data.n_items)
        extra = ["id"] * settings.ids
        self.names = {"user": [*users, *["history"] * settings.history, *extra], "item": [*items, *extra]}
        for noun, names in self.names.items():
            if not names:
                raise UserError(f"AFF has no {noun} field to read; set ids=true, or use data with attributes")
        self.user_content = ContentFields(users, settings.width, generator, settings.content_dropout)
        self.item_content = ContentFields(items, settings.width, generator, settings.content_dropout)
        self.history_field = HistoryField(settings.width, generator) if settings.history else None
        self.has_product = settings.product and settings.history and len(items) > 0
        if settings.ids:
            self.table("user_table", data.n_users, settings.width)
            self.table("item_table", data.n_items, settings.width)
        self._make_context()
        self.parts = [settings.width, 1, settings.width * self.has_context, settings.width * settings.history]
        self.expected = None
        if settings.ridge:
            if not items:
                raise UserError("AFF has no item field to regress popularity on; set ridge=0")
            data.ledger.record("regression", "popularity", items=data.warm_items)
            counts, warm = data.item_counts(), data.warm_items
            self.expected = ContentPopularity(items, counts, warm, settings.regularisation)
        self.user_fusion = self._fusion("user", settings.width, settings.dropout)
        self.item_fusion = self._fusion("item", sum(self.parts), settings.dropout)
        self._register(data)
        self.support_query = SupportQuerySampler(
            data.interactions, data.use_timestamps("order of histories"), seed
        )
        self.averaged = MovingAverage(self, settings.average)
        self.register_buffer("cold_offset", torch.zeros(1))
        if self.has_product:  # it has no weights of its own by which a saved model without it would be told
            self.register_buffer("multiplies", torch.ones(1))
        self.noise = torch.Generator().manual_seed(seed)

    def _fusion(self, noun: str, outputs: int, dropout: float) -> FieldFusion:
        settings = self.settings
        fusion = FieldFusion(
            len(self.names[noun]),
            settings.width,
            outputs,
            self.init_generator,
            gates=settings.gates,
            attention=settings.attention,
            dropout=dropout,
        )
        if noun != "item":
            with torch.no_grad():
                # Products with an item's vector, sums over `width`, start near 1.
                fusion.out.weight *= settings.width**-0.5
        return fusion

    def _register(self, data: TrainingData) -> None:
        warm = np.flatnonzero(data.warm_items)
        buffers = {
            "warm_users": data.warm_users,
            "warm_items": data.warm_items,
            "warm_ids": warm,
            "place": data.warm_item_places(),
            "known": np.log1p(data.item_counts()).astype(np.float32)[:, None],
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.array(values)), persistent=False)
        known = self.known[self.warm_ids].double()
        self.usual, self.sigma = known.mean().item(), max(known.std(correction=0).item(), 1e-3)

    def _make_context(self) -> None:
        settings = self.settings
        fields = context_fields(self.data, settings.context)
        self.has_context = fields is not None
        if fields is None:
            return
        moments = fields["hour"] * DAYS + fields["weekday"]
        share = np.bincount(moments, minlength=MOMENTS) / len(moments)
        self.register_buffer("moment_of", torch.from_numpy(moments), persistent=False)
        self.register_buffer("moment_share", torch.from_numpy(share).float(), persistent=False)
        self.names["context"] = ["hour", "weekday"]
        self.table("hour_table", HOURS, settings.width)
        self.table("weekday_table", DAYS, settings.width)
        self.context_fusion = self._fusion("context", settings.width, settings.dropout)

    def train(self, mode: bool = True) -> AFF:
        """Train the weights themselves; score by their moving average."""
        super().train(mode)
        self.averaged.place(self, averaged=not mode)
        return self

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.noise = generator

    def _drawn(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.noise).to(self.place.device)

    def _moments(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) vectors of moments, hour * 7 + weekday, and their gates."""
        vectors = [embedding(numbers // DAYS, self.hour_table), embedding(numbers % DAYS, self.weekday_table)]
        return self.context_fusion(FieldRows(vectors, numbers.new_ones(len(numbers), 2).bool()))

    def _items(self, fields: FieldRows) -> _Items:
        fused, gates = self.item_fusion(fields)
        width = self.settings.width * self.has_product
        content = fields.gated_sum(gates, len(self.catalogue), width)
        vectors, bias, moments, keys = fused.split(self.parts, dim=1)
        items = _Items(vectors, bias, moments, keys, content)
        if not self.settings.popularity:
            return items
        return items._replace(bias=self.usual + self.sigma * items.bias)

    def _taste(self, content: Tensor, taken: Tensor, counts: Tensor, known: Tensor | None = None) -> Tensor:
        """(n, d) of users: the `content` of the items they took, and the ID of the known; (n, 0) without the product.

        Args:
            content, taken, counts: as the keys, taken and counts of `HistoryField`.
            known: (n, d) rows of IDs, zero where a user is met without; None: nobody has one.
        """
        taste = root_mean(content, taken, counts)
        return taste + known if self.has_product and known is not None else taste

    def _item_fields(self) -> FieldRows:
        fields = self.item_content(self.data.n_items)
        return fields.plus(self.item_table, self.warm_items) if self.settings.ids else fields

    def _user_fields(self, content: FieldRows, keys: Tensor, history: sp.csr_array) -> FieldRows:
        """Of any users: what is read of their attributes, and their history; all but the ID."""
        if self.history_field is None:
            return content
        return content.plus(*self.history_field(keys, *_taken(history, keys.device)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        settings, warm = self.settings, self.warm_ids
        if self.training:
            self.averaged.update(self)
        item_fields = self.item_content(len(warm), warm)
        bare = torch.ones_like(warm, dtype=torch.bool)
        if settings.ids:
            share = 1.0 if self._drawn(1) < settings.new_catalogues else settings.id_dropout
            bare = self._drawn(len(warm)) < share
            item_fields = item_fields.plus(embedding(warm, self.item_table), ~bare)
        items, terms = self._items(item_fields), {}
        if settings.popularity:
            known = self.known[warm]
            errors = ((items.bias - known) / self.sigma).square()[:, 0]
            terms["popularity"] = settings.popularity * (errors * bare).sum() / bare.sum().clamp(min=1)
            items = items._replace(bias=known)
        new_users = self._drawn(len(batch.users)) < settings.new_users
        drawn = self._drawn(len(batch.users)), self._drawn(self.support_query.size(batch.users))
        rows, places, taken, given = self.support_query(batch.users, new_users, drawn)
        taken, fields = self.place[taken], self.user_content(len(batch.users), batch.users)
        counts = torch.bincount(rows[given], minlength=len(batch.users))
        if self.history_field is not None:
            fields = fields.plus(*self.history_field(items.keys, taken[given], counts))
        ids: Tensor | None = None
        if settings.ids:
            ids = embedding(batch.users, self.user_table)
            fields, ids = fields.plus(ids, ~new_users), ids * ~new_users.unsqueeze(1)
        users = self.user_fusion(fields)[0]
        taste = self._taste(items.content, taken[given], counts, ids)
        rows, places, wanted = rows[~given], places[~given], taken[~given]
        terms["rank"] = self._rank(torch.cat([users, taste], 1), items, rows, places, wanted)
        if settings.view_contrast:
            among = self._some(wanted.unique()), self._some(torch.arange(len(users), device=rows.device))
            views = self._views(self.item_fusion, item_fields.take(among[0]))
            terms["views"] = (
                settings.view_weight * (views + self._views(self.user_fusion, fields.take(among[1]))) / 2
            )
        if settings.interaction_contrast:
            pairs = self._some(torch.arange(len(rows), device=rows.device))
            contrast = infonce(
                users[rows[pairs]], items.vectors[wanted[pairs]], settings.temperature, symmetric=True
            )
            terms["interactions"] = settings.interaction_weight * contrast
        return terms

    def _rank(self, users: Tensor, items: _Items, rows: Tensor, places: Tensor, wanted: Tensor) -> Tensor:
        """Mean over interactions of -log softmax of the score among the warm items."""
        queries = torch.cat([users, torch.ones_like(users[:, :1])], 1)
        if self.has_context:
            # A user's interactions of one moment share their scores.
            asked, rows = torch.unique(rows * MOMENTS + self.moment_of[places], return_inverse=True)
            queries = torch.cat([queries[asked // MOMENTS], self._moments(asked % MOMENTS)[0]], 1)
        return -(queries @ items.met().T).log_softmax(1)[rows, wanted].mean()

    def _some(self, rows: Tensor) -> Tensor:
        order = torch.randperm(len(rows), generator=self.noise)[:CONTRASTED]
        return rows[order.to(rows.device)]

    def _views(self, fusion: FieldFusion, fields: FieldRows) -> Tensor:
        """InfoNCE of two views of each row, each with other fields masked."""
        views = []
        for _ in range(2):
            shown = self._drawn(*fields.present.shape) >= self.settings.view_mask
            views.append(fusion(fields._replace(present=fields.present & shown))[0][:, : self.settings.width])
        first, second = views
        return infonce(first, second, self.settings.temperature, symmetric=True)

    def _scored_users(self, fields: FieldRows, taste: Tensor) -> Tensor:
        """(n, D): what is multiplied with `_scored_items`; the moment is the training's mean."""
        users = self.user_fusion(fields)[0]
        parts = [users, taste, torch.ones_like(users[:, :1])]
        if self.has_context:
            mean = self.moment_share @ self._moments(torch.arange(MOMENTS, device=users.device))[0]
            parts.append(mean.expand(len(users), -1))
        return torch.cat(parts, 1)

    def _known_users(self, keys: Tensor, history: sp.csr_array) -> FieldRows:
        fields = self._user_fields(self.user_content(self.data.n_users), keys, history)
        return fields.plus(self.user_table, self.warm_users) if self.settings.ids else fields

    def forward(self) -> Vectors:
        items = self._items(self._item_fields())
        if self.settings.popularity:
            items = items._replace(bias=torch.where(self.warm_items[:, None], self.known, items.bias))
        known = self.user_table * self.warm_users.unsqueeze(1) if self.settings.ids else None
        taste = self._taste(items.content, *_taken(self.data.interactions, self.place.device), known)
        users = self._scored_users(self._known_users(items.keys, self.data.interactions), taste)
        usual = users[self.warm_users].mean(0)
        scored = self._scored_items(items, ~self.warm_items, usual, self.catalogue)
        return Vectors(users, scored, {"keys": items.keys, "content": items.content, "usual": usual})

    def _scored_items(
        self, items: _Items, cold: Tensor, usual: Tensor, contents: Mapping[str, Modality]
    ) -> Tensor:
        """(n, D).

        Args:
            cold: (n,) bool.
            usual: (D,) the mean warm user.
            contents: the items' fields but for the ID.
        """
        bias = items.bias
        if self.expected is not None:
            own_value = items.met() @ usual
            bias = bias + (self.settings.ridge * cold * (self.expected(contents) - own_value)).unsqueeze(1)
        bias = bias + (self.cold_offset * cold).unsqueeze(1)
        return items._replace(bias=bias).met()

    def calibrate(self, validate: Callable[[str], float]) -> None:
        """Choose what the scores of cold items gain. Their popularity is unknown and they are rated at what is usual
        for their content, so that few lists reach down to them."""
        by = self.settings.calibrate_cold_offset
        if by != "none":
            calibrate_at(self.cold_offset, COLD_OFFSETS, lambda: figure_by(by, validate))

    @torch.no_grad()
    def encode_users(
        self, history: sp.csr_array, attributes: pd.DataFrame | None = None, vectors: Vectors | None = None
    ) -> Tensor:
        extras, n = (vectors or self.forward()).extras, history.shape[0]
        content = self.user_content.encode(self.user_columns.read(attributes, n), n, self.place.device)
        fields = self._without_id(self._user_fields(content, extras["keys"], history), n)
        return self._scored_users(fields, self._taste(extras["content"], *_taken(history, self.place.device)))

    def _contents(
        self, content: Mapping[str, Modality], attributes: pd.DataFrame | None, n: int
    ) -> dict[str, Modality]:
        """The fields of n items but for the ID."""
        return self.item_columns.read(attributes, n) | {name: content[name] for name in self.modalities}

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        if content:
            n = len(next(iter(content.values())).mask)
        else:
            assert attributes is not None  # new items have one or the other
            n = len(attributes)
        contents = self._contents(content, attributes, n)
        fields = self.item_content.encode(contents, n, self.place.device)
        items = self._items(self._without_id(fields, n))
        usual = self.forward().extras["usual"] if self.settings.ridge else items.bias.new_zeros(0)
        return self._scored_items(items, torch.ones_like(items.bias[:, 0], dtype=torch.bool), usual, contents)

    def without_content(self, new_items: NewItems) -> np.ndarray:
        contents = self._contents(new_items.modalities, new_items.attributes, len(new_items))
        return without_content(contents, len(new_items))

    def _without_id(self, fields: FieldRows, n: int) -> FieldRows:
        if not self.settings.ids:
            return fields
        device = self.place.device
        return fields.plus(
            torch.zeros(n, self.settings.width, device=device),
            torch.zeros(n, dtype=torch.bool, device=device),
        )

    def arrays(self) -> dict[str, Tensor]:
        """The moving average of the weights in their place."""
        arrays = {name: a for name, a in super().arrays().items() if not name.startswith("averaged.")}
        return arrays | self.averaged.values(self)

    def load_arrays(self, arrays: Mapping[str, Tensor]) -> None:
        if self.has_product and "multiplies" not in arrays:
            raise UserError(
                "the saved model does not fit AFF: it was trained without the product of fields; "
                "train it again, or say product: false in its config.yaml"
            )
        super().load_arrays(arrays)
        self.averaged.forget()

    @torch.no_grad()
    def field_gates(self, support: sp.csr_array | None = None) -> dict[str, Gates]:
        """The gates of all users, items and moments of the training, under "user", "item" and "context".

        Args:
            support: (n_users, n_items) CSR of interactions that cold users bring along.
        """
        items = self._item_fields()
        users = self._known_users(self._items(items).keys, self.data.query_users(support).history)
        by_noun: dict[str, tuple[Tensor, Tensor, np.ndarray | None]] = {
            "user": (self.user_fusion(users)[1], users.present, self.data.warm_users),
            "item": (self.item_fusion(items)[1], items.present, self.data.warm_items),
        }
        if self.has_context:
            gates = self._moments(self.moment_of.unique())[1]
            by_noun["context"] = gates, torch.ones_like(gates, dtype=torch.bool), None
        return {
            noun: Gates(self.names[noun], values.cpu().numpy(), present.cpu().numpy(), warm)
            for noun, (values, present, warm) in by_noun.items()
        }

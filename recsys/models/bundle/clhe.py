"""CLHE: which items complete a bundle, from several feature slots of its items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, layer_norm, normalize

from recsys.datasets.dataset import Modality
from recsys.encoders.content import ContentRows
from recsys.encoders.feature_attention import AttentionMean, ContentMLP
from recsys.encoders.linear import linear
from recsys.errors import UserError
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Published
from recsys.models.bundle.base import SetModel, SetSettings
from recsys.models.bundle.feedback import feedback_vectors
from recsys.models.bundle.sets import Sets, draw_given
from recsys.models.loss_terms import LossTerms, NodeViews
from recsys.objectives.terms import ObjectiveSettings, Term, objectives_setting
from recsys.settings import setting

SLOTS = ("content", "items", "feedback")
EPS = 1e-9
SPARSE_HIDDEN = 256
"""First hidden layer over sparse features; over dense ones it is as wide as they are."""


class CLHESettings(SetSettings):
    width: int = setting(256, "width of the vectors", low=1, high=4096, search=[64, 128, 256])
    find: Literal["rest", "all"] = setting(
        "all", "what a set must predict: rest, its items not given; or all"
    )
    slots: list[str] = setting(list(SLOTS), "feature slots of an item, of content, items, feedback")
    feedback_epochs: int = setting(30, "epochs of LightGCN on the users' items", low=0, high=1000)
    train_bundle_attention: bool = setting(
        False, "whether the bundle encoder's attention is trained; the published code keeps its first weights"
    )
    reg: float = setting(1e-5, "weight decay: half of it weighs the squared norm of all weights", low=0)
    item_view: Literal["NA", "FD", "FN", "MD"] = setting(
        "FN", "items' views: as they are, feature dropout, noise, modality drop"
    )
    item_drop: float = setting(0.2, "share dropped by FD and MD", low=0, high=0.9)
    item_noise: float = setting(0.02, "standard deviation of FN", low=0, high=10)
    item_weight: float = setting(0.5, "weight of the items' contrast", low=0, search=[0.0, 0.1, 0.5, 1.0])
    item_temperature: float = setting(0.2, "temperature of the items' contrast", low=0.01, high=5)
    bundle_view: Literal["ID", "IR"] = setting("ID", "bundles' views: item dropout, item replacement")
    bundle_keep: float = setting(0.5, "share of a bundle's items that its view keeps", low=0, high=1)
    bundle_weight: float = setting(0.5, "weight of the bundles' contrast", low=0, search=[0.0, 0.1, 0.5, 1.0])
    bundle_temperature: float = setting(0.2, "temperature of the bundles' contrast", low=0.01, high=5)
    objectives: ObjectiveSettings = objectives_setting()


class HierarchicalEncoder(nn.Module):
    """Items from their slots: content (each modality's MLP, unit, summed), an item table, feedback vectors.

    The table's rows of items in no training bundle are masked: they are never trained. An item without feedback
    shows its content in the feedback slot.
    """

    def __init__(self, settings: CLHESettings, data: TrainingData, generator: torch.Generator):
        super().__init__()
        self.slots = settings.slots
        self.mlps = nn.ModuleDict()
        for name, modality in data.modalities.items():
            hidden = SPARSE_HIDDEN if sp.issparse(modality.features) else modality.width
            self.mlps[name] = ContentMLP(modality.width, hidden, settings.width, generator)
        if "items" in self.slots:
            table = torch.empty(data.n_items, settings.width)
            self.item_table = nn.Parameter(nn.init.xavier_normal_(table, generator=generator))
        self.map = linear(settings.width, settings.width, generator)
        self.attention = AttentionMean(settings.width, generator)

    def features(
        self,
        content: nn.ModuleDict,
        known: tuple[Tensor, Tensor, Tensor],
        rows: Tensor | None,
        items: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Slots (n, S, d) and masks (n, S) of the content rows `rows`, whose item numbers are `items`."""
        warm, vectors, held = known
        parts = [mlp(content[name], rows) for name, mlp in self.mlps.items()]
        masks = [c.get_buffer("present") for c in content.values()]
        masks = [mask if rows is None else mask[rows] for mask in masks]
        n = len(items) if items is not None else len(masks[0])
        present = torch.stack(masks).any(0) if masks else torch.zeros(n, dtype=torch.bool, device=warm.device)
        total = torch.stack(parts).sum(0) if parts else vectors.new_zeros(n, vectors.shape[1])
        slots, shown = [], []
        if "content" in self.slots:
            slots, shown = [total], [present]
        if "items" in self.slots:
            table = self.item_table
            slots.append(torch.zeros_like(total) if items is None else table[items])
            shown.append(torch.zeros_like(present) if items is None else warm[items])
        if "feedback" in self.slots:
            own = torch.zeros_like(present) if items is None else held[items]
            mapped = torch.zeros_like(total) if items is None else self.map(vectors[items])
            slots.append(torch.where(own.unsqueeze(1), mapped, total))
            shown.append(own | present)
        return torch.stack(slots, 1), torch.stack(shown, 1)

    def join(self, slots: Tensor, present: Tensor) -> Tensor:
        """Slots (n, S, d) and masks (n, S) -> items (n, d); zero where an item has no slot at all."""
        return self.attention(normalize(slots, dim=2), present)


class CLHE(SetModel):
    """score = bundle vector . item's retrieval vector, from two hierarchical encoders with weights of their own.

    "CLHE: Leveraging Multimodal Features and Item-level User Feedback for Bundle Construction", Ma et al., WSDM
    2024, arXiv 2310.18770. With A(x) the mean of softmax(W_q x . W_k x / sqrt d) x (`AttentionMean`),

        item = A(its unit slots), bundle = A(layer norm of its items),
        L = multinomial + a_item InfoNCE(two views of the items) + a_bundle InfoNCE(bundle, view of the bundle),

    and weight decay as in Adam. Attentions, views and weight decay are those of the published code. Its optimiser
    never sees W_q and W_k of the bundles: they stay, and training them (`train_bundle_attention`) was not better
    on validation. In an item's MD view a dropped slot is zeroed but stays in the softmax and in the mean; MD and NA
    are contrasted without the projector that FD and FN go through.

    Departures: vectors are 256 wide, which validation on two data sets preferred to the published code's 64; the
    softmax and the item table know the items of training bundles alone (that code trains the other rows as
    negatives, and shows them); feedback comes from training bundles alone; over sparse features the first hidden
    layer is 256 wide. Two faults of the published code are not repeated: it pools the bundle's view under the whole
    bundle's mask, so that item 0 stands where items were dropped; and IR draws items whose numbers are below the
    bundle's length, not any.
    """

    Settings: ClassVar[type[SetSettings]] = CLHESettings
    paper = (
        "CLHE: Leveraging Multimodal Features and Item-level User Feedback for Bundle "
        "Construction, WSDM 2024, arXiv 2310.18770"
    )
    published: ClassVar[Published | None] = Published(
        "github.com/Xiaohao-Liu/CLHE 919d0d8faf, its command for POG",
        # It trains for all epochs, and keeps one that is the best by recall@20 and by ndcg@20.
        {"width": 64, "bundle_temperature": 0.01, "item_weight": 2.0, "item_temperature": 0.5}
        | {"max_epochs": 50, "eval_every": 2, "patience": 25},
    )
    reads_content = True
    ranks_cold_items = True
    views: ClassVar = {"items": (*SLOTS, "fused"), "bundles": ("fused",)}
    usual_views = ("fused", "perturbed")
    vectors: Tensor
    held: Tensor
    warm: Tensor

    def __init__(self, settings: CLHESettings, data: TrainingData, seed: int):
        for name in settings.slots:
            if name not in SLOTS:
                raise UserError(f"slots names '{name}'; known: {', '.join(SLOTS)}")
        if not settings.slots:
            raise UserError(f"slots is empty; name at least one of {', '.join(SLOTS)}")
        super().__init__(settings, data, seed)
        self.content = nn.ModuleDict({name: ContentRows(m) for name, m in data.modalities.items()})
        epochs = settings.feedback_epochs if "feedback" in settings.slots else 0
        vectors, held = feedback_vectors(data, settings.width, epochs, seed)
        self.register_buffer("vectors", vectors)
        self.register_buffer("held", torch.from_numpy(held), persistent=False)
        self.register_buffer("warm", torch.from_numpy(data.warm_items), persistent=False)
        self.encoder = HierarchicalEncoder(settings, data, self.init_generator)
        self.decoder = HierarchicalEncoder(settings, data, self.init_generator)
        self.bundle_attention = AttentionMean(settings.width, self.init_generator, gain=3**-0.5)
        self.bundle_attention.requires_grad_(settings.train_bundle_attention)
        self.project = linear(settings.width, settings.width, self.init_generator)
        data.ledger.record("softmax", "candidates", None, data.warm_items)
        self.terms = LossTerms(self, self._own_terms())

    def _own_terms(self) -> dict[str, Term]:
        settings = self.settings
        return {
            "items": Term(
                objective="infonce",
                views=["perturbed", "perturbed"],
                weight=settings.item_weight,
                arguments={"temperature": settings.item_temperature},
            ),
            "bundles": Term(
                objective="infonce",
                views=["fused", "perturbed"],
                nodes="bundles",
                weight=settings.bundle_weight,
                arguments={"temperature": settings.bundle_temperature},
            ),
        }

    def cannot_score(self) -> np.ndarray:
        """(n_items,) bool, the items without any of the features."""
        return ~self._known_items().cpu().numpy()

    def _known_items(self) -> Tensor:
        content = torch.zeros_like(self.warm)
        for rows in self.content.values():
            content = content | rows.get_buffer("present")
        slots = {"content": content, "items": self.warm, "feedback": self.held | content}
        return torch.stack([slots[name] for name in self.settings.slots]).any(0)

    def _features(self, encoder: HierarchicalEncoder, items: Tensor) -> tuple[Tensor, Tensor]:
        return encoder.features(self.content, (self.warm, self.vectors, self.held), items, items)

    def _items(self, encoder: HierarchicalEncoder, items: Tensor) -> Tensor:
        return encoder.join(*self._features(encoder, items))

    def decode(self, items: Tensor | None = None) -> Tensor:
        if items is None:
            items = torch.arange(self.data.n_items, device=self.vectors.device)
        return self._items(self.decoder, items)

    def encode(self, sets: Sets) -> Tensor:
        unique, places = sets.items.unique(return_inverse=True)
        vectors = self._items(self.encoder, unique)
        return self.bundle_attention(layer_norm(vectors, vectors.shape[1:], eps=EPS)[places], sets.present)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        sets, given, hidden = self.sets_of(batch)
        bundles = self.encode(sets.without(~given))
        return {"likelihood": self.likelihood(bundles, sets, given, hidden)} | self.side_terms(sets, bundles)

    def side_terms(self, sets: Sets, bundles: Tensor) -> dict[str, Tensor]:
        """The items' and the bundles' contrast and the weight decay; `bundles` (b, d) are the sets' vectors."""
        views = {
            "items": self._item_views(sets.items[sets.present].unique()),
            "bundles": NodeViews({"fused": bundles}, lambda copy: self.encode(self.bundle_view(sets))),
        }
        terms = self.terms(views)
        if self.settings.reg:
            terms["weights"] = self.settings.reg / 2 * self.squared_norm()
        return terms

    def squared_norm(self) -> Tensor:
        """Of CLHE's trained weights, without the rows of items in no training bundle, which nothing reads."""
        parts = (self.encoder, self.decoder, self.bundle_attention, self.project)
        weights = [pair for part in parts for pair in part.named_parameters() if pair[1].requires_grad]
        chosen = [w[self.warm] if name == "item_table" else w for name, w in weights]
        return torch.stack([weight.square().sum() for weight in chosen]).sum()

    def _item_views(self, items: Tensor) -> NodeViews:
        """Of the batch's items: their slots, the vector that these make, and perturbed ones."""
        slots, present = self._features(self.encoder, items)
        held = dict(zip(self.settings.slots, present.T, strict=True))
        views = {name: slots[:, place] for place, name in enumerate(self.settings.slots)}
        nodes = NodeViews(
            {**views, "fused": lambda: self.encoder.join(slots, present)}, ids=items, present=held
        )

        def perturbed(copy: int) -> Tensor:
            if self.settings.item_view == "MD":
                return self.encoder.join(self._dropped(slots), present)
            vectors = nodes.view("fused")
            return vectors if self.settings.item_view == "NA" else self.project(self._disturbed(vectors))

        nodes.perturbed = perturbed
        return nodes

    def _disturbed(self, vectors: Tensor) -> Tensor:
        if self.settings.item_view == "FD":
            return dropout(vectors, self.settings.item_drop)
        return vectors + self.settings.item_noise * torch.randn_like(vectors)

    def _dropped(self, slots: Tensor) -> Tensor:
        """The slots with some of them zeroed at random."""
        drawn = torch.rand(slots.shape[:2], device=slots.device)
        return slots * (drawn >= self.settings.item_drop).unsqueeze(2)

    def bundle_view(self, sets: Sets) -> Sets:
        """ID: a part of each set. IR: the same with other training items in the removed ones' place."""
        kept = draw_given(sets, self.noise, self.settings.bundle_keep)
        if self.settings.bundle_view == "ID":
            return sets.without(~kept)
        drawn = self._warm[torch.randint(len(self._warm), sets.items.shape, generator=self.noise)]
        return Sets(torch.where(kept, sets.items, drawn.to(sets.items.device)) * sets.present, sets.present)

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        if not self.content:
            return super().encode_items(content)
        rows = nn.ModuleDict({name: ContentRows(content[name]) for name in self.content})
        known = self.warm, self.vectors, self.held
        return self.decoder.join(*self.decoder.features(rows.to(self.vectors.device), known, None, None))

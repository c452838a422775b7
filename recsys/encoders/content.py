"""Items' content as the constant input of a linear layer: dense rows, or sparse ones that stay sparse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, cast

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys.datasets.dataset import Modality
from recsys.encoders.linear import linear
from recsys.errors import UserError
from recsys.graphs.operator import SparseOperator
from recsys.inputs.content import unit_rows

Features = Literal["unit", "raw", "trained"]
"""What a model does with features before it projects them: rows scaled to unit length; as they come; or as they come
and then trained like any weight, as several published codes do. Items that arrive later have untrained ones."""


class ContentRows(nn.Module):
    """One modality's rows, held as buffers that are not saved with the model, or as a parameter where they are trained.

    A sparse modality is multiplied as it is: reducing it first (`Modality.dense`) would give items that arrive
    later another basis than the items trained on.

    Args:
        modality: features (n_items, width) and mask.
        rows: (n,) item numbers to hold; all where None.
        features: how they are held.

    Raises:
        UserError: sparse features are to be trained.
    """

    present: Tensor
    dense: Tensor  # None where the features are sparse

    def __init__(self, modality: Modality, rows: np.ndarray | None = None, features: Features = "unit"):
        super().__init__()
        self.features = features
        held, mask = modality.features, modality.mask
        if rows is not None:
            held, mask = held[rows], mask[rows]
        held = unit_rows(held) if features == "unit" else held.astype(np.float32)
        self.sparse = SparseOperator(held) if sp.issparse(held) else None
        if self.sparse and features == "trained":
            raise UserError("features=trained needs dense features, and some are sparse; set features=unit")
        self.complete = bool(np.all(mask))
        self.register_buffer("present", torch.from_numpy(np.array(mask)), persistent=False)
        dense = None if self.sparse else torch.from_numpy(held)
        if dense is not None and features == "trained":
            self.dense = nn.Parameter(dense)
        else:
            self.register_buffer("dense", dense, persistent=False)

    def forward(self, layer: nn.Linear, rows: Tensor | None = None) -> Tensor:
        """(n, d): W x + b of the rows held, or of those numbered `rows` (b,) among them; zero where an item lacks
        the modality."""
        if self.sparse is not None:
            out = self.sparse @ layer.weight.T
            out = out if rows is None else functional.embedding(rows, out)
            out = out if layer.bias is None else out + layer.bias
        else:
            dense = self.dense if rows is None else functional.embedding(rows, self.dense)
            out = functional.linear(dense, layer.weight, layer.bias)
        if self.complete:
            return out
        return out * (self.present if rows is None else self.present[rows]).unsqueeze(1)

    def apart(self, layer: nn.Module, less: Tensor, more: Tensor) -> Tensor:
        """(b, k, d): W x of the rows numbered `more` (b, k) minus that of those numbered `less` (b,), by one projection
        of their difference. The layer's bias is left out, so that what an item lacks counts as zero, as its rows do."""
        weight = layer.get_parameter("weight")
        pairs = torch.stack([more, less.unsqueeze(1).expand_as(more)])
        # Looked up at once: rows that are trained have one gradient then.
        rows = self.dense if self.sparse is None else self.sparse @ weight.T
        of_more, of_less = functional.embedding(pairs.flatten(), rows).view(*pairs.shape, -1).unbind()
        return of_more - of_less if self.sparse is not None else functional.linear(of_more - of_less, weight)


class ItemContent(nn.Module):
    """The content of some items: the `ContentRows` of several modalities, in order.

    A model makes one of the catalogue, asks it for a layer of each modality (`layers`), and projects through them the
    catalogue's rows and, with `of`, those of any other items.

    Args:
        modalities: those to hold, by name.
        rows: (n,) item numbers to hold; all where None.
        features: how they are held.
    """

    def __init__(
        self, modalities: Mapping[str, Modality], rows: np.ndarray | None = None, features: Features = "unit"
    ):
        super().__init__()
        self.features = features
        self.names = list(modalities)
        self.widths = [modality.width for modality in modalities.values()]
        self.rows = nn.ModuleList(ContentRows(modality, rows, features) for modality in modalities.values())

    def __iter__(self) -> Iterator[ContentRows]:
        return cast(Iterator[ContentRows], iter(self.rows))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def absent(self) -> Tensor:
        """(n, M) bool: True where an item lacks a modality."""
        return ~torch.stack([rows.present for rows in self], 1)

    def layers(self, width: int, generator: torch.Generator, *, bias: bool = True) -> nn.ModuleList:
        """A linear layer to `width` for each modality, drawn in order."""
        return nn.ModuleList(linear(inputs, width, generator, bias=bias) for inputs in self.widths)

    def of(self, content: Mapping[str, Modality]) -> ItemContent:
        """The same modalities of other items, on the same device; their features are not trained."""
        features: Features = "unit" if self.features == "unit" else "raw"
        other = ItemContent({name: content[name] for name in self.names}, None, features)
        return other.to(next(iter(self)).present.device)

    def project(self, layers: Iterable[nn.Module], rows: Tensor | None = None) -> list[Tensor]:
        """Of each modality (n, d): its layer of all items' rows, or of those numbered `rows`; zero where absent."""
        return [content(layer, rows) for content, layer in zip(self, layers, strict=True)]

    def apart(self, layers: Iterable[nn.Module], less: Tensor, more: Tensor) -> list[Tensor]:
        """For each modality (b, k, d): `ContentRows.apart` by its layer."""
        return [held.apart(layer, less, more) for held, layer in zip(self, layers, strict=True)]

    def by_name(self, layers: Iterable[nn.Module]) -> dict[str, Tensor]:
        """`project` by the modality's name."""
        return dict(zip(self.names, self.project(layers), strict=True))

"""The Dataset: interactions, item features by modality, attributes, and the maps back to raw ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

if TYPE_CHECKING:
    from pathlib import Path

    from narwhals.typing import IntoDataFrame

    from recsys.datasets.content.spec import ContentSpec

TRAIN, VALID, TEST = 0, 1, 2
"""Values of the optional `label` column: the part that a publisher's own split puts a row in."""


@dataclass(frozen=True, eq=False)
class Modality:
    """What one kind of content says of the items.

    Attributes:
        features: (n_items, width) float32, C-contiguous ndarray or scipy CSR; rows outside the mask are zero.
        mask: (n_items,) bool, True where the item has this modality.
        made_of: SHA-256 of the raw content that the features were computed from and of the way, where they were: the
            same on every machine, whose last bits of a decomposition are not. Empty for features as they came.
    """

    features: np.ndarray | sp.csr_array
    mask: np.ndarray
    made_of: str = ""

    @property
    def width(self) -> int:
        return int(self.features.shape[1])

    @property
    def is_sparse(self) -> bool:
        return bool(sp.issparse(self.features))

    def rows(self, places: np.ndarray) -> Modality:
        """The modality of the items at these places, of which nobody can say what raw content they were made of."""
        return Modality(self.features[places], self.mask[places])

    def dense(self, width: int = 256, seed: int = 0) -> np.ndarray:
        """(n_items, w) float32: the features themselves, or, of a sparse matrix wider than `width`,
        its truncated SVD (randomised, seeded), so that no wide dense matrix is ever held."""
        if isinstance(self.features, np.ndarray):
            return self.features
        if self.width <= width:
            return np.ascontiguousarray(self.features.todense(), dtype=np.float32)
        from sklearn.decomposition import TruncatedSVD

        svd = TruncatedSVD(n_components=width, random_state=seed)
        return np.ascontiguousarray(svd.fit_transform(self.features), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Bundles:
    """Which items make up which bundle, and who took it.

    Attributes:
        items: frame with int64 columns `bundle`, `item`, a pair once, sorted; where a publisher gives its own
            split, also `label` (int8: 0 train, 1 valid, 2 test) and `given` (bool: the input part).
        ids: (n_bundles,) str, the raw ids.
        owners: frame with int64 columns `user`, `bundle`: who took the bundle; may be empty.
        attributes: frame with a row for each bundle; what it is for, where known, is its column `title`.
    """

    items: pd.DataFrame
    ids: np.ndarray
    owners: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["user", "bundle"], dtype=int))
    attributes: pd.DataFrame = field(default_factory=pd.DataFrame)


MadeFrom = Literal["content", "training interactions", "all interactions", "unknown"]
"""What a modality was made from: the items alone; or also who took them, in the training part or in all parts."""
ALL_INTERACTIONS: MadeFrom = "all interactions"


@dataclass(frozen=True)
class Provenance:
    """How a modality came about.

    Attributes:
        made_from: what its maker had in sight; features made from all interactions know the test's answers.
        made_by: the encoder and its revision.
        made_of: the columns and files that it was made of.
        options: what the encoder was told besides.
        content_sha256: of the raw content and the way, where this engine made it.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # in cards and records a mistyped key is an error

    made_from: MadeFrom = "unknown"
    made_by: str = ""
    made_of: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    content_sha256: str = ""

    def __str__(self) -> str:
        return self.made_from + (f", by {self.made_by}" if self.made_by else "")


class Origin(NamedTuple):
    """What loads a data set again: its name or the path of its card, and the folder that holds its files."""

    name: str
    data_root: str | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Immutable. Users and items are numbered 0..n-1; `user_ids[u]` and `item_ids[i]` are their raw ids.

    Attributes:
        name: the data set's name on the command line.
        interactions: frame with int64 columns `user`, `item`; optional `rating` (float32), `timestamp`
            (float64, seconds), `label` (int8: 0 train, 1 valid, 2 test). A (user, item) pair occurs once.
        user_ids, item_ids: 1-d arrays of str, the raw ids in order.
        modalities: item modalities by name, in a fixed order.
        user_attributes, item_attributes: frames with one row per user (item), in order; may have no columns.
            Item titles, where known, are the item attribute `title`.
        notes: one line per thing that was mended while reading (duplicates merged, rows without features).
        bundles: the bundles of items, where the data set has any; `bundle_view` puts them in the users' place.
        encoders: modality -> how it is made of raw columns of the items, and by which content encoder. New items may
            come with these columns.
        declared: modality -> how it came about, as the card says; see `provenance`.
        id_columns: "user", "item" -> what the columns of their ids are called where they come from; files and frames
            of new ones may call them so too.
        renames: "user", "item" -> other columns there -> what we call them, "" of those that are not read. Files and
            frames of new ones may have them.
        folder: where raw files lie that cells name, such as pictures; None where there are none.
        origin: what loads it again; None of a data set made in memory.
        public: whether its users' ids may be shown to anybody.

    Stability: stable.
    """

    name: str
    interactions: pd.DataFrame
    user_ids: np.ndarray
    item_ids: np.ndarray
    modalities: Mapping[str, Modality] = field(default_factory=dict)
    user_attributes: pd.DataFrame = field(default_factory=pd.DataFrame)
    item_attributes: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: tuple[str, ...] = ()
    bundles: Bundles | None = None
    encoders: Mapping[str, ContentSpec] = field(default_factory=dict)
    declared: Mapping[str, Provenance] = field(default_factory=dict)
    id_columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    renames: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    folder: Path | None = None
    origin: Origin | None = None
    public: bool = False

    task: ClassVar[str] = "recommend"
    """The task that these rows are a view for; see `recsys.runs.tasks`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", MappingProxyType(dict(self.modalities)))
        for array in (self.user_ids, self.item_ids, *self._feature_arrays()):
            array.setflags(write=False)

    @property
    def provenance(self) -> dict[str, Provenance]:
        """How each modality came about: as declared, or known where this engine made it of raw content."""
        own = {name: Provenance("content", f"encoder {spec.encoder}") for name, spec in self.encoders.items()}
        provenance = {}
        for name, modality in self.modalities.items():
            computed = Provenance("content", "the reader") if modality.made_of else Provenance()
            provenance[name] = self.declared.get(name) or own.get(name) or computed
        return provenance

    @classmethod
    def from_frame(
        cls,
        interactions: IntoDataFrame,
        *,
        user: str = "user",
        item: str = "item",
        rating: str | None = None,
        timestamp: str | None = None,
        label: str | None = None,
        positive_from: float | None = None,
        items: IntoDataFrame | None = None,
        users: IntoDataFrame | None = None,
        content: Mapping[str, str | Mapping[str, Any]] | None = None,
        drop: Iterable[str] = (),
        min_joined: float = 1.0,
        name: str = "data",
    ) -> Dataset:
        """A data set from frames of pandas, polars, pyarrow or whatever else narwhals reads.

        Args:
            interactions: a row for each time that a user took an item; pairs that occur again count once.
            user, item: its columns of ids; ids of any type are kept as text.
            rating: its column of numbers that tell how much the item was liked, where it has one.
            timestamp: its column of times, where it has one: dates, moments, or numbers since 1970 in seconds,
                milliseconds, microseconds or nanoseconds.
            label: its column of the parts ("train", "valid", "test") that a split of your own puts rows in, where it
                has one; the split "predefined" takes them.
            positive_from: keep interactions rated at least this.
            items, users: a row for each item (user), with the same id column. Items that only `items` names can be
                recommended like cold ones. Other columns are attributes, such as `title`.
            content: column of `items` -> what it holds, which makes it a modality: "text" (or another encoder of
                texts), "category" (values separated by "|", or a list), "number", "image" or "audio" (the path of a
                file), "vector" (a list of numbers) or "facts". In place of the encoder's name a mapping says more, as
                on a card: `{"about": {"encoder": "text", "columns": ["title", "brand"]}}`, `{"photo": {"encoder":
                "image", "columns": "picture", "archive": "photos.zip"}}`.
            drop: columns of `items` and `users` that are no attributes, such as a link.
            min_joined: share of the interactions' users and items that `users` and `items` must have, where given.
            name: what the data set is called in tables.

        Raises:
            DataError: a column that is not there, an empty id, an item with two rows, a value of another kind than
                `content` says.

        Example:
            >>> import pandas as pd, recsys
            >>> clicks = pd.DataFrame({"customer": ["ann", "ann", "bob"], "sku": [1, 2, 2]})
            >>> products = pd.DataFrame({"sku": [1, 2, 3], "title": ["red lamp", "red rug", "blue lamp"]})
            >>> data = recsys.Dataset.from_frame(
            ...     clicks, user="customer", item="sku", items=products, content={"title": "text"})
            >>> data.n_users, data.n_items, list(data.modalities)
            (2, 3, ['title'])
        """
        from recsys.datasets.frames import Columns, dataset_from_frames

        columns = Columns(user, item, rating, timestamp, label)
        return dataset_from_frames(
            interactions, columns, positive_from, items, users, content or {}, name, min_joined, drop
        )

    @property
    def whole(self) -> Dataset:
        """What this is a view of; itself where it is none."""
        return self

    def with_own_names(self, columns: Mapping[str, Any], noun: str, *ids: str) -> dict[str, Any]:
        """`columns` of new users or items by our names, without those that are not read.

        Args:
            noun: "user" or "item": whose they are, and whose `renames` count; "" for no `renames`.
            ids: of which `id_columns` count; `noun` where none is given.
        """
        names: dict[str, str] = {}
        for owner in ids or (noun,):
            alias = next((a for a in self.id_columns.get(owner, ()) if a in columns), owner)
            if owner not in columns:
                names[alias] = owner
        taken = {*columns, *names.values()}
        for own, ours in self.renames.get(noun, {}).items():
            if own in columns and own not in names and ours not in taken:
                names[own] = ours
        renamed = {names.get(name, name): column for name, column in columns.items()}
        return {name: column for name, column in renamed.items() if name}

    def __repr__(self) -> str:
        modalities = ", ".join(self.modalities) or "none"
        return (
            f"<{type(self).__name__} {self.name}: {self.n_users:,} users, {self.n_items:,} items, "
            f"{len(self.interactions):,} interactions, modalities: {modalities}>"
        )

    def _feature_arrays(self) -> list[np.ndarray]:
        arrays: list[np.ndarray] = []
        for modality in self.modalities.values():
            features = modality.features
            arrays.append(features if isinstance(features, np.ndarray) else features.data)
            arrays.append(modality.mask)
        return arrays

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    def matrix(self, rows: np.ndarray) -> sp.csr_array:
        """(n_users, n_items) float32 CSR with a one for each interaction in `rows` (row numbers)."""
        part = self.interactions.iloc[rows]
        ones = np.ones(len(part), dtype=np.float32)
        coo = sp.coo_array(
            (ones, (part["user"].to_numpy(), part["item"].to_numpy())), shape=(self.n_users, self.n_items)
        )
        csr = coo.tocsr()
        csr.sort_indices()
        return csr

"""A training part as RecBole's models see it: ids, and attributes as fields, of the warm users and items alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recsys.datasets.checks import floats
from recsys.errors import UserError, nearest
from recsys.inputs.training_data import TrainingData

USER, ITEM = "user_id", "item_id"
UNKNOWN = 0
"""RecBole's padding, which no training row holds: the id of a cold user or item, and of a value never seen."""


@dataclass(frozen=True)
class Attribute:
    """How one column of attributes is read.

    Attributes:
        kind: TOKEN, TOKEN_SEQ or FLOAT.
        size: number of tokens, the unknown one among them.
        code: a column of n rows to (n,) int64 numbers of tokens, (n, L) int64 numbers of words padded with 0, or
            (n, 2) float32, a number on the training rows' range and 1, zeros where there is none.
    """

    kind: FeatureType
    size: int
    code: Callable[[pd.Series], Tensor]


def read_attribute(column: pd.Series) -> Attribute | None:
    """How to read a column of which these are the training rows; None where it does not tell rows apart, or tells
    each of them apart.

    A number is a FLOAT. A text is a TOKEN, or a TOKEN_SEQ of its words where these are fewer than the texts.
    """
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return _number(column)
    texts, words = _texts(column), _words(column)
    vocabulary = pd.Index(pd.unique(words.explode().dropna()))
    if len(vocabulary) < texts.nunique():
        longest = int(words.str.len().max())

        def code(column: pd.Series) -> Tensor:
            values = np.zeros((len(column), longest), dtype=np.int64)
            for row, row_words in enumerate(_words(column)):
                tokens = vocabulary.get_indexer(row_words)
                tokens = tokens[tokens >= 0][:longest] + 1
                values[row, : len(tokens)] = tokens
            return torch.from_numpy(values)

        kind = FeatureType.TOKEN_SEQ
    else:
        vocabulary = pd.Index(pd.unique(texts))
        kind = FeatureType.TOKEN

        def code(column: pd.Series) -> Tensor:
            return torch.from_numpy(vocabulary.get_indexer(_texts(column)) + 1)

    return Attribute(kind, len(vocabulary) + 1, code) if 1 < len(vocabulary) <= len(column) / 2 else None


def _texts(column: pd.Series) -> pd.Series:
    return column.astype("string").fillna("")


def _words(column: pd.Series) -> pd.Series:
    return _texts(column).str.split()


def _number(column: pd.Series) -> Attribute | None:
    low, high = column.min(), column.max()
    if not low < high:
        return None

    def code(column: pd.Series) -> Tensor:
        values = floats(column)
        pair = np.column_stack([(values - low) / (high - low), np.ones_like(values)])
        return torch.from_numpy(np.where(np.isfinite(values)[:, None], pair, 0).astype(np.float32))

    return Attribute(FeatureType.FLOAT, 2, code)


Table = Mapping[str, Tensor]
"""Field name -> the values of some users or items, a row for each."""


class Side:
    """The fields of the users, or of the items: the id first.

    Args:
        noun: "user" or "item".
        warm: (n,) bool.
        frame: n rows of attributes.
        names: the attributes to read; all that tell rows apart, but titles, where empty; none where None.

    Attributes:
        attributes: how each attribute that is used is read, by its column's name.
        table: of all n.
    """

    def __init__(self, noun: str, warm: np.ndarray, frame: pd.DataFrame, names: Sequence[str] | None):
        self.noun, self.warm = noun, warm
        self.attributes: dict[str, Attribute] = {}
        for name, column in frame.items() if names is not None else ():
            wanted = name in names if names else name != "title"
            if wanted and (attribute := read_attribute(column[warm])):
                self.attributes[str(name)] = attribute
        ids = np.where(warm, np.cumsum(warm), UNKNOWN)
        self.table = self.coded(frame, torch.from_numpy(ids))

    def __len__(self) -> int:
        return 1 + len(self.attributes)

    def coded(self, frame: pd.DataFrame, ids: Tensor) -> Table:
        """The fields of users or items with these ids of RecBole's; a column that the frame lacks is unknown, as
        are all where it has no rows."""
        blank = pd.Series([None] * len(ids), dtype="string")
        frame = frame if len(frame) else pd.DataFrame()
        coded = {f"{self.noun}_id": ids}
        for name, attribute in self.attributes.items():
            coded[f"{self.noun}_{name}"] = attribute.code(frame.get(name, blank))
        return coded

    def described(self) -> dict[str, tuple[FeatureType, int]]:
        """Kind and size of each field."""
        kinds = {f"{self.noun}_id": (FeatureType.TOKEN, int(self.warm.sum()) + 1)}
        return kinds | {f"{self.noun}_{n}": (a.kind, a.size) for n, a in self.attributes.items()}

    def known(self) -> Interaction:
        """The warm rows by RecBole's id, after a row of zeros for the unknown one."""
        rows = {name: values[torch.from_numpy(self.warm)] for name, values in self.table.items()}
        return Interaction({name: torch.cat([torch.zeros_like(r[:1]), r]) for name, r in rows.items()})


def make_sides(data: TrainingData, attributes: Sequence[str] | None) -> tuple[Side, Side]:
    """The fields of users and of items.

    Args:
        attributes: as `names` of Side.

    Raises:
        UserError: neither users nor items have an attribute of this name, or it tells none of them apart.
    """
    known = [str(name) for frame in (data.user_attributes, data.item_attributes) for name in frame.columns]
    for name in attributes or ():
        if name not in known:
            raise UserError(f"attributes: the data set has no '{name}'{nearest(name, known)}")
    users = Side("user", data.warm_users, data.user_attributes, attributes)
    items = Side("item", data.warm_items, data.item_attributes, attributes)
    for name in attributes or ():
        if name not in {*users.attributes, *items.attributes}:
            raise UserError(f"attributes: '{name}' has one value for all, or one for each; leave it out")
    return users, items


def pairs(users: Table, items: Table, user_rows: Tensor, item_rows: Tensor) -> dict[str, Tensor]:
    """The fields of (b,) rows of one table with (b,) rows of another."""
    sides = ((users, user_rows.cpu()), (items, item_rows.cpu()))
    return {name: values[rows] for table, rows in sides for name, values in table.items()}


class BridgedDataset(Dataset):
    """RecBole's data set, filled from a training part: no file is read, no id is made anew."""

    def __init__(self, config: Mapping[str, Any], users: Side, items: Side, data: TrainingData):
        self.config, self.dataset_name, self.logger = config, config["dataset"], getLogger()
        self._get_preset()
        self._get_field_from_config()
        taken = (torch.from_numpy(ids).long() for ids in data.interactions.nonzero())
        sides = ((USER, users), (ITEM, items))
        self.inter_feat = Interaction(
            {key: side.table[key][rows] for (key, side), rows in zip(sides, taken, strict=True)}
        )
        for key, side in sides:
            source = FeatureSource.USER if key == USER else FeatureSource.ITEM
            for name, (kind, size) in side.described().items():
                width = side.table[name].shape[1] if kind is FeatureType.TOKEN_SEQ else 1
                self.set_field_property(name, kind, FeatureSource(key) if name == key else source, width)
                self.field2id_token[name] = range(size)
                self.field2bucketnum[name] = size
        self.user_feat, self.item_feat = users.known(), items.known()
        self.feat_name_list = ["inter_feat", "user_feat", "item_feat"]

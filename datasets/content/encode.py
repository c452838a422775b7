"""A column of items, by the name of a content encoder, to a modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import pandas as pd
from pydantic import AfterValidator

from recsys.datasets.content import CONTENT
from recsys.datasets.content.columns import cells
from recsys.datasets.content.features import checksum
from recsys.datasets.dataset import Modality
from recsys.errors import DataError, nearest

WIDTH, SEED = 64, 0
"""Columns that an encoder may make, and the seed of what it draws, where a card says nothing of them."""

AS_THEY_COME = frozenset({"image"})
"""Encoders whose texts only name the content; what they make stands for itself."""


def _known(name: str) -> str:
    if name not in CONTENT:
        raise ValueError(f"there is no {CONTENT.kind} '{name}'{nearest(name, CONTENT)}")
    return name


ContentEncoder = Annotated[str, AfterValidator(_known)]
"""Name of a content encoder, in the options of a reader."""


def encode(encoder: str, column: pd.Series, source: str, fit_on: pd.Series | None = None) -> Modality:
    """A row of features for each cell of `column`.

    Args:
        encoder: name of a content encoder.
        source: where the column is from, for messages.
        fit_on: the catalogue's column, of which new items' cells are features; None where `column` is it.

    Raises:
        UserError, DataError: no such encoder, or a cell that it cannot read.
    """
    return run_encoder(encoder, cells(column), source, fit_on=None if fit_on is None else cells(fit_on))


def run_encoder(
    name: str,
    texts: Sequence[str],
    source: str,
    *,
    width: int = WIDTH,
    seed: int = SEED,
    fit_on: Sequence[str] | None = None,
) -> Modality:
    """What a content encoder makes of texts, with the checksum of what it was made of.

    Raises:
        UserError, DataError: no such encoder, or a text that it cannot read.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        modality = CONTENT.get(name)(texts, width=width, seed=seed, source=source, fit_on=fit_on)
    made_of = checksum(f"{name} {width} {seed}", *texts, "fitted on", *(fit_on or ()))
    return replace(modality, made_of="" if name in AS_THEY_COME else made_of)


def made_of(items: pd.DataFrame | None, name: str, encoder: str, source: str) -> Modality:
    """The modality `name` of the items' column of that name; DataError where they have none."""
    if items is None or name not in items:
        columns = [] if items is None else list(map(str, items))
        raise DataError(
            f"{source}: content names the column '{name}', which the items do not have{nearest(name, columns)}"
        )
    return encode(encoder, items[name], f"{source}: {name}")

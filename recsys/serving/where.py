"""Conditions on items' attributes: which items may be recommended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

SEPARATOR = "|"
"""Between the values of an attribute that has several, such as genres."""


def allowed_by(where: Mapping[str, Any], attributes: pd.DataFrame) -> np.ndarray:
    """(n,) bool: the items that meet every condition.

    Args:
        where: attribute -> a value, a list of values, or {"min": a, "max": b} of a number, either of them.

    Raises:
        UserError: an attribute that the items do not have, or a condition of another form.

    Example:
        >>> import pandas as pd
        >>> items = pd.DataFrame({"genres": ["Drama|War", "War", ""], "year": [1990, 2000, 2010]})
        >>> allowed_by({"genres": "War", "year": {"min": 1995}}, items).tolist()
        [False, True, False]
    """
    mask = np.ones(len(attributes), dtype=bool)
    for name, condition in where.items():
        if name not in attributes:
            raise UserError(f"items have no attribute '{name}'{nearest(name, list(attributes))}")
        column = attributes[name]
        if isinstance(condition, Mapping):
            mask &= _between(name, column, condition)
        else:
            wanted = condition if isinstance(condition, list | tuple) else [condition]
            mask &= _among(name, column, wanted)
    return mask


def _between(name: str, column: pd.Series, limits: Mapping[str, Any]) -> np.ndarray:
    import pandas as pd

    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in limits.values())
    if not limits or limits.keys() - {"min", "max"} or not numbers:
        raise UserError(f"where {name}: expected a value, a list of values, or numbers under 'min' and 'max'")
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return (values >= limits.get("min", -np.inf)) & (values <= limits.get("max", np.inf))


def _among(name: str, column: pd.Series, wanted: list[Any] | tuple[Any, ...]) -> np.ndarray:
    import pandas as pd

    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in wanted):
        raise UserError(f"where {name}: expected a value, a list of values, or numbers under 'min' and 'max'")
    if pd.api.types.is_numeric_dtype(column):
        numbers = pd.to_numeric(pd.Series(list(wanted), dtype=object), errors="coerce")
        return column.isin(numbers.dropna().astype(float)).to_numpy()
    texts = {str(one) for one in wanted}
    # Each different text is split once, however many items have it.
    held = {text: bool(texts & {text, *text.split(SEPARATOR)}) for text in column.astype(str).unique()}
    return column.astype(str).map(held).to_numpy(dtype=bool)


def parse_where(assignments: list[str]) -> dict[str, Any]:
    """Conditions of a command line; a name given again adds a value.

    Raises:
        UserError: a text that is no ATTRIBUTE=VALUE.

    Example:
        >>> parse_where(["genres=War", "genres=Drama", "year=1990..2000", "price=..5"])
        {'genres': ['War', 'Drama'], 'year': {'min': 1990.0, 'max': 2000.0}, 'price': {'max': 5.0}}
    """
    where: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(
                f"--where {text}: expected ATTRIBUTE=VALUE, such as genres=War or year=1990..2000"
            )
        low, dots, high = value.partition("..")
        if dots:
            try:
                where[name] = {key: float(n) for key, n in (("min", low), ("max", high)) if n}
            except ValueError:
                raise UserError(
                    f"--where {text}: '{value}' are no two numbers with .. between them"
                ) from None
        else:
            where[name] = [*where.get(name, []), value] if isinstance(where.get(name, []), list) else [value]
    return where

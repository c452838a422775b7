"""Times of interactions, in whatever unit or form a file writes them."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
import pandas as pd

from recsys.datasets.checks import floats, place, to_numbers
from recsys.errors import DataError

UNITS = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
LATEST = 4_102_444_800
"""The year 2100, in seconds since 1970."""
ZONE = r"(?:[zZ]|[+-]\d\d:?(?:\d\d)?)$"


def _calendar_days(numbers: np.ndarray) -> list[np.ndarray]:
    """Seconds since 1970 of numbers that are years, months and days; nothing where not all of them are. As seconds they
    would all lie in August of 1970."""
    if not len(numbers) or not (np.min(numbers) >= 19700101 and np.max(numbers) < 21000101):
        return []
    distinct, places = np.unique(numbers, return_inverse=True)
    moments = pd.to_datetime(pd.Series(distinct).map("{:.10g}".format), format="%Y%m%d", errors="coerce")
    if moments.isna().any():
        return []
    return [((moments - pd.Timestamp(0)) / pd.Timedelta(seconds=1)).to_numpy(np.float64)[places]]


def to_timestamps(column: pd.Series, source: str) -> tuple[np.ndarray, list[str]]:
    """(n,) float64 seconds since 1970, UTC, and a note where they were not written so.

    Whole numbers such as 20240531 are days where all are. Other numbers are seconds where most of them lie between 1970
    and 2100 then, else milliseconds, microseconds or nanoseconds by the same rule. Dates and moments may have any form
    of ISO 8601, or of SQL; those without a time zone count as UTC.

    Raises:
        DataError: an entry that is none of these, or numbers that lie in that time by no unit.
    """
    name = PurePath(source).name
    if not pd.api.types.is_datetime64_any_dtype(column):
        numeric = floats(column)
        finite = np.isfinite(numeric)
        if not len(column) or finite.mean() > 0.5:
            if days := _calendar_days(numeric):
                return days[0], [f"{name}: {column.name} read as year, month and day (YYYYMMDD), UTC"]
            seconds = numeric if column.dtype.kind in "iuf" and finite.all() else to_numbers(column, source)
            for unit, factor in UNITS.items():
                read = seconds if factor == 1 else seconds / factor
                if not len(read) or ((read >= 0) & (read < LATEST)).mean() > 0.5:
                    return read, [] if factor == 1 else [f"{name}: {column.name} read as {unit}"]
            raise DataError(
                f"{source}: most of {column.name}, such as {seconds[0]:.15g}, lie outside 1970 to 2100, whether read "
                f"as {', '.join(UNITS)}; expected times in one of these units, or dates"
            )
    moments = pd.to_datetime(column, utc=True, format="ISO8601", errors="coerce")
    if (bad := moments.isna().to_numpy()).any():
        value = column.iloc[int(np.argmax(bad))]
        raise DataError(
            f"{source}: {place(column.index, bad)}: {column.name} is '{value!s:.80}', expected seconds since 1970, or "
            "a moment such as 2024-05-31 or 2024-05-31T18:00:00+02:00"
        )
    seconds = ((moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(np.float64)
    zoned = getattr(column.dtype, "tz", None) is not None or column.astype(str).str.contains(ZONE).all()
    return seconds, [] if zoned else [f"{name}: {column.name} has no time zone and was read as UTC"]

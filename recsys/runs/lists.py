"""What the command line asks of a run or a bundle, and the lists that it prints or writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from recsys.datasets.files import read_text
from recsys.errors import UserError
from recsys.files import atomic
from recsys.runs.tables import make_table
from recsys.terminal import for_spreadsheets

PRINTED = 10
"""Users whose tables are printed; more go to a file."""
BECAUSE, WEIGHTS = "because", "because_weights"
"""Columns of the items of a user's history that weigh most in a recommendation, and of how much."""


@dataclass(frozen=True)
class RecommendRequest:
    """What the command line asks of a run; `recsys recommend --help` explains each."""

    user: str = ""
    users: str = ""
    new_items: Path | None = None
    new_users: Path | None = None
    pool: str = ""
    k: int = 10
    held_out: bool = False
    rerank: str = ""
    rerank_options: Mapping[str, Any] = field(default_factory=dict)
    because: int = 0

    def check(self) -> None:
        """UserError where options do not go together."""
        if self.pool and self.new_items is None:
            raise UserError("--pool needs new items: name their file with --new-items")

    def named(self) -> list[str] | None:
        """Raw ids of the users named; None where all are meant.

        Raises:
            UserError: nobody is named, or both ways at once.
        """
        if self.user and self.users:
            raise UserError("--user and --users cannot be given together: use one of them")
        if self.user:
            return [self.user]
        if self.users and self.users != "all":
            names = [name for name in dict.fromkeys(read_text(Path(self.users)).splitlines()) if name]
            if not names:
                raise UserError(f"{self.users} names no user; expected a raw id on each line")
            return names
        if not self.users and self.new_users is None:
            raise UserError(
                "no users given: name one with --user, several with --users, or new users with --new-users"
            )
        return None


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write recommendations as CSV or Parquet, whole or not at all. In CSV, text that a spreadsheet would calculate
    begins with an apostrophe.

    Raises:
        UserError: another kind of file, or it cannot be written.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path}: recommendations are written as .csv or .parquet; name such a file")
    with atomic(path) as temporary:
        if path.suffix == ".csv":
            lists = {
                c: frame[c].map(lambda v: "|".join(map(str, v))) for c in (BECAUSE, WEIGHTS) if c in frame
            }
            frame = frame.assign(**lists)
            for_spreadsheets(frame).to_csv(temporary, index=False)
        else:
            frame.to_parquet(temporary, index=False)


def tables(frame: pd.DataFrame, attributes: pd.DataFrame, of: str) -> list[Table]:
    """One table for each user.

    Args:
        frame: recommendations.
        attributes: of the items, by raw id.
        of: whose lists these are, for the titles.

    Raises:
        UserError: more users than can be looked at.
    """
    if (count := frame["user"].nunique()) > PRINTED:
        raise UserError(f"{count:,} users are too many to print; name a .csv or .parquet file with --output")
    shown = [c for c in ("title", "year", "genres") if c in attributes]
    made = []
    for user, rows in frame.groupby("user", sort=False):
        name = f"{of}, user {user}"
        marks = {"held_out": "* held out for the test", "new": "+ new"}
        caption = "   ".join(text for column, text in marks.items() if column in rows and rows[column].any())
        reasons = ["because of"] if BECAUSE in rows else []
        table = make_table(name, ["rank", "item", "score", "", *shown, *reasons], caption or None)
        for column in table.columns[3:]:
            column.justify = "left"
        for row in rows.to_dict("records"):
            cells = [str(attributes.at[row["item"], c]) for c in shown]
            if reasons:
                titled = [attributes.at[i, "title"] if "title" in shown else i for i in row[BECAUSE]]
                cells.append("; ".join(map(str, titled)))
            mark = "+" if row["new"] else "*" if row.get("held_out") else ""
            table.add_row(str(row["rank"]), row["item"], f"{row['score']:.4f}", mark, *cells)
        made.append(table)
    return made

"""Recommendations in files: as tables, and as TREC runs and qrels, which evaluation tools read."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from recsys.datasets.dataset import Dataset
from recsys.datasets.files import check_text, one_line, read_delimited, read_parquet
from recsys.datasets.splits import Split
from recsys.errors import DataError, UserError
from recsys.files import atomic
from recsys.terminal import without_apostrophe

TREC = (".run", ".trec", ".txt")
"""Suffixes of TREC runs."""
RUN_COLUMNS = ["user", "q0", "item", "rank", "score", "tag"]


def read_lists(path: Path, dataset: Dataset) -> pd.DataFrame:
    """Recommendations from a file: raw ids as text in `user` and `item` (or as the data set calls them), and `score` or
    `rank`, with the place of each row in its index.

    A .csv, .tsv or .parquet file has these columns; a .run, .trec or .txt file is a TREC run, lines of user, Q0, item,
    rank, score and tag, of which the score counts, as for trec_eval.

    Raises:
        DataError: another kind of file, or one that cannot be read.
    """
    if path.suffix in TREC:
        return _read_run(path)
    if path.suffix == ".parquet":
        return read_parquet(path)
    if path.suffix not in (".csv", ".tsv"):
        raise DataError(f"{path}: expected a .csv, .tsv or .parquet file, or a TREC run ({', '.join(TREC)})")
    named = ["user", "item", *(name for names in dataset.id_columns.values() for name in names)]
    frame = read_delimited(path, "\t" if path.suffix == ".tsv" else ",", text=named, quoted=True)
    for name in set(named) & set(frame):
        frame[name] = frame[name].map(without_apostrophe)
    return frame


def _read_run(path: Path) -> pd.DataFrame:
    try:
        check_text(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path,
                sep=r"\s+",
                header=None,
                names=RUN_COLUMNS,
                dtype=str,
                quoting=csv.QUOTE_NONE,
                keep_default_na=False,
                skip_blank_lines=False,
                index_col=False,
            )
    except (ValueError, pd.errors.ParserWarning, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read as a TREC run ({one_line(error)})") from None
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="line")
    frame = frame[(frame["user"] != "") & frame["user"].notna()]
    short = (frame["tag"].isna() | (frame["tag"] == "")).to_numpy()
    if short.any():
        line = frame.index[int(np.argmax(short))]
        raise DataError(
            f"{path}: line {line} has fewer than 6 columns; expected user, Q0, item, rank, score, tag"
        )
    scores = pd.to_numeric(frame["score"], errors="coerce")
    wrong = (scores.isna() & (frame["score"].str.lower() != "nan")).to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{path}: line {frame.index[row]}: score '{frame['score'].iloc[row]}' is no number")
    return frame[["user", "item"]].assign(score=scores)


def write_run(frame: pd.DataFrame, path: Path, tag: str) -> None:
    """Write recommendations as a TREC run: user, Q0, item, rank from 1, score, tag, separated by spaces.

    Args:
        frame: columns `user`, `rank`, `item`, `score`, in the order to write.
        tag: the model's name.

    Raises:
        UserError: an id holds white space, or the file cannot be written.
    """
    lines = frame[["user", "item", "rank", "score"]].assign(q0="Q0", tag="_".join(tag.split()))
    _write(lines[["user", "q0", "item", "rank", "score", "tag"]], path)


def write_qrels(dataset: Dataset, split: Split, path: Path) -> None:
    """Write the test part of a split as TREC qrels: user, 0, item, 1, separated by spaces.

    Raises:
        UserError: an id holds white space, or the file cannot be written.
    """
    test = dataset.interactions.iloc[split.test].sort_values(["user", "item"])
    users, items = dataset.user_ids[test["user"].to_numpy()], dataset.item_ids[test["item"].to_numpy()]
    _write(pd.DataFrame({"user": users, "q0": 0, "item": items, "relevant": 1}), path)


def _write(lines: pd.DataFrame, path: Path) -> None:
    for noun in ("user", "item"):
        ids = lines[noun].drop_duplicates()
        if (spaced := ids[ids.str.contains(r"\s")]).size:
            raise UserError(
                f"{noun} '{spaced.iloc[0]}' holds white space, which no id of a TREC file can; write .csv or .parquet"
            )
    with atomic(path) as temporary:
        text = "\n".join(" ".join(row) for row in zip(*(lines[c].astype(str) for c in lines), strict=True))
        temporary.write_text(text + "\n", encoding="utf-8")

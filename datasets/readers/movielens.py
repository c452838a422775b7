"""MovieLens-1M's own files: `ratings.dat`, `users.dat`, `movies.dat`, fields parted by `::`, Latin-1."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, PositiveInt

from recsys.datasets.assembly import Attributes, align, assemble
from recsys.datasets.cards import Card, Seed
from recsys.datasets.checks import number_ids, positions, to_numbers, to_tokens
from recsys.datasets.content.encode import run_encoder
from recsys.datasets.dataset import Dataset
from recsys.datasets.files import one_line, read_text
from recsys.datasets.readers import first_line, recognised_by
from recsys.datasets.times import to_timestamps
from recsys.errors import DataError

COLUMNS = {
    "ratings.dat": ("user", "item", "rating", "timestamp"),
    "users.dat": ("user", "gender", "age", "occupation", "zip_code"),
    "movies.dat": ("item", "title", "genres"),
}


class MovieLensOptions(BaseModel):
    """The card's `options`: the lowest rating that counts as positive (None: all), and the truncated SVD's
    width and seed for the modality `text` (title and genres)."""

    model_config = ConfigDict(extra="forbid")

    positive_from: float | None = 4
    width: PositiveInt = 64
    seed: Seed = 0


def _read(path: Path) -> pd.DataFrame:
    """One file, every entry as str; the index holds line numbers."""
    names = COLUMNS[path.name]
    # One-character separators take the fast parser; no field of these files holds a tab.
    text = read_text(path, "latin-1").replace("::", "\t")
    try:
        frame = pd.read_csv(
            io.StringIO(text), sep="\t", header=None, dtype=str, quoting=3, keep_default_na=False,
            skip_blank_lines=False,
        )  # fmt: skip
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as a table ({one_line(error)})") from None
    if frame.shape[1] != len(names):
        expected = "::".join(names)
        raise DataError(f"{path}: lines have {frame.shape[1]} fields, expected {len(names)}: {expected}")
    frame.columns = pd.Index(names)
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="line")
    if (frame.iloc[:, -1].isna() | (frame.iloc[:, -1] == "")).any():
        for number, line in enumerate(text.split("\n"), start=1):
            if line and line.count("\t") < len(names) - 1:
                raise DataError(
                    f"{path}: line {number} has fewer fields than {len(names)}: {'::'.join(names)}"
                )
    return frame


def _movies(folder: Path) -> pd.DataFrame:
    """Title without its year, the year, genres parted by spaces."""
    movies = _read(folder / "movies.dat")
    parts = movies["title"].str.extract(r"^(?P<title>.*?)(?: \((?P<year>\d{4})\))?$")
    genres = movies["genres"].str.replace("|", " ", regex=False)
    return movies.assign(title=parts["title"], year=parts["year"].fillna(""), genres=genres)


def recognises(folder: Path) -> bool:
    """A file ratings.dat with columns between `::`."""
    return "::" in first_line(folder / "ratings.dat")


@recognised_by(recognises)
def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset, ids in numeric order; users and movies without a positive rating stay.

    DataError where anything is amiss."""
    options = card.options_as(MovieLensOptions)
    source = str(folder / "ratings.dat")
    ratings = _read(folder / "ratings.dat")
    tables = {"user": _read(folder / "users.dat"), "item": _movies(folder)}
    frame, ids, attributes = pd.DataFrame(index=ratings.index), [], []
    for key, file in (("user", "users.dat"), ("item", "movies.dat")):
        tokens = to_tokens(ratings[key], source)
        ids.append(number_ids(tokens, to_tokens(tables[key][key], str(folder / file))))
        frame[key] = positions(ids[-1], tokens)
        attributes.append(align(tables[key], key, ids[-1], str(folder / file)))
    frame["rating"] = to_numbers(ratings["rating"], source)
    frame["timestamp"], notes = to_timestamps(ratings["timestamp"], source)
    if options.positive_from is not None:
        frame = frame[frame["rating"] >= options.positive_from]
    texts = (attributes[1]["title"] + " " + attributes[1]["genres"]).tolist()
    movies = str(folder / "movies.dat")
    text = run_encoder("tfidf", texts, movies, width=options.width, seed=options.seed)
    return assemble(
        card.name,
        frame,
        source=source,
        ids=(ids[0], ids[1]),
        modalities={"text": text},
        attributes=Attributes(*attributes),
        notes=notes,
    )

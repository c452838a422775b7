"""A reader: a folder's files in, a Dataset out. This one reads `plays.log` (`3 ann played blue-moon`: day, user, item)
and `songs.tsv` (`blue-moon<tab>Blue Moon`)."""

from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict

from recsys.datasets.assembly import Attributes, align, assemble
from recsys.datasets.cards import Card
from recsys.datasets.checks import number_ids, positions, to_tokens
from recsys.datasets.content import CONTENT
from recsys.datasets.content.encode import ContentEncoder
from recsys.datasets.dataset import Dataset
from recsys.datasets.files import read_text
from recsys.datasets.readers import recognised_by
from recsys.errors import DataError


class LogOptions(BaseModel):
    """The card's `options`.

    Attributes:
        encoder: name of the content encoder of the songs' titles.
        width, seed: given to the encoder.
    """

    model_config = ConfigDict(extra="forbid")

    encoder: ContentEncoder = "tfidf"
    width: int = 16
    seed: int = 0


def recognises(folder: Path) -> bool:
    """A file plays.log."""
    return (folder / "plays.log").is_file()


@recognised_by(recognises)
def read(folder: Path, card: Card) -> Dataset:
    """The folder as a Dataset, titles as the modality `title`. DataError where anything is amiss."""
    options, source = card.options_as(LogOptions), str(folder / "plays.log")
    lines = [line.split() for line in read_text(folder / "plays.log").splitlines()]
    for number, line in enumerate(lines, 1):
        if len(line) != 4 or line[2] != "played" or not line[0].isdigit():
            raise DataError(f"{source}: line {number}: expected `day user played song`")
    plays = pd.DataFrame(
        [(int(day), user, song) for day, user, _, song in lines], columns=["at", "user", "song"]
    )
    songs = pd.read_csv(folder / "songs.tsv", sep="\t", names=["song", "title"], dtype=str)
    users = number_ids(to_tokens(plays["user"], source))
    items = number_ids(to_tokens(songs["song"], str(folder / "songs.tsv")), to_tokens(plays["song"], source))
    frame = pd.DataFrame(
        {
            "user": positions(users, plays["user"].to_numpy()),
            "item": positions(items, plays["song"].to_numpy()),
            "timestamp": plays["at"].astype(float),
        }
    )
    titles = align(songs, "song", items, str(folder / "songs.tsv"))
    encoder = CONTENT.get(options.encoder)
    made = encoder(titles["title"].tolist(), width=options.width, seed=options.seed, source=source)
    return assemble(
        card.name,
        frame,
        source=source,
        ids=(users, items),
        modalities={"title": made},
        attributes=Attributes(None, titles),
    )

"""Cards: one YAML per data set (name, reader, files with SHA-256, licence, where to get it), and the way from a
data set's name to a Dataset.

A card is found, in this order: the YAML file itself where a path is given; `<data root>/<name>/card.yaml`; the
cards in `recsys.datasets.CARDS`, shipped here or by entry points of the group `recsys.datasets` (a Card, or the path of
a YAML file, whose data may lie beside it in the package); and a folder `<data root>/<name>/` that a reader recognises.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from recsys.datasets import CARDS
from recsys.datasets.dataset import ALL_INTERACTIONS, Dataset, Origin, Provenance
from recsys.datasets.files import is_there, one_line, read_text
from recsys.datasets.readers import READERS, guess_reader
from recsys.errors import DataError, nearest
from recsys.files import parse_yaml, sha256

CARD_FILE = "card.yaml"
LONGEST_NAME = 200
CHECKED_ON_LOAD = 256 * 2**20
"""Files above this many bytes are hashed by `verify` alone, so that loading stays fast."""

Model = TypeVar("Model", bound=BaseModel)


class NoOptions(BaseModel):
    """For readers that have none."""

    model_config = ConfigDict(extra="forbid")


def parsed(model: type[Model], values: Any, source: str) -> Model:
    """`values` as `model`; DataError in one line, unknown keys with the nearest known ones."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            last = str(first["loc"][-1])
            known = model.model_fields if len(first["loc"]) == 1 else ()
            hint = nearest(last, known) if known else ""
            raise DataError(f"{source}: unknown key '{key}'{hint}") from None
        raise DataError(f"{source}: {key or 'card'}: {one_line(ValueError(first['msg']))}") from None


def inside(path: str) -> str:
    """The path of a file itself; ValueError where it leaves the data set's folder and that of another beside it."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    beside = len(parts) > 2 and parts[0] == ".." and is_plain(parts[1])
    if PurePosixPath(path).is_absolute() or ".." in (parts[2:] if beside else parts):
        raise ValueError(
            f"'{path:.80}' must lie inside the data set's folder, or inside that of another: ../NAME/FILE"
        )
    return path


File = Annotated[str, AfterValidator(inside)]
"""A file of a data set, in a card or in the options of a reader."""


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed of what a reader draws, in its options."""


class Card(BaseModel):
    """What is known of a data set, apart from its data.

    Attributes:
        name: its name on the command line, and its folder's under the data root.
        folder: the folder's name, where it is another.
        title: one line for people.
        reader, options: how to read it; each reader checks its own options.
        files: relative path -> SHA-256, or None where unknown.
        modalities: those that the reader must find or make.
        provenance: modality -> `made_from` (content, training interactions, all interactions or unknown) and `made_by`,
            the encoder and its revision. What this engine makes of raw content needs no entry.
        public: whether its users' ids may be shown to anybody; pages that are made to be passed on show pseudonyms of
            those of other data sets.
        licence, citation, homepage: as its publisher states them.
        get: in words, how to come by the files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    folder: str = ""
    reader: str
    title: str = ""
    options: dict[str, Any] = {}
    files: dict[str, str | None] = {}
    modalities: tuple[str, ...] = ()
    provenance: dict[str, Provenance] = {}
    public: bool = False
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    get: str = ""

    @field_validator("name", "folder")
    @classmethod
    def _plain_name(cls, name: str, info: ValidationInfo) -> str:
        if not is_plain(name) and not (info.field_name == "folder" and not name):
            raise ValueError(
                f"'{name:.80}' must be letters, digits, '.', '_' or '-', the first a letter or digit, at most "
                f"{LONGEST_NAME}"
            )
        return name

    @field_validator("reader")
    @classmethod
    def _known_reader(cls, reader: str) -> str:
        if reader not in READERS:
            raise ValueError(f"there is no reader '{reader}'{nearest(reader, READERS)}")
        return reader

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, str | None]) -> dict[str, str | None]:
        for path in files:
            inside(path)
        return files

    def options_as(self, model: type[Model]) -> Model:
        """The options checked by the reader's `model`; DataError for an unknown or ill-typed one."""
        return parsed(model, self.options, f"options of card {self.name}")


def is_plain(name: str) -> bool:
    """Whether a name can be that of a folder, and harmless wherever it is shown."""
    return len(name) <= LONGEST_NAME and name[:1].isalnum() and all(c.isalnum() or c in "._-" for c in name)


def read_card(path: Path) -> Card:
    """The card in a YAML file; DataError where it is no YAML, or not a card."""
    try:
        values = parse_yaml(read_text(path))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: not valid YAML ({error})") from None
    return parsed(Card, values, str(path))


def data_folder(data_root: str | Path | None) -> Path | None:
    """The folder that holds the data sets: the argument, else RECSYS_DATA, else None."""
    root = data_root or os.environ.get("RECSYS_DATA")
    return Path(root) if root else None


def known_names(data_root: str | Path | None = None) -> list[str]:
    """Names of the registered cards and of the readable folders under the data root, sorted."""
    names = set(CARDS)
    root = data_folder(data_root)
    if root and root.is_dir():
        for folder in root.iterdir():
            if is_plain(folder.name) and ((folder / CARD_FILE).is_file() or guess_reader(folder)):
                names.add(folder.name)
    return sorted(names)


def find_card(name: str, data_root: str | Path | None = None) -> Card:
    """The card of a data set, by name or by the path of a YAML file.

    Raises:
        DataError: no such data set (with the nearest names), or a faulty card.
    """
    return _locate(name, data_root)[0]


def _locate(name: str, data_root: str | Path | None) -> tuple[Card, Path | None]:
    """A card, and the folder that it lies in, which may hold its data; None of one that lies in no file."""
    if name.endswith((".yaml", ".yml")):
        return read_card(Path(name)), Path(name).parent
    root = data_folder(data_root)
    folder = root / name if root and is_plain(name) else None
    if folder and is_there(folder / CARD_FILE):
        return read_card(folder / CARD_FILE), folder
    if name in CARDS:
        return _registered(name)
    if folder and (reader := guess_reader(folder)):
        return Card(name=name, reader=reader, title=f"{name}, read as {reader}"), folder
    where = f" under {root}" if root else ""
    if folder and folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file())
        raise DataError(
            f"no reader knows the form of {folder}: {_held(files)}; `recsys data init {folder}` writes a {CARD_FILE} "
            "from what it sees (docs/add-a-data-set.md)"
        )
    raise DataError(f"there is no data set '{name}'{where}{nearest(name, known_names(data_root))}")


def _held(files: Sequence[Path]) -> str:
    """What a folder holds, in a few words: its files, and the header of the first table among them."""
    if not files:
        return "it is empty"
    held = f"its files are {', '.join(file.name for file in files[:5])}{', ...' if len(files) > 5 else ''}"
    for file in files:
        if file.suffix in (".csv", ".tsv", ".txt"):
            with open(file, encoding="utf-8", errors="replace") as opened:
                header = opened.readline(200).strip()
            return f"{held} (the header of {file.name} is '{header}')"
    return held


def _registered(name: str) -> tuple[Card, Path | None]:
    entry = CARDS.get(name)
    if isinstance(entry, Card):
        module = (CARDS.target(name) or "").partition(":")[0]
        file = getattr(sys.modules.get(module), "__file__", None)
        card, folder = entry, Path(file).parent if file else None
    else:
        card, folder = read_card(Path(entry)), Path(entry).parent
    if card.name != name:
        raise DataError(
            f"the card of {CARDS.origin(name)} for '{name}' says name: {card.name}; make the two names equal"
        )
    return card, folder


def find_folder(card: Card, data_root: str | Path | None = None, beside: Path | None = None) -> Path:
    """The folder that holds a card's files: `beside` (the card's own) where all of them are there, or where it is a
    card.yaml that lists none; else `<data root>/<name>`, else the embedded copy where there is one.

    Raises:
        DataError: no such folder; says where it looked and how to get the data.
    """
    there = card.files or [CARD_FILE]
    if beside and all((beside / file).is_file() for file in there):
        return beside
    root = data_folder(data_root)
    name = card.folder or card.name
    if root and (root / name).is_dir():
        return root / name
    from recsys.datasets import embedded

    if card.name in embedded.EMBEDDED:
        return embedded.folder(card.name)
    looked = f"no folder {root / name}" if root else "no data root given (--data-root or RECSYS_DATA)"
    raise DataError(f"data set {card.name}: {looked}{_remedy(card)}")


def _remedy(card: Card) -> str:
    return f"; to get it: {card.get}" if card.get else ""


def _check_files(card: Card, folder: Path, largest: float) -> dict[str, str]:
    sums = {}
    for file, expected in card.files.items():
        path = folder / file
        if not path.is_file():
            raise DataError(f"data set {card.name}: no file {path}{_remedy(card)}")
        if expected is None or path.stat().st_size > largest:
            continue
        sums[file] = sha256(path)
        if sums[file] != expected.lower():
            raise DataError(
                f"{path}: SHA-256 is {sums[file]}, expected {expected}; the file is damaged or another version"
                f"{_remedy(card)}"
            )
    return sums


def _find(name: str, data_root: str | Path | None) -> tuple[Card, Path]:
    card, beside = _locate(name, data_root)
    return card, find_folder(card, data_root, beside)


def verify(name: str, data_root: str | Path | None = None) -> dict[str, str]:
    """Hash every file that the card has a sum for: relative path -> SHA-256.

    Raises:
        DataError: a file is missing, or its sum differs (names file, expected and found).
    """
    card, folder = _find(name, data_root)
    return _check_files(card, folder, float("inf"))


def load_dataset(name: str, data_root: str | Path | None = None) -> Dataset:
    """Read a data set.

    Args:
        name: of a card or of a folder under the data root (`recsys data list` shows them), or the path of a card.
        data_root: the folder that holds `<name>/`; RECSYS_DATA where None.

    Raises:
        DataError: no such data set or file, a checksum that does not match, or bad data.

    Stability: stable.

    Example:
        >>> import recsys, tempfile
        >>> from recsys.datasets.convert import convert
        >>> root = tempfile.mkdtemp()
        >>> card = convert(recsys.toy_data(), root + "/shop")
        >>> recsys.load_dataset("shop", root)
        <Dataset shop: 90 users, 60 items, 1,080 interactions, modalities: title, department>
    """
    card, folder = _find(name, data_root)
    _check_files(card, folder, CHECKED_ON_LOAD)
    dataset = READERS.get(card.reader)(folder, card)
    if missing := [m for m in card.modalities if m not in dataset.modalities]:
        known = ", ".join(dataset.modalities) or "none"
        raise DataError(f"{folder}: no modality {', '.join(missing)}; the card names it, found {known}")
    for modality in card.provenance:
        if modality not in dataset.modalities:
            near = nearest(modality, dataset.modalities)
            raise DataError(
                f"{folder}: the card tells the provenance of '{modality}', which is not there{near}"
            )
    leaky = [name for name, made in card.provenance.items() if made.made_from == ALL_INTERACTIONS]
    known_answers = (
        f"'{name}' was made from all interactions: it may know the test's answers" for name in leaky
    )
    return replace(
        dataset,
        origin=Origin(name, str(data_root) if data_root else None),
        public=card.public,
        declared={**dataset.declared, **_declared(card, dataset)},
        notes=(*dataset.notes, *known_answers),
    )


def _declared(card: Card, dataset: Dataset) -> dict[str, Provenance]:
    """What the card says of modalities, and of those that were made here also how."""
    records = {}
    for name, said in card.provenance.items():
        made = dataset.declared.get(name)
        if made and not said.content_sha256:
            said = replace(made, made_from=said.made_from, made_by=said.made_by or made.made_by)
        records[name] = said
    return records


def dataset_label(name: str) -> str:
    """What a data set given by name, or by the path of its card, is called: a card.yaml by its folder."""
    path = Path(name)
    if path.name == CARD_FILE:
        return path.parent.name
    return path.stem if path.suffix in (".yaml", ".yml") else name

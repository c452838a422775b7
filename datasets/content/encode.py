"""Raw content of items to a modality, by the name of an encoder, with a record of how it was made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys.datasets.content import CONTENT
from recsys.datasets.content.columns import SEPARATOR, cells
from recsys.datasets.content.encoder import EncoderFacts, encoder_options, facts_of
from recsys.datasets.content.features import checksum
from recsys.datasets.content.files import Files, Inline
from recsys.datasets.content.progress import PROGRESS
from recsys.datasets.content.spec import SEED, WIDTH, ContentEncoder, ContentSpec
from recsys.datasets.content.stored import digest_of, item_by_item, whole
from recsys.datasets.dataset import Modality, Provenance
from recsys.errors import DataError, nearest

__all__ = ["ContentEncoder", "Encoded", "encode", "gather", "made_of", "run_encoder"]

SHOWN = 5
"""Names of files in a note."""


class Encoded(NamedTuple):
    """A modality that an encoder made.

    Attributes:
        modality: a row for each item.
        notes: what should be known of it, such as pictures that cannot be read.
        provenance: how it was made.
    """

    modality: Modality
    notes: list[str]
    provenance: Provenance


def encode(
    spec: ContentSpec,
    name: str,
    texts: Sequence[str],
    source: str,
    *,
    files: Files | Inline | None = None,
    fit_on: Sequence[str] | None = None,
    new: bool = False,
) -> Encoded:
    """A row of features for each cell.

    Args:
        name: of the modality.
        texts: n cells, "" where there is nothing; of an encoder of files their names.
        source: where they are from, for messages.
        files: where files are that cells name.
        fit_on: the catalogue's cells, to which an encoder is fitted; `texts` where None.
        new: these are new items, of which none may have content that can be read.

    Raises:
        UserError, DataError: no such encoder, a package that it needs is not there, or a cell that it cannot read.
    """
    function = CONTENT.get(spec.encoder)
    facts = facts_of(function)
    options = {key: default for key, (default, _) in encoder_options(function).items()} | spec.options
    revision = facts.revision_for(options)
    recipe = _recipe(spec, revision)
    given = {"width": spec.width, "seed": spec.seed, "source": source, **options}
    if facts.each or facts.reads == "file":
        made, digests = _each(function, facts, given, recipe, name, texts, files, bool(revision))
        notes = (
            _unread(name, texts, digests, made.mask, "{id}" in spec.names) if facts.reads == "file" else []
        )
        if not new and facts.reads == "file" and any(digests) and not made.mask.any():
            raise DataError(
                f"{source}: no file can be read by encoder '{spec.encoder}'; the first is '{texts[0]}'"
            )
        if not new and facts.reads == "file" and any(texts) and not any(digests):
            first = next(text for text in texts if text)
            raise DataError(f"{source}: no file is there, such as '{first}'; name its folder or archive")
        parts = [d.hex() for d in digests] if facts.reads == "file" else list(texts)
        key = checksum(recipe, *parts, "fitted on")
    else:
        key, notes = checksum(recipe, *texts, "fitted on", *(fit_on or ())), []
        made = _whole(function, given, texts, fit_on, spec.encoder if revision else "", key)
    record = Provenance(
        "content",
        f"encoder {spec.encoder}" + (f", revision {revision}" if _tells(revision) else ""),
        options=_options(spec),
        content_sha256=key,
    )
    return Encoded(replace(made, made_of=key), notes, record)


def _tells(revision: str) -> bool:
    """Whether a revision is more than the first of a method of ours."""
    return revision not in ("", "1")


def _recipe(spec: ContentSpec, revision: str) -> str:
    """What makes features of content, in a line; the same for equal cards of all releases."""
    own = "".join(f" {key}={value!r}" for key, value in sorted(spec.options.items()))
    of_revision = f" revision {revision}" if _tells(revision) else ""
    return f"{spec.encoder} {spec.width} {spec.seed}{own}{of_revision}"


def _options(spec: ContentSpec) -> dict[str, str]:
    """What was said of the encoder besides its name, for the record."""
    kept = spec.model_dump(mode="json", exclude_defaults=True, exclude={"encoder", "options"})
    return {key: str(value) for key, value in (kept | spec.options).items()}


def _whole(
    function: Callable[..., Modality],
    given: Mapping[str, object],
    texts: Sequence[str],
    fit_on: Sequence[str] | None,
    kept_as: str,
    key: str,
) -> Modality:
    def make() -> Modality:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # a decomposition's last bits depend on the number of threads
            return function(texts, **given, fit_on=fit_on)

    return whole(key, kept_as, make) if kept_as else make()


def _each(
    function: Callable[..., Modality],
    facts: EncoderFacts,
    given: Mapping[str, object],
    recipe: str,
    name: str,
    texts: Sequence[str],
    files: Files | Inline | None,
    kept: bool,
) -> tuple[Modality, list[bytes]]:
    """The items' rows, and the checksum of each one's content; b"" where it has none."""
    contents: Callable[[int], str | bytes]
    if facts.reads == "file":
        held = Files([]) if files is None else files
        contents = lambda place: held.read(texts[place])  # noqa: E731
    else:
        contents = lambda place: texts[place]  # noqa: E731
    digests = [digest_of(c) if (c := contents(place)) and c.strip() else b"" for place in range(len(texts))]
    tell = PROGRESS.get()
    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        if tell and time.monotonic() - began > 1:
            tell(name, done, total)

    made = item_by_item(
        checksum(recipe),
        recipe.partition(" ")[0],
        digests,
        lambda places: function([contents(int(p)) for p in places], **given, fit_on=None),
        kept=kept,
        progress=progress,
    )
    return made, digests


def _unread(
    name: str, texts: Sequence[str], digests: Sequence[bytes], mask: np.ndarray, by_id: bool
) -> list[str]:
    """Notes of files that are not there, and of those that cannot be read."""
    named = [text for text in texts if text]
    gone = [text for text, digest in zip(texts, digests, strict=True) if text and not digest]
    bad = [text for text, digest, there in zip(texts, digests, mask, strict=True) if digest and not there]
    notes = []
    for files, what in ((gone, "are not there or are empty"), (bad, "cannot be read")):
        if files:
            shown = ", ".join(f"'{file:.60}'" for file in files[:SHOWN]) + (
                ", …" if len(files) > SHOWN else ""
            )
            notes.append(
                f"{name}: {len(files):,} of {len(named):,} files {what} and count as missing: {shown}"
            )
    return notes


def run_encoder(
    name: str,
    texts: Sequence[str],
    source: str,
    *,
    width: int = WIDTH,
    seed: int = SEED,
    fit_on: Sequence[str] | None = None,
) -> Modality:
    """What an encoder of texts makes of them, with the checksum of what it was made of.

    Raises:
        UserError, DataError: no such encoder, or a text that it cannot read.
    """
    spec = ContentSpec(encoder=name, width=width, seed=seed)
    return encode(spec, "text", texts, source, fit_on=fit_on).modality


def gather(spec: ContentSpec, name: str, table: pd.DataFrame, ids: Sequence[str] | np.ndarray) -> list[str]:
    """The cells that a modality is made of, one an item.

    Args:
        name: of the modality.
        table: a row for each item.
        ids: raw ids of the items.

    Raises:
        DataError: a column that is not there; offers the nearest.
    """
    columns = spec.columns_of(name)
    if spec.names and not spec.columns and name not in table:
        return [spec.names.replace("{id}", str(item)) for item in ids]
    for column in columns:
        if column not in table:
            cure = "; or name files by id with names: '{id}.jpg'" if spec.reads_files else ""
            raise DataError(
                f"content '{name}' reads the column '{column}', which the items do not have"
                f"{nearest(column, map(str, table))}{cure}"
            )
    separator = str(spec.options.get("separator", SEPARATOR))
    parts = [[text.strip() for text in cells(table[column], separator)] for column in columns]
    if len(parts) == 1 and not spec.template:
        return cells(table[columns[0]], separator)
    if not spec.template:
        joint = separator if "separator" in encoder_options(CONTENT.get(spec.encoder)) else " "
        return [joint.join(filter(None, row)) for row in zip(*parts, strict=True)]
    filled = (dict(zip(columns, row, strict=True)) for row in zip(*parts, strict=True))
    return [spec.template.format(**row) if any(row.values()) else "" for row in filled]


def made_of(
    spec: ContentSpec,
    name: str,
    items: pd.DataFrame | None,
    ids: Sequence[str] | np.ndarray,
    source: str,
    files: Files | Inline | None = None,
) -> Encoded:
    """The modality `name` of the items' columns; DataError where they have none of them."""
    table = pd.DataFrame(index=range(len(ids))) if items is None else items
    try:
        texts = gather(spec, name, table, ids)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    made = encode(spec, name, texts, f"{source}: {name}", files=files)
    if spec.names and not spec.columns and name not in table:
        origin = "file " + spec.names
    else:
        origin = "column " + ", ".join(spec.columns_of(name))
    where = spec.file or spec.archive or spec.folder
    record = replace(made.provenance, made_of=origin + (f" in {where}" if where else ""))
    return made._replace(provenance=record)

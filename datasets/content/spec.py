"""How a modality is made of raw content: a card's `content:` section, and `content=` in Python."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from recsys.datasets.content import CONTENT
from recsys.datasets.content.encoder import encoder_options, facts_of
from recsys.errors import DataError, nearest

WIDTH, SEED = 64, 0
"""Columns that an encoder may make, and the seed of what it draws, where a card says nothing of them."""


def _known(name: str) -> str:
    if name not in CONTENT:
        raise ValueError(f"there is no {CONTENT.kind} '{name}'{nearest(name, CONTENT)}")
    return name


ContentEncoder = Annotated[str, AfterValidator(_known)]
"""Name of a content encoder, in the options of a reader."""


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _fields(template: str) -> set[str]:
    """The columns that a template names; ValueError where it names none, or more than names."""
    try:
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ValueError(f"template '{template:.40}': {error}") from None
    if any(form or conversion for _, _, form, conversion in parts):
        raise ValueError(f"template '{template:.40}': expected names alone, such as {{title}}")
    if not parts:
        raise ValueError(f"template '{template:.40}' names no column; expected one such as {{title}}")
    return {str(name) for _, name, _, _ in parts}


class ContentSpec(BaseModel):
    """What a modality is made of, and by which encoder.

    Attributes:
        encoder: name of a content encoder, as `recsys list content` shows them.
        columns: the columns that it reads; the one that is called like the modality where none is named.
        template: how several columns make one text, such as "{title}. {genres}"; their words in order where empty.
        file: another file than the items', whose rows these are: a table with a column `id`; for `vector` an array.
        id: the column of item ids in `file`.
        ids, key: of an array in `file`: the file with the item id of each row, and the array's name in it.
        folder, archive: where files are that cells name: a folder, or a zip or tar, beside the card. A name may leave
            out the folders inside of it, where no other file there has it.
        names: for one file an item without a column that names it: its name made of the id, such as "{id}.jpg".
        width, seed: what the encoder gets: columns that it may make, and the seed of what it draws.
        options: of this encoder alone, as `recsys show content NAME` lists them, such as the name of a model.

    Example:
        >>> spec = ContentSpec.model_validate({"encoder": "text", "columns": ["title", "genres"]})
        >>> spec.encoder, spec.columns, ContentSpec.of("number").width
        ('text', ('title', 'genres'), 64)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: ContentEncoder
    columns: Annotated[
        tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    template: str = ""
    file: str | None = None
    id: str = "id"
    ids: str | None = None
    key: str = ""
    folder: str | None = None
    archive: str | None = None
    names: str = ""
    width: NonNegativeInt = WIDTH
    seed: Annotated[int, Field(ge=0, lt=2**32)] = SEED
    options: dict[str, Any] = {}

    @classmethod
    def of(cls, value: str | Mapping[str, Any] | ContentSpec, where: str = "content") -> ContentSpec:
        """The specification that a card or a caller gives in short or at length.

        Raises:
            DataError: an unknown encoder or key, or an option that the encoder does not have.
        """
        if isinstance(value, ContentSpec):
            return value
        try:
            return cls.model_validate({"encoder": value} if isinstance(value, str) else value)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                raise DataError(f"{where}: unknown key '{key}'{nearest(key, cls.model_fields)}") from None
            reason = first["msg"].removeprefix("Value error, ")
            raise DataError(f"{where}: {key + ': ' if key else ''}{reason}") from None

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, values: Any) -> Any:
        """An encoder's own options may stand among the others."""
        if isinstance(values, str):
            return {"encoder": values}
        if not isinstance(values, Mapping) or not isinstance(values.get("encoder"), str):
            return values
        if values["encoder"] not in CONTENT:
            return values
        own = encoder_options(CONTENT.get(values["encoder"]))
        given = {key: values[key] for key in values if key in own and key not in cls.model_fields}
        rest = {key: value for key, value in values.items() if key not in given}
        return rest | ({"options": {**given, **rest.get("options", {})}} if given else {})

    @model_validator(mode="after")
    def _sound(self) -> ContentSpec:
        known = encoder_options(CONTENT.get(self.encoder))
        for key, value in self.options.items():
            if key not in known:
                hint = nearest(key, known) if known else "; it has none"
                raise ValueError(f"encoder '{self.encoder}' has no option '{key}'{hint}")
            default = known[key][0]
            if not isinstance(value, type(default)) or isinstance(value, bool) != isinstance(default, bool):
                raise ValueError(
                    f"option '{key}' of encoder '{self.encoder}' is {value!r:.40}; expected a value like {default!r}"
                )
        if self.template:
            fields = _fields(self.template)
            if self.columns and (odd := sorted(fields - set(self.columns))):
                raise ValueError(f"template names '{odd[0]}'{nearest(odd[0], self.columns)}")
            if not self.columns:
                object.__setattr__(self, "columns", tuple(sorted(fields)))
        if (self.folder or self.archive or self.names) and not self.reads_files:
            raise ValueError(f"encoder '{self.encoder}' reads no files; leave folder, archive and names out")
        if self.names and "{id}" not in self.names:
            raise ValueError(f"names '{self.names:.40}' must hold {{id}}, such as '{{id}}.jpg'")
        return self

    @property
    def reads_files(self) -> bool:
        """Whether cells name files, as those of pictures and sounds do."""
        return facts_of(CONTENT.get(self.encoder)).reads == "file"

    def columns_of(self, name: str) -> tuple[str, ...]:
        """The columns that the modality `name` is made of."""
        return self.columns or (name,)

    def short(self) -> str | dict[str, Any]:
        """As a card says it: the encoder's name where nothing else is said."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        return self.encoder if set(values) == {"encoder"} else values

    def __str__(self) -> str:
        return self.encoder


Content = Annotated[
    ContentSpec,
    BeforeValidator(
        lambda v: {"encoder": v} if isinstance(v, str) else v, json_schema_input_type=str | ContentSpec
    ),
]
"""A specification in the options of a reader; a name alone is that of the encoder."""


def content_spec(said: str | Mapping[str, Any]) -> ContentSpec:
    """What `ContentSpec.short` says, read back.

    Example:
        >>> content_spec("number").encoder, content_spec({"encoder": "text", "columns": ["title"]}).columns
        ('number', ('title',))
    """
    spec: ContentSpec = TypeAdapter(Content).validate_python(said)
    return spec

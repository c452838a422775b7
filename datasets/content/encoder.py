"""What is known of a content encoder besides what it does: how it reads, whose weights it has, its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_type_hints

GIVEN = ("width", "seed", "source", "fit_on")
"""Keywords of every encoder; others are its own options."""
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class EncoderFacts:
    """What is known of an encoder.

    Attributes:
        reads: "text": cells as text; "file": the bytes of the files that cells name, b"" where there is none.
        each: every item is encoded for itself, so that a second run encodes only what is new; otherwise what is learned
            of all items is fitted to the catalogue.
        width: of its rows, in words.
        revision: of the weights or of the method, as text or from the encoder's options; what an encoder without one
            makes is not kept, since nobody could tell whether it is still the same.
        licence: of the weights.
        weights: where they come from.
    """

    reads: Literal["text", "file"] = "text"
    each: bool = False
    width: str = ""
    revision: str | Callable[..., str] = ""
    licence: str = ""
    weights: str = ""

    def revision_for(self, options: Mapping[str, Any]) -> str:
        """The revision with these options."""
        return self.revision if isinstance(self.revision, str) else self.revision(**options)


def encoder(**facts: Any) -> Callable[[Function], Function]:
    """Marks a function as a content encoder with these `EncoderFacts`.

    Example:
        >>> @encoder(each=True, revision="1", width="1")
        ... def length(texts, *, width, seed, source, fit_on=None):
        ...     return None
        >>> facts_of(length).each
        True
    """
    known = EncoderFacts(**facts)

    def mark(function: Function) -> Function:
        function.facts = known  # type: ignore[attr-defined]
        return function

    return mark


def facts_of(function: Any) -> EncoderFacts:
    """What is known of an encoder; of a plain function that it reads texts."""
    return getattr(function, "facts", EncoderFacts())


def encoder_options(function: Any) -> dict[str, tuple[Any, str]]:
    """An encoder's own options: name -> its default and its meaning."""
    hints = get_type_hints(function, include_extras=True)
    options = {}
    for option in inspect.signature(function).parameters.values():
        if option.kind is option.KEYWORD_ONLY and option.name not in GIVEN:
            noted = [note for note in get_args(hints.get(option.name))[1:] if isinstance(note, str)]
            options[option.name] = (option.default, noted[0] if noted else "")
    return options

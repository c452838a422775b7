"""Foreign text where people read it: shown as it is; markup, control characters and formulas in it do nothing."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 440
"""Characters of an error's line."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
KEPT = frozenset("\n\t")


def visible(text: str) -> str:
    """`text` with control characters as escapes, such as \\x1b, among them those that turn the reading direction.

    Example:
        >>> visible("a\\x1b[31mb")
        'a\\\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(
        c
        if c in KEPT or unicodedata.category(c) not in ("Cc", "Cf", "Cs")
        else c.encode("unicode_escape").decode()
        for c in text
    )


class PlainConsole(Console):
    """A terminal, or another place for text, to which data's text can be printed without a thought.

    Styles are given as `rich.text.Text`, or by the tables' own means.
    """

    def __init__(self, **options: Any):
        super().__init__(**({"markup": False, "emoji": False, "highlight": False} | options))

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        """As rich's, of a text that cannot change anything but itself."""
        return super().render_str(visible(text), **(options | {"markup": False, "emoji": False}))


def one_line(error: BaseException) -> str:
    """An error's message in one line that fits a terminal, whatever text of a user's it quotes."""
    text = visible(" ".join(str(error).split()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 60]} … {text[-50:]}"


def for_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with an apostrophe before each text that a spreadsheet would take for a formula.

    Example:
        >>> import pandas as pd
        >>> for_spreadsheets(pd.DataFrame({"item": ["=1+1", "-5", "lamp"], "score": [-1.0, 0.5, 2.0]}))["item"].tolist()
        ["'=1+1", "'-5", 'lamp']
    """
    import pandas as pd

    texts = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    changed = {
        c: frame[c].map(lambda v: f"'{v}" if isinstance(v, str) and v.startswith(FORMULA) else v)
        for c in texts
    }
    return frame.assign(**changed)


def without_apostrophe(text: str) -> str:
    """A text as it was before `for_spreadsheets`.

    Example:
        >>> without_apostrophe("'-5"), without_apostrophe("'tis")
        ('-5', "'tis")
    """
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


def bold(text: str) -> Text:
    """A cell in bold."""
    return Text(visible(text), style="bold")

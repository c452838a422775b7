"""The home page and the tutorials are run as they are printed: their blocks in order, in an empty folder.

A ```text block is what the block above it prints, its figures up to rounding.
"""

import math
import re
import shlex
from pathlib import Path

import pytest

from recsys.cli.app import main

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / "index.md", *sorted((DOCS / "tutorials").glob("*.md"))]
BLOCK = re.compile(r"^```(python|sh|text)(?: [^\n]*)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def shell(text):
    for line in text.splitlines():
        command, *arguments = shlex.split(line)
        assert command == "recsys"
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert not end.value.code


def number(word):
    try:
        return float(word.rstrip(","))
    except ValueError:
        return None


def same(shown, printed):
    """Whether two words are equal, or figures that training on another machine could give."""
    one, other = number(shown), number(printed)
    if one is None or other is None:
        return shown == printed
    return math.isnan(one) == math.isnan(other) and not abs(one - other) > 0.05


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_and_prints_what_it_shows(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert {"python", "text"} <= {language for language, _ in blocks}
    names, printed = {}, ""
    for language, text in blocks:
        if language == "text":
            shown = text.split()
            assert len(shown) == len(printed.split()), printed
            assert all(map(same, shown, printed.split())), printed
            continue
        if language == "python":
            exec(compile(text, page.name, "exec"), names)
        else:
            shell(text)
        printed = capsys.readouterr().out

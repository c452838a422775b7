"""The tutorials are run as they are printed: their Python and shell blocks in order, in an empty folder."""

import re
import shlex
from pathlib import Path

import pytest

from recsys.cli.app import main

TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", sorted(TUTORIALS.glob("*.md")), ids=lambda page: page.stem)
def test_a_tutorial_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert len(found) >= 5
    names = {}
    for language, text in found:
        if language == "python":
            exec(compile(text, page.name, "exec"), names)
            continue
        for line in text.splitlines():
            command, *arguments = shlex.split(line)
            assert command == "recsys"
            with pytest.raises(SystemExit) as end:
                main(arguments)
            assert not end.value.code, capsys.readouterr().err

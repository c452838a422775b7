"""The home page and the tutorials are run as they are printed: their blocks in order, in an empty folder.

A ```text block is what the block above it prints, its figures up to rounding. The service of a page is the command that
RECSYS_SERVER names, where it is set: that of an environment with `recsys[serve]` alone.
"""

import math
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsys.cli.app import main

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / "index.md", *sorted((DOCS / "tutorials").glob("*.md"))]
BLOCK = re.compile(r"^```(python|sh|text)(?: [^\n]*)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def shell(text, behind):
    """Run the lines; what ends with & goes on behind them, as in a shell, and is asked for on this machine alone."""
    for line in text.splitlines():
        command, *arguments = shlex.split(line)
        if arguments[-1] == "&":
            assert command == "recsys"
            server = os.environ.get("RECSYS_SERVER", "")
            start = [server] if server else [sys.executable, "-m", "recsys"]
            behind.append(subprocess.Popen([*start, *arguments[:-1]], stderr=subprocess.DEVNULL))
            wait_for(int(arguments[arguments.index("--port") + 1]), behind[-1])
        elif command == "recsys":
            with pytest.raises(SystemExit) as end:
                main(arguments)
            assert not end.value.code
        else:
            assert command in ("cp", "mkdir") or (command == "curl" and "http://127.0.0.1:" in line)
            if shutil.which(command) is None:
                pytest.skip(f"needs {command}")
            found = subprocess.run([command, *arguments], check=True, capture_output=True, text=True)
            assert '"error"' not in found.stdout, found.stdout


def wait_for(port, process, seconds=60):
    """Until something listens at the port."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < end, "the service does not start"
            time.sleep(0.1)


@pytest.fixture
def behind():
    """Processes that a page leaves behind it."""
    started = []
    yield started
    for process in started:
        process.terminate()
        process.wait(30)


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
def test_a_page_runs_and_prints_what_it_shows(page, tmp_path, monkeypatch, capsys, behind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
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
            shell(text, behind)
        printed = capsys.readouterr().out

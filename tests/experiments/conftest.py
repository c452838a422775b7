"""The toy data set of the engine's own tests, also as files, and the command line in an empty folder."""

import importlib.util
from pathlib import Path

import pytest

from recsys.datasets.convert import convert

_path = Path(__file__).parents[1] / "recsys" / "conftest.py"
_spec = importlib.util.spec_from_file_location("toy_data", _path)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
toy = _module.toy


@pytest.fixture(scope="session")
def root(toy, tmp_path_factory):
    """A data root with the data set `toy`."""
    folder = tmp_path_factory.mktemp("data")
    convert(toy, folder / "toy")
    return folder


@pytest.fixture
def recsys(root, capsys, monkeypatch, tmp_path):
    """Runs a command in an empty folder: exit status, output, errors."""
    from recsys.experiments.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSYS_DATA", str(root))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run

"""The parity command: what it measures, whom it runs and forgets, and the page made of its measurements."""

import json
import sys
from pathlib import Path

import pytest
import torch

from recsys.errors import UserError
from recsys.experiments.benchmarks.parity import __main__ as parity
from recsys.experiments.benchmarks.parity import page
from recsys.experiments.benchmarks.parity.compare import Source, difference
from recsys.experiments.benchmarks.parity.foreign import commit_of, folder_of, foreign, load
from recsys.experiments.benchmarks.parity.material import of_toys

SOURCE = Source("somebody/Model", ("Model-orig", "Model"))


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs the command where TikTok is not at hand; gives its status and what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["parity", *map(str, arguments), "--data-root", str(tmp_path)])
        status = parity.main()
        return status, *capsys.readouterr()

    return run


def test_a_difference_is_relative_to_the_largest_of_theirs_and_never_hidden():
    theirs = torch.tensor([1.0, -4.0])
    assert difference(torch.tensor([1.0, -3.0]), theirs) == 0.25
    assert difference(torch.tensor([float("nan"), -4.0]), theirs) == float("inf")
    with pytest.raises(ValueError, match="cannot be compared"):
        difference(theirs, theirs[:1])


@pytest.mark.parametrize("name", ["SIGE", "AFF"])
def test_fast_code_computes_the_formulas_that_are_written_out_slowly(name, command):
    status, printed, _ = command("--models", name)
    assert status == 0 and f"\n{name:11s} agrees" in printed


def test_a_wrong_formula_is_found(command, monkeypatch):
    """Two per cent too warm a softmax."""
    from recsys.experiments.benchmarks.parity import sige

    monkeypatch.setattr(sige, "infonce", lambda x, y, tau, right=sige.infonce: right(x, y, 1.02 * tau))
    status, printed, _ = command("--models", "SIGE")
    assert status == 1 and "\nSIGE        DIFFERS" in printed
    assert "loss: perturbed" in printed and "graphs: " not in printed


def test_what_cannot_be_compared_is_told(command, tmp_path):
    status, printed, _ = command("--models", "MGCN", "--authors", tmp_path)
    assert status == 0 and "not compared: DIR has no folder MGCN-orig or MGCN; git clone" in printed
    assert "name the folder that holds it with --authors" in command("--models", "GRAM")[1]
    status, _, err = command("--models", "mgcm")
    assert status == 2 and err.startswith("recsys: there is no comparison of 'mgcm'")
    status, _, err = command("--authors", tmp_path / "none")
    assert status == 2 and "no such folder" in err


def test_published_code_runs_on_what_it_expects_and_is_forgotten(tmp_path, capsys):
    folder = tmp_path / "Model"
    folder.mkdir()
    (folder / "utils.py").write_text(
        "import sys, torch, missing\nprint('noise')\nargs = sys.argv[1:]\nx = torch.ones(1).cuda()\n"
    )
    before = Path.cwd(), torch.Tensor.cuda, list(sys.path)
    with foreign(folder, arguments=("--width", "4"), stubs=("missing",)) as work:
        import utils

        assert utils.args == ["--width", "4"] and utils.x == 1
        assert Path.cwd() == work != before[0] and load(folder / "utils.py") is not utils
    assert "utils" not in sys.modules and "missing" not in sys.modules
    assert (Path.cwd(), torch.Tensor.cuda, sys.path) == before and not work.exists()
    assert capsys.readouterr().out == "" and [*folder.iterdir()] == [folder / "utils.py"]


def test_a_commit_is_that_of_the_clone_or_of_its_file(tmp_path):
    (tmp_path / "Model").mkdir()
    folder = folder_of(SOURCE, tmp_path)
    assert commit_of(folder) == "unknown"
    (folder / ".commit").write_text("abc123\n")
    assert commit_of(folder) == "abc123"
    with pytest.raises(UserError, match="no folder Model-orig or Model; git clone"):
        folder_of(SOURCE, tmp_path / "Model")


def test_the_toy_shop_has_no_ties_and_nobody_cold():
    given = of_toys()
    assert (given.interactions.sum(0) > 0).all() and (given.interactions.sum(1) > 0).all()
    for rows in given.features.values():
        assert len({row.tobytes() for row in rows}) == len(rows) == given.shape[1]


def test_the_page_is_what_the_command_writes():
    kept = page.read_stored()
    assert page.PAGE.read_text(encoding="utf-8") == page.page(kept)
    assert set(kept["models"]) == set(parity.CHECKS)


def test_a_part_of_the_models_leaves_the_others_measurements(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "STORED", tmp_path / "parity.json")
    monkeypatch.setattr(page, "PAGE", tmp_path / "parity.md")
    about = {"commit": "c", "data": "toys", "shape": [2, 3]}
    old = about | {"models": {"A": {"rows": [["loss", "x", 0.5]]}, "B": {"skipped": "no"}}}
    page.store(about | {"models": {"B": {"rows": [["loss", "y", 1e-9]]}}}, old)
    kept = json.loads((tmp_path / "parity.json").read_text())
    assert kept["models"] == {"A": old["models"]["A"], "B": {"rows": [["loss", "y", 1e-9]]}}
    text = (tmp_path / "parity.md").read_text()
    assert "1 of 2 are below 1e-06" in text and "5.0e-01" in text

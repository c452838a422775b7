"""The commands that a page prints under Again: typed into a shell, they give the same figures."""

import html
import json
import re
import shlex
import shutil

import pytest
import yaml

from recsys.experiments.bench.runner import BenchOptions, command_of
from recsys.runs.artifacts import METRICS_FILE
from recsys.runs.rerun import figures

FILE = {
    "title": "Tom's",
    "models": {
        'it\'s "best" $HOME': {"model": "vbpr", "settings": {"width": 4, "max_epochs": 2}},
        "pop": None,
    },
    "datasets": ["toy"],
    "splits": ["random"],
    "seeds": [0],
}


def again(page):
    """The command lines of a page, as a shell splits them."""
    facts = re.search(r"<dt>Again</dt>(.*?)</div>", page.read_text(encoding="utf-8"), re.S)[1]
    lines = [html.unescape(line) for line in re.findall(r"<code>(.*?)</code>", facts)]
    assert all(line.startswith("recsys ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def measured(folder):
    """Every figure of the runs in a folder, without how long things took."""
    return sorted(list(figures(json.loads(path.read_text()))) for path in folder.rglob(METRICS_FILE))


def test_an_experiments_page_tells_how_to_run_it_again(recsys, tmp_path):
    folder = tmp_path / "Tom's runs & more"
    folder.mkdir()
    name = f'{folder.name}/the "toy\'s" $file.yaml'
    (tmp_path / name).write_text(yaml.safe_dump(FILE, sort_keys=False))
    out = folder / "out of it"
    assert recsys("bench", name, "--out", f"{folder.name}/out of it", "--device", "cpu")[0] == 0
    assert recsys("report", f"{folder.name}/out of it")[0] == 0
    bench, report = again(out / "report" / "index.html")
    before = measured(out / "jobs")
    assert bench[:2] == ["bench", name] and report[0] == "report" and len(before) == 2
    shutil.rmtree(out)
    assert recsys(*bench)[0] == 0 and recsys(*report)[0] == 0
    assert measured(out / "jobs") == before
    assert again(out / "report" / "index.html") == [bench, report]


def test_a_runs_page_tells_how_to_repeat_it(recsys, tmp_path):
    out = tmp_path / "it's a run"
    settings = ["--set", "width=4", "--set", "max_epochs=2", "--set", "modalities=[tags, image]"]
    arguments = ["--model", "vbpr", "--dataset", "toy", "--split", "cold-item", *settings]
    assert recsys("train", *arguments, "--content", "missing=0.3", "--out", out)[0] == 0
    assert recsys("report", out)[0] == 0
    rerun, report = again(out / "report" / "index.html")
    assert rerun == ["rerun", str(out)] and report == ["report", str(out)]
    status, said, _ = recsys(*rerun)
    assert status == 0 and "equal: all" in said
    assert measured(tmp_path / "it's a run-rerun") == measured(out)


def test_places_are_told_but_for_the_one_that_is_the_environments(monkeypatch, tmp_path):
    monkeypatch.setenv("RECSYS_DATA", "/data")
    assert (
        command_of("demo", BenchOptions(data_root="/data", controls=True)) == "recsys bench demo --controls"
    )
    assert (
        command_of("demo", BenchOptions(data_root="/my data")) == "recsys bench demo --data-root '/my data'"
    )


@pytest.mark.parametrize("runs", [2, 4])
def test_a_few_runs_are_told_one_by_one(recsys, tmp_path, runs):
    for seed in range(runs):
        out = tmp_path / "all" / f"pop {seed}"
        assert recsys("train", "--model", "pop", "--dataset", "toy", "--seed", seed, "--out", out)[0] == 0
    assert recsys("report", tmp_path / "all")[0] == 0
    commands = [words[0] for words in again(tmp_path / "all" / "report" / "index.html")]
    assert commands == [*["rerun"] * (runs if runs < 4 else 0), "report"]

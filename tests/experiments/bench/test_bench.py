"""The benchmark runner: each cell once, changed ones again, failures recorded, everything checked beforehand."""

import errno
import io
import json
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from recsys import files
from recsys.datasets.convert import convert
from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.experiments.bench import jobs
from recsys.experiments.bench.config import load_datasets, make_jobs, read_experiment
from recsys.experiments.bench.jobs import Outcome, in_processes
from recsys.experiments.bench.results import SEED
from recsys.experiments.bench.runner import BenchOptions, Progress, run_bench
from recsys.experiments.stats.verdicts import Rules, best_of, compare, estimates
from recsys.models import MODELS
from recsys.models.closed_form.pop import Pop

TINY = {"width": 4, "max_epochs": 2, "batch_size": 64}
FILE = {
    "title": "Toys",
    "models": {"pop": None, "itemknn": None, "small lightgcn": {"model": "lightgcn", "settings": TINY}},
    "datasets": ["toy"],
    "splits": ["random", {"protocol": "cold-item", "seeds": [0, 1]}],
    "seeds": [0, 1],
}
N_CELLS = 3 * (1 + 2) * 2


def write(folder, **changes):
    path = folder / "toys.yaml"
    path.write_text(yaml.safe_dump(FILE | changes, sort_keys=False))
    return path


def run(path, root, out, **options):
    console = Console(file=io.StringIO(), width=200)
    return run_bench(str(path), BenchOptions(out=out, data_root=str(root), **options), console)


def stamps(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def runs(folder):
    return sorted(p.parent.name for p in folder.rglob("metrics.json"))


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
    """The whole experiment, run once: its file, its folder, its results."""
    folder = tmp_path_factory.mktemp("bench")
    path = write(folder)
    return path, folder / "out", run(path, root, folder / "out")


def test_each_cell_is_a_run_and_a_second_time_changes_nothing(done, root):
    path, out, results = done
    assert len(runs(out)) == N_CELLS and not results["failed"]
    before = stamps(out)
    assert run(path, root, out) == json.loads((out / "results.json").read_text())
    assert stamps(out) == before


def test_only_what_was_edited_runs_again(root, tmp_path):
    few = {"splits": ["random"], "seeds": [0]}
    run(write(tmp_path, **few), root, tmp_path / "out")
    before, old = runs(tmp_path / "out"), stamps(tmp_path / "out" / "jobs")
    models = FILE["models"] | {"itemknn": {"settings": {"k": 3}}}
    results = run(write(tmp_path, models=models, **few), root, tmp_path / "out")
    new = set(runs(tmp_path / "out")) - set(before)
    assert len(new) == 1 and new.pop().startswith("itemknn")
    assert old.items() <= stamps(tmp_path / "out" / "jobs").items()
    assert {row["model"] for row in results["tables"][0]["rows"]} == set(models)


def test_the_table_holds_means_intervals_and_verdicts_of_the_per_user_values(done, toy):
    _, out, results = done
    table = next(t for t in results["tables"] if t["split"] == "random")
    values = {}
    for label in FILE["models"]:
        seeds = []
        for seed in (0, 1):
            (folder,) = out.glob(f"jobs/{label.replace(' ', '-')}-on-toy-random-seed-{seed}-*")
            frame = pd.read_parquet(folder / "per_user.parquet")
            frame = frame[frame["group"] == "overall"]
            row = np.full(toy.n_users, np.nan)
            row[frame["number"]] = frame["ndcg@20"]
            assert frame["user"].tolist() == toy.user_ids[frame["number"]].tolist()
            seeds.append(row)
        values[label] = np.array(seeds)
    verdicts = compare(values, np.random.default_rng(SEED), Rules())
    means = estimates(values, np.random.default_rng(SEED), Rules())
    best = best_of(verdicts)
    assert {v.label for v in verdicts} & {"worse"} and len(table["rows"]) == 3
    assert [row["model"] for row in table["rows"]] == sorted(values, key=lambda m: -means[m].mean)
    for row in table["rows"]:
        cell = row["columns"]["ndcg@20"]
        assert cell["mean"] == pytest.approx(np.nanmean(values[row["model"]]))
        assert cell["interval"] == pytest.approx(means[row["model"]].interval)
        assert cell["may_be_best"] == (row["model"] in best)
    for verdict in verdicts:
        cell = next(r for r in table["rows"] if r["model"] == verdict.model)["columns"]["ndcg@20"]
        assert (cell["verdict"], cell["against"]["difference"]) == (verdict.label, verdict.difference)


def test_only_some_data_sets_of_a_file(root, tmp_path):
    path = write(tmp_path, datasets=["ml-100k", "toy"], models=["pop"], splits=["random"], seeds=[0])
    results = run(path, root, tmp_path / "out", datasets=("toy",))
    assert [table["dataset"] for table in results["tables"]] == ["toy"]
    assert "--dataset toy" in results["command"]
    with pytest.raises(UserError, match="no data set 'toys'; did you mean 'toy'"):
        run(path, root, tmp_path / "out", datasets=("toys",))


def test_a_declared_reference_is_what_all_others_are_compared_with(root, tmp_path):
    path = write(tmp_path, models=["pop", "itemknn", "contentknn"], splits=["random"], reference="pop")
    (table,) = run(path, root, tmp_path / "out")["tables"]
    cells = {row["model"]: row["columns"]["ndcg@20"] for row in table["rows"]}
    assert cells["pop"]["verdict"] == "reference" and "against" not in cells["pop"]
    for name in ("itemknn", "contentknn"):
        assert cells[name]["against"]["reference"] == "pop" and cells[name]["verdict"] == "better"
    assert not cells["pop"]["may_be_best"]
    (recall,) = {row["columns"]["recall@20"].get("against", {}).get("reference") for row in table["rows"]} - {
        None
    }
    assert recall != "pop"  # for what does not decide, the best by mean


def test_markdown_and_csv_say_the_same(done):
    _, out, results = done
    frame = pd.read_csv(out / "table.csv").set_index(["split", "model", "column"])
    text = (out / "table.md").read_text()
    for table in results["tables"]:
        for row in table["rows"]:
            for column, cell in row["columns"].items():
                assert frame.loc[(table["split"], row["model"], column), "mean"] == pytest.approx(
                    cell["mean"]
                )
            assert f"{row['columns']['ndcg@20']['mean']:.4f}" in text
    assert "| pop \\* " in text and "95% interval" in text


def test_cells_share_one_data_set(root, tmp_path, monkeypatch):
    loads = []
    real = jobs.load_dataset
    monkeypatch.setattr(jobs, "load_dataset", lambda *a: loads.append(a) or real(*a))
    run(write(tmp_path, models=["pop"], splits=["random"]), root, tmp_path / "out")
    assert not loads


FIFTY = {"seeds": list(range(17))}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ["pop", "itemknn", "lightgnc"], **FIFTY}, ["'lightgnc'", "did you mean 'lightgcn'"]),
        ({"modles": ["pop"]}, ["modles", "did you mean 'models'"]),
        ({"models": {"pop": {"setings": {}}}}, ["setings", "did you mean 'settings'"]),
        ({"models": {"itemknn": {"settings": {"kk": 3}}}}, ["model 'itemknn'", "there is no setting 'kk'"]),
        ({"models": {"itemknn": {"settings": {"k": 0}}}}, ["'k'", "greater than or equal to 1, got 0"]),
        ({"datasets": ["toyy"]}, ["'toyy'", "did you mean 'toy'"]),
        ({"splits": ["randm"]}, ["'randm'", "did you mean 'random'"]),
        ({"splits": [{"protocol": "random", "options": {"valyd": 0.1}}]}, ["'valyd'", "'valid'"]),
        ({"splits": ["predefined"]}, ["no predefined split"]),
        ({"seeds": [0, 0]}, ["seeds", "each once"]),
        ({"seeds": "many"}, ["seeds", "many"]),
        ({"columns": ["recal@20"]}, ["recal@20", "did you mean 'recall'"]),
        ({"columns": ["clod:recall@20"]}, ["clod", "cold"]),
        (
            {"paper": {"citation": "A", "reported": [{"model": "x", "dataset": "toy", "metrics": {}}]}},
            ["'x'"],
        ),
        ({"reference": "itemnkk"}, ["reference", "'itemnkk'", "did you mean 'itemknn'"]),
        ({"models": {"lightgcn": {"tuned": True}}}, ["no tuned settings for lightgcn on toy"]),
        ({"models": []}, ["models", "expected a list of names"]),
    ],
)
def test_mistakes_in_the_file_end_in_one_line_before_any_cell(recsys, tmp_path, changes, words):
    status, _, err = recsys("bench", write(tmp_path, **changes), "--out", "out")
    assert status == 2 and err.count("\n") == 1 and err.startswith("recsys: ")
    for word in words:
        assert word in err
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_experiments(recsys, tmp_path):
    assert "there is no experiment file dmeo; did you mean 'demo'" in recsys("bench", "dmeo")[2]
    (tmp_path / "x.yaml").write_text("a: [")
    assert "x.yaml: not valid YAML: line 1, column 5" in recsys("bench", "x.yaml")[2]
    (tmp_path / "x.yaml").write_text("- a")
    assert "expected `name: value` lines" in recsys("bench", "x.yaml")[2]
    write(tmp_path)
    assert "has no smoke section" in recsys("bench", "toys.yaml", "--smoke")[2]


class Broken(Pop):
    def fit(self):
        raise ValueError("two\nlines")


def test_a_failed_cell_is_recorded_and_tried_again_and_is_no_score(root, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS._objects, "broken", Broken)
    path = write(tmp_path, models=["broken", "pop"], splits=["random"], seeds=[0])
    results = run(path, root, tmp_path / "out")
    assert results["failed"] == {"broken on toy, random, seed 0": "ValueError: two lines"}
    assert [row["model"] for row in results["tables"][0]["rows"]] == ["pop"]
    (error,) = (tmp_path / "out").rglob("error.json")
    assert json.loads(error.read_text())["error"] == "ValueError: two lines"
    assert "Traceback" in error.with_name("error.log").read_text()
    assert "ValueError: two lines" in (tmp_path / "out" / "table.md").read_text()
    monkeypatch.setattr(Broken, "fit", Pop.fit)
    results = run(path, root, tmp_path / "out")
    assert not results["failed"] and len(results["tables"][0]["rows"]) == 2 and not error.exists()


def test_a_broken_run_folder_is_named_and_skipped(root, tmp_path):
    path = write(tmp_path, models=["pop", "itemknn"], splits=["random"], seeds=[0])
    run(path, root, tmp_path / "out")
    (metrics,) = (tmp_path / "out").glob("jobs/pop*/metrics.json")
    (users,) = (tmp_path / "out").glob("jobs/itemknn*/per_user.parquet")
    metrics.write_text("{")
    results = run(path, root, tmp_path / "out")
    assert [row["model"] for row in results["tables"][0]["rows"]] == ["itemknn"]
    assert str(metrics) in results["failed"]["pop on toy, random, seed 0"]
    users.write_bytes(b"PAR1")
    (tmp_path / "out" / "results.json").unlink()
    results = run(path, root, tmp_path / "out")
    assert str(users) in results["failed"]["itemknn on toy, random, seed 0"]


def test_a_full_disk_ends_in_one_line_and_keeps_finished_cells(recsys, tmp_path, monkeypatch):
    path = write(tmp_path, splits=["random"], seeds=[0])
    real, calls = files.os.fsync, iter(range(10**6))

    def fill_up(handle):
        if next(calls) >= 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(files.os, "fsync", fill_up)
    status, _, err = recsys("bench", path, "--out", "out")
    assert status == 2 and err.count("\n") == 1 and "no space left to write" in err
    kept = runs(tmp_path / "out")
    assert kept
    monkeypatch.setattr(files.os, "fsync", real)
    before = stamps(tmp_path / "out" / "jobs" / kept[0])
    assert recsys("bench", path, "--out", "out")[0] == 0 and len(runs(tmp_path / "out")) == 3
    assert before == stamps(tmp_path / "out" / "jobs" / kept[0])


def test_other_data_other_code_other_cells(root, toy, tmp_path, monkeypatch):
    path = write(tmp_path, models=["pop"], splits=["random"], seeds=[0])
    run(path, root, tmp_path / "out")
    image = toy.modalities["image"]
    features = image.features.copy()
    features[0, 0] += 1
    from dataclasses import replace

    other = replace(toy, modalities={**toy.modalities, "image": Modality(features, image.mask)})
    convert(other, tmp_path / "data" / "toy")
    run(path, tmp_path / "data", tmp_path / "out")
    assert len(runs(tmp_path / "out")) == 2
    monkeypatch.setattr("recsys.experiments.bench.config.code_version", lambda *modules: "f" * 64)
    run(path, root, tmp_path / "out", any_code=True)
    assert len(runs(tmp_path / "out")) == 2
    run(path, root, tmp_path / "out")
    assert len(runs(tmp_path / "out")) == 3


def test_labels_settings_and_tuned_settings(root, tmp_path):
    (tmp_path / "best.yaml").write_text("k: 7\n")
    models = {
        "a": {"model": "itemknn", "tuned": "best.yaml"},
        "b": {"model": "itemknn", "tuned": "best.yaml", "settings": {"k": 3}},
        "itemknn": None,
    }
    experiment = read_experiment(write(tmp_path, models=models, splits=["random"], seeds=[0]))
    datasets = load_datasets(["toy"], str(root))
    cells = make_jobs(experiment, datasets, tmp_path / "out")
    assert [c.config.settings["k"] for c in cells] == [7, 3, 100]
    assert len({c.folder for c in cells}) == 3


def test_figures_of_a_paper_stand_beside_ours(root, tmp_path):
    said = {"model": "pop", "dataset": "toy", "metrics": {"recall@20": 0.5}, "reason": "other split"}
    other = said | {"system": "Oracle", "reason": "not comparable"}
    paper = {"citation": "A. Author, 2020", "reported": [said, other]}
    results = run(
        write(tmp_path, models=["pop"], splits=["random"], seeds=[0], paper=paper), root, tmp_path / "o"
    )
    ours = results["tables"][0]["rows"][0]["columns"]["recall@20"]["mean"]
    assert results["paper"][0]["ours"] == ours and results["paper"][0]["reported"] == 0.5
    other = results["paper"][1]
    assert other["model"] == f"Oracle, beside {said['model']}" and other["reason"] == "not comparable"
    text = " ".join((tmp_path / "o" / "table.md").read_text().split())
    assert f"| 0.5000 | {ours:.4f} | {ours - 0.5:+.4f} | other split |" in text


def test_the_smoke_size(tmp_path):
    small = {"seeds": [5], "splits": ["cold-user"], "settings": {"max_epochs": 1, "k": 2}}
    experiment = read_experiment(write(tmp_path, smoke=small), smoke=True)
    assert (experiment.seeds, experiment.datasets) == ([5], ["toy"])
    assert [s.protocol for s in experiment.splits] == ["cold-user"]
    assert [experiment.config(label).settings for label in experiment.models] == [
        {},
        {"k": 2},
        TINY | {"max_epochs": 1},
    ]
    with pytest.raises(UserError, match="no model of the file has a setting 'maxepochs'"):
        read_experiment(write(tmp_path, smoke={"settings": {"maxepochs": 1}}), smoke=True)


def test_the_time_left_is_what_cells_alike_took(root, tmp_path):
    experiment = read_experiment(write(tmp_path, models=["pop", "itemknn"], splits=["random"], seeds=[0, 1]))
    cells = make_jobs(experiment, load_datasets(["toy"], str(root)), tmp_path)
    state = Progress(dict.fromkeys(cells), workers=2)
    assert state.left() == "time left unknown yet"
    state.done(cells[0], Outcome("", 40.0))
    assert state.left() == "about 60 s left"  # (40 for pop + 2 x 40 as a guess for itemknn) / 2 workers
    state.done(cells[2], Outcome("", 3600.0))
    assert state.left() == "about 30 min left"  # (40 + 3600) / 2
    state.done(cells[1], Outcome("it failed", 0.0))
    assert state.left() == "about 30 min left" and state.failed == {cells[1].name: "it failed"}


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_process_is_replaced_and_its_cell_goes_on(root, tmp_path, jobs):
    long = {"model": "lightgcn", "settings": {"width": 4, "max_epochs": 40, "patience": 40}}
    experiment = read_experiment(write(tmp_path, models={"long": long}, splits=["random"], seeds=[0, 1, 2]))
    cells = make_jobs(experiment, load_datasets(["toy"], str(root)), tmp_path / "out", data_root=str(root))
    killed = []

    def kill_one():
        while not killed:
            time.sleep(0.02)
            if (cells[0].folder / "last.ckpt").exists():
                victim = multiprocessing.active_children()[0]
                os.kill(victim.pid, signal.SIGKILL)
                killed.append(victim.pid)

    thread = threading.Thread(target=kill_one)
    thread.start()
    outcomes = list(in_processes(cells, jobs))
    thread.join()
    assert sorted(c.name for c, _ in outcomes) == sorted(c.name for c in cells)
    assert all(outcome.error == "" for _, outcome in outcomes)
    for cell in cells:
        assert pd.read_csv(cell.folder / "history.csv")["epoch"].tolist() == list(range(40))


class DeadProcess:
    exitcode = -9

    def join(self):
        pass

    terminate = join


def test_a_cell_that_kills_every_process_is_recorded_as_failed(root, tmp_path, monkeypatch):
    started = []

    def start(*arguments):
        ours, theirs = multiprocessing.Pipe()
        theirs.close()
        started.append(ours)
        return ours, DeadProcess()

    monkeypatch.setattr(jobs, "start_worker", start)
    monkeypatch.setattr("multiprocessing.connection.Connection.send", lambda self, value: None)
    experiment = read_experiment(write(tmp_path, models=["pop"], splits=["random"], seeds=[0]))
    cells = make_jobs(experiment, load_datasets(["toy"], str(root)), tmp_path / "out")
    cells[0].folder.mkdir(parents=True)
    ((_, outcome),) = in_processes(cells, 2)
    assert outcome.error == "its process died 3 times (exit status -9); out of memory?" and len(started) == 3
    assert json.loads((cells[0].folder / "error.json").read_text())["error"] == outcome.error


def test_chosen_metrics_stand_in_tables_those_of_all_lists_without_verdict(root, tmp_path):
    models = {"pop": None, "itemknn": None}
    asked = ["gini@5", "ild.image@5", "user_gap.activity@5"]
    path = write(tmp_path, run={"metrics": asked}, models=models, splits=["random"])
    out = tmp_path / "out"
    (table,) = run(path, root, out)["tables"]
    assert table["columns"][-3:] == ["ild.image@5", "gini@5", "user_gap.activity@5"]
    for row in table["rows"]:
        cell, runs_of_row = row["columns"]["gini@5"], [out / "jobs" / name for name in row["runs"]]
        stored = [
            json.loads((folder / "metrics.json").read_text())["test"]["gini@5"] for folder in runs_of_row
        ]
        assert cell == {"mean": np.mean(stored), "per_seed": stored}
        assert len(stored) == 2 and "interval" in row["columns"]["ild.image@5"]
    assert "gini@5" in (out / "table.md").read_text() and "gini@5" in (out / "table.csv").read_text()
    columns = ["ndcg@20", "novelty@5", "gini@5"]
    (table,) = run(write(tmp_path, columns=columns, models=models, splits=["random"]), root, out)["tables"]
    assert table["columns"] == columns and {"gini@5"} <= table["rows"][0]["columns"].keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ["warm:gini@5"]}, "has no groups and decides nothing"),
        ({"decide_by": "gini@5"}, "has no groups and decides nothing"),
        ({"columns": ["ild@5"]}, "is of one modality"),
        ({"columns": ["ild.imgae@5"]}, "no modality 'imgae'; did you mean 'image'"),
    ],
)
def test_metrics_that_cannot_be_shown_are_refused_before_any_run(root, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run(write(tmp_path, **changes), root, tmp_path / "out")
    assert not runs(tmp_path)

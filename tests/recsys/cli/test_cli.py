"""The command line: what a user sees, and mistakes that end in one line and status 2."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from recsys.runs.config import load_config

TINY = ["--set", "width=4", "--set", "max_epochs=2", "--set", "batch_size=64"]


def one_line(err, *words):
    assert err.count("\n") == 1 and err.startswith("recsys: ")
    for word in words:
        assert word in err


def test_without_a_model_it_trains_the_engine_s_own(recsys, tmp_path):
    status, _, _ = recsys("train", "--dataset", "toy", "--set", "max_epochs=1", "--out", "own")
    assert status == 0 and load_config(tmp_path / "own").model == "confluence"


def test_train_prints_a_table_and_keeps_the_run(recsys, tmp_path):
    status, out, _ = recsys("train", "--model", "lightgcn", "--dataset", "toy", "--seed", "3", *TINY)
    assert status == 0 and "chance" in out and "runs/toy/random/lightgcn-seed3" in out
    metrics = json.loads((tmp_path / "runs/toy/random/lightgcn-seed3/metrics.json").read_text())
    assert {"model", "dataset", "split", "seed", "test", "timing"} <= metrics.keys()
    assert {"graph", "train_epoch_median", "evaluate", "total"} <= metrics["timing"].keys()
    assert 0 <= metrics["test"]["recall@20"] <= 1 and metrics["test_opened"] == 1
    status, out, _ = recsys("train", "--model", "pop", "--dataset", "toy", "--split", "cold-item")
    assert status == 0 and "cannot rank items without training interactions" in out
    metrics = json.loads((tmp_path / "runs/toy/cold-item/pop-seed0/metrics.json").read_text())
    assert {"test_warm", "test_cold", "test_cold_pool"} <= metrics.keys()


def test_a_plan_is_printed_and_nothing_is_trained(recsys, tmp_path, monkeypatch):
    from recsys.runs import forecast

    status, out, _ = recsys("train", "--model", "lightgcn", "--dataset", "toy", "--plan", *TINY)
    assert status == 0 and "an epoch" in out and "measured on 384 of them; at most 2 epochs" in out
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr(forecast, "available", lambda: 0)
    monkeypatch.setattr(forecast, "resident", lambda: 0)
    status, _, err = recsys("train", "--model", "pop", "--dataset", "toy", "--plan")
    assert status == 2
    one_line(err, "pop on toy needs about", "are left; use a machine with more")


def test_ctrl_c_says_how_to_go_on(recsys, monkeypatch):
    from recsys.runs import run

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "execute", interrupted)
    status, _, err = recsys("train", "--model", "pop", "--dataset", "toy", "--out", "run")
    assert status == 130
    one_line(err, "interrupted", "--out run --resume")


def test_a_second_run_takes_a_second_folder(recsys, tmp_path):
    for _ in range(2):
        assert recsys("train", "--model", "pop", "--dataset", "toy")[0] == 0
    assert (tmp_path / "runs/toy/random/pop-seed0-2/metrics.json").exists()


def test_settings_come_from_a_file_and_set_goes_before_it(recsys, tmp_path):
    (tmp_path / "s.yaml").write_text("regularisation: 5.0\n")
    arguments = ["train", "--model", "ease", "--dataset", "toy", "--config", "s.yaml"]
    recsys(*arguments, "--out", "a")
    recsys(*arguments, "--out", "b", "--set", "regularisation=7")
    values = [(tmp_path / n / "config.yaml").read_text() for n in "ab"]
    assert "regularisation: 5.0" in values[0] and "regularisation: 7.0" in values[1]


def test_tuned_settings_are_those_of_the_model_the_data_and_the_split(recsys, tmp_path, monkeypatch):
    from recsys.runs import config

    assert "layers: 4" in config.shipped_tuned("lightgcn", "tiktok", "predefined").read_text()
    status, _, err = recsys("train", "--model", "bpr", "--dataset", "toy", "--tuned")
    assert status == 2
    one_line(err, "no tuned settings for bpr on toy, random", "bpr-tiktok-predefined")
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "ease-toy-random.yaml").write_text("regularisation: 33.0\n")
    monkeypatch.setattr(config, "tuned_folder", lambda: tmp_path / "tuned")
    for name, options, expected in (
        ("a", ["--tuned"], "33.0"),
        ("b", [], "50.0"),
        ("c", ["--tuned", "--set", "regularisation=7"], "7.0"),
        ("d", ["--split", "leave-one-out"], "50.0"),
    ):
        status, out, _ = recsys("train", "--model", "ease", "--dataset", "toy", "--out", name, *options)
        assert status == 0 and ("settings tuned for" in out) == (name in "ac")
        assert ("use them with --tuned" in out) == (name == "b")
        assert f"regularisation: {expected}" in (tmp_path / name / "config.yaml").read_text()


def test_recommend_prints_titles_and_leaves_out_what_was_seen(recsys, toy):
    recsys("train", "--model", "itemknn", "--dataset", "toy", "--out", "run")
    status, out, _ = recsys("recommend", "--run", "run", "--user", "u1", "-k", "5")
    assert status == 0 and out.count("Item ") == 5
    from recsys.datasets.splits import make_split

    split = make_split(toy, "random")
    known = toy.matrix(np.concatenate([split.train, split.valid]))[[1]].indices
    for item in known:
        assert f"Item {item} " not in out


def test_data_commands(recsys, tmp_path):
    status, out, _ = recsys("data", "list")
    assert status == 0 and "ml-100k" in out and "toy" in out
    status, out, _ = recsys("data", "info", "toy")
    assert status == 0 and "sparsity" in out and "cold-item" in out and "modality tags" in out
    status, out, _ = recsys("data", "verify", "toy")
    assert status == 0 and "files match the SHA-256 of the card" in out
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "clicks.csv").write_text("user,item\na,x\n")
    card = tmp_path / "bare" / "card.yaml"
    for files, said in (
        ("", "lists no files: nothing was verified"),
        ("files: {clicks.csv: null}\n", "0 of 1 files"),
    ):
        card.write_text(f"name: bare\nreader: table\noptions: {{interactions: clicks.csv}}\n{files}")
        status, out, _ = recsys("data", "verify", "bare", "--data-root", str(tmp_path))
        assert status == 0 and said in out
    assert recsys("data", "convert", "toy", "copy")[0] == 0
    assert (tmp_path / "copy" / "card.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--model", "lightgnc"], ["no model 'lightgnc'", "did you mean 'lightgcn'"]),
        (["train", "--model", "pop", "--dataset", "toi"], ["toi", "did you mean 'toy'"]),
        (
            ["train", "--model", "pop", "--dataset", "toy", "--split", "cold"],
            ["no split 'cold'", "cold-item"],
        ),
        (
            ["train", "--model", "bpr", "--dataset", "toy", "--set", "widht=3"],
            ["no setting 'widht'", "did you mean 'width'"],
        ),
        (
            ["train", "--model", "bpr", "--dataset", "toy", "--set", "max_epoch=3"],
            ["did you mean 'max_epochs'"],
        ),
        (
            ["train", "--model", "ease", "--dataset", "toy", "--set", "max_epochs=3"],
            ["no setting 'max_epochs'"],
        ),
        (["train", "--model", "bpr", "--dataset", "toy", "--set", "width=wide"], ["'width'", "'wide'"]),
        (
            ["train", "--model", "bpr", "--dataset", "toy", "--set", "width=true"],
            ["'width'", "expected a number"],
        ),
        (
            ["train", "--model", "bpr", "--dataset", "toy", "--set", "width=0"],
            ["'width'", "greater than or equal to 1"],
        ),
        (["train", "--model", "bpr", "--dataset", "toy", "--set", "width"], ["expected key=value"]),
        (["train", "--model", "bpr", "--dataset", "toy", "--set", "width=[1"], ["not a YAML value"]),
        (["train", "--model", "bpr", "--dataset", "toy", "--set", "monitor=ndgc@20"], ["ndcg"]),
        (["train", "--model", "bpr", "--dataset", "toy", "--split-set", "tset=0.2"], ["no option 'tset'"]),
        (["train", "--model", "bpr", "--dataset", "toy", "--config", "no.yaml"], ["cannot read no.yaml"]),
        (["train", "--model", "bpr", "--dataset", "toy", "--device", "gpu9"], ["gpu9"]),
        (["recommend", "--run", "nowhere", "--user", "u1"], ["nowhere is not a run's folder"]),
        (["data", "verify", "nothing"], ["nothing"]),
    ],
)
def test_mistakes_end_in_one_line_and_leave_nothing(recsys, tmp_path, arguments, words):
    status, _, err = recsys(*arguments)
    assert status == 2
    one_line(err, *words)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_user_is_one_line(recsys):
    recsys("train", "--model", "pop", "--dataset", "toy", "--out", "run")
    status, _, err = recsys("recommend", "--run", "run", "--user", "u999")
    assert status == 2
    one_line(err, "no user 'u999'", "did you mean")


def test_an_unknown_option_is_refused(recsys):
    assert recsys("train", "--model", "pop", "--dataste", "toy")[0] == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_one_line(recsys, tmp_path):
    (tmp_path / "locked").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    status, _, err = recsys("train", "--model", "pop", "--dataset", "toy", "--out", "locked/run")
    assert status == 2
    one_line(err, "cannot write")


def test_a_folder_that_cannot_be_made_is_one_line(recsys, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = recsys("train", "--model", "pop", "--dataset", "toy", "--out", "file/run")
    assert status == 2
    one_line(err, "cannot write", "--out")


def test_a_data_set_found_at_the_root_is_not_ours():
    """`run.py` from the checkout must not shadow the library called `datasets`."""
    code = (
        "import runpy, sys; sys.argv = ['run.py', '--help']\n"
        "try: runpy.run_path('run.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "import importlib.util as u; spec = u.find_spec('datasets')\n"
        "assert spec is None or 'recsys' not in open(spec.origin).read(2000), spec"
    )
    repo = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], cwd=repo, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        [sys.executable, "run.py", "--help"], cwd=repo, check=True, stdout=subprocess.DEVNULL, timeout=60
    )


def test_help_and_import_stay_light():
    code = (
        "import sys, recsys, recsys.cli\n"
        "heavy = {'torch', 'pandas', 'scipy', 'sklearn', 'numpy', 'pytorch_lightning'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_data_without_content_and_folders_that_nobody_knows_are_told_apart(recsys, tmp_path):
    """`recsys train` without a model is Confluence, of whose components a user need not have heard."""
    (tmp_path / "clicks").mkdir()
    pairs = "".join(f"u{n},i{(n * 7 + k) % 20}\n" for n in range(30) for k in range(10))
    (tmp_path / "clicks" / "log.csv").write_text("user,item\n" + pairs)
    root = ("--data-root", str(tmp_path))
    status, _, error = recsys("train", "--dataset", "clicks", *root)
    assert status == 2 and "no reader knows the form of" in error and "its files are log.csv" in error
    card = "name: clicks\nreader: table\noptions: {interactions: log.csv}\n"
    (tmp_path / "clicks" / "card.yaml").write_text(card)
    status, _, error = recsys("train", "--dataset", "clicks", *root)
    assert status == 2 and "this data set has none; name another model, such as ease" in error
    assert error.count("\n") == 1
    assert recsys("train", "--dataset", "clicks", "--model", "ease", *root)[0] == 0


SIZES = [
    ("--seed", "9" * 30),
    ("--set", "batch_size=" + "9" * 30),
    ("--set", "batch_size=" + "9" * 5000),
    ("--set", "batch_size=1e24"),
    ("--set", "max_epochs=[" * 900),
    ("--set", "max_epochs=2020-13-45"),
    ("--set", "2: 3"),
    ("--set", "monitor=ndcg@" + "9" * 30),
    ("--metric", "ndcg@1e20"),
    ("--metric", "ndcg@" + "9" * 15),
    ("--metric", "ndcg@" + "9" * 5000),
    ("--split", "x" * 5000),
    ("--split-set", "test=" + "9" * 400),
    ("--dataset", "x" * 5000),
    ("--model", "x" * 5000),
]


@pytest.mark.parametrize(("option", "value"), SIZES, ids=[f"{o} {v:.24}" for o, v in SIZES])
def test_values_beyond_sense_end_in_one_short_line_before_anything_is_written(
    recsys, tmp_path, option, value
):
    given = {"--model": "bpr", "--dataset": "toy"}
    arguments = [part for pair in (given | {option: value}).items() for part in pair]
    status, _, error = recsys("train", *arguments, "--out", "run")
    assert status == 2 and "Traceback" not in error, error[-500:]
    assert error.count("\n") <= 5 and len(error) < 700, error[:800]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", ["../log.csv", "/etc/passwd", "a/../../log.csv", "..\\log.csv"])
@pytest.mark.parametrize("place", ["interactions", "items", "features", "mask"])
def test_a_card_names_no_file_outside_its_folder(recsys, tmp_path, path, place):
    options = {"interactions": "log.csv", "items": {"file": "items.csv", "id": "item"}, "features": {}}
    if place == "interactions":
        options["interactions"] = path
    elif place == "items":
        options["items"]["file"] = path
    else:
        options["features"] = {
            "v": {"file": "v.npy", "mask": "m.npy"} | {"file" if place == "features" else place: path}
        }
    (tmp_path / "shop").mkdir()
    card = {"name": "shop", "reader": "table", "options": options}
    (tmp_path / "shop" / "card.yaml").write_text(yaml.safe_dump(card))
    status, _, error = recsys("data", "info", "shop", "--data-root", str(tmp_path))
    assert status == 2 and "must lie inside the data set's folder" in error and error.count("\n") == 1


def test_metrics_that_were_asked_for_are_printed(recsys):
    _, out, _ = recsys("train", "--model", "pop", "--dataset", "toy", "--metric", "recall@3", "--out", "run")
    assert "metrics asked for" in out and "recall@3" in out
    assert "asked for" not in recsys("train", "--model", "pop", "--dataset", "toy", "--out", "other")[1]


def test_a_student_takes_data_and_split_from_the_run_that_teaches_it(recsys, tmp_path):
    split = ("--dataset", "toy", "--split", "cold-item", "--split-seed", 3)
    few = ("--set", "max_epochs=1", "--set", "width=8")
    assert recsys("train", "--model", "mmhcl", *split, *few, "--out", "taught")[0] == 0
    status, _, err = recsys("train", "--teacher", "taught", "--set", "width=8", "--out", "run")
    assert status == 0, err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["model"], config["settings"]["teacher"]) == ("student", "mmhcl")
    assert (config["dataset"], config["split"], config["split_seed"]) == ("toy", "cold-item", 3)
    status, _, err = recsys("train", "--teacher", "nowhere")
    assert (status, err.count("\n")) == (2, 1) and "nowhere is not a run's folder" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "train --modle pop",
            "no such option: --modle (possible options: --model, --num-nodes) (see `recsys train --help`)",
        ),
        ("trian", "no such command 'trian'; did you mean 'train'? (see `recsys --help`)"),
        ("data inof", "no such command 'inof'; did you mean 'info'? (see `recsys data --help`)"),
        ("show", "missing argument 'kind' (see `recsys show --help`)"),
        ("train --seed x", "invalid value for '--seed': "),
        ("train pop", "got unexpected extra argument(s) (pop) (see `recsys train --help`)"),
    ],
)
def test_a_command_line_that_is_not_taken_is_one_line(recsys, arguments, said):
    status, out, error = recsys(*arguments.split())
    assert (status, out, error.count("\n")) == (2, "", 1) and error.startswith(f"recsys: {said}")


def test_a_group_without_a_command_shows_its_commands(recsys):
    status, _, error = recsys("data")
    assert status == 2 and "Commands:" in error and "verify" in error

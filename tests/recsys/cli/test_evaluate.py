"""`recsys evaluate` and `recsys export --as trec`: a run's own lists measure as the run did, and tools read them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys.datasets.cards import Card
from recsys.datasets.convert import convert
from recsys.datasets.dataset import Dataset


@pytest.fixture
def trained(recsys):
    status, _, err = recsys(
        "train", "--model", "ease", "--dataset", "toy", "--split", "random", "--out", "run"
    )
    assert status == 0, err
    return json.loads(Path("run/metrics.json").read_text())


def figures(folder):
    values = json.loads(Path(folder, "metrics.json").read_text())
    return {
        key: value for key, value in values.items() if key.startswith("test") or key in ("chance", "users")
    }


@pytest.mark.parametrize("kind", ["run", "csv", "parquet", "trec"])
def test_a_runs_own_lists_measure_as_the_run_did(recsys, trained, kind):
    if kind in ("run", "trec"):
        assert recsys("export", "--run", "run", "--as", "trec", "--output", "lists", "-k", 36)[0] == 0
        path = "lists/lists.run"
        if kind == "trec":
            # The order of the lines and the ranks say nothing.
            lines = Path(path).read_text().splitlines()
            path = "shuffled.txt"
            order = np.random.default_rng(0).permutation(len(lines))
            Path(path).write_text("\n".join(lines[n].replace(" ", "\t") for n in order))
    else:
        path = f"lists.{kind}"
        assert (
            recsys("recommend", "--run", "run", "--users", "all", "--held-out", "-k", 36, "--output", path)[0]
            == 0
        )
    status, out, err = recsys(
        "evaluate", "--lists", path, "--dataset", "toy", "--split", "random", "--out", "mine"
    )
    assert status == 0, err
    mine, theirs = figures("mine"), figures("run")
    assert mine.keys() == theirs.keys() and "note" not in out
    for key in theirs.keys() - {"chance", "users"}:
        assert mine[key] == pytest.approx(theirs[key], abs=1e-12), key
    assert mine["chance"] == theirs["chance"] and mine["users"] == theirs["users"]
    users = [pd.read_parquet(f"{folder}/per_user.parquet") for folder in ("mine", "run")]
    pd.testing.assert_frame_equal(*users, atol=1e-12, rtol=0)


def test_the_report_puts_lists_beside_runs_in_table_slices_and_verdicts(recsys, trained):
    assert recsys("export", "--run", "run", "--as", "trec", "--output", "lists", "-k", 36)[0] == 0
    name = ("--name", "by hand")
    where = ("--dataset", "toy", "--split", "random")
    for folder in ("all/mine", "all/pop"):
        if folder == "all/mine":
            assert recsys("evaluate", "--lists", "lists/lists.run", *where, *name, "--out", folder)[0] == 0
        else:
            assert recsys("train", "--model", "pop", *where, "--out", folder)[0] == 0
    assert recsys("train", "--model", "ease", *where, "--out", "all/ease")[0] == 0
    status, _, err = recsys("report", "all")
    assert status == 0, err
    table = pd.read_csv("all/report/tables.csv").set_index(["model", "column"])
    for column in ("ndcg@20", "recall@10"):
        assert table.loc[("by hand", column), "mean"] == pytest.approx(table.loc[("ease", column), "mean"])
        assert table.loc[("by hand", column), "low"] == pytest.approx(table.loc[("ease", column), "low"])
    page = Path("all/report/tables.md").read_text()
    assert "by hand" in page.split("by slice")[1] and "verdicts" in page


def test_tools_measure_the_exported_lists_alike(recsys, trained):
    ranx = pytest.importorskip("ranx", reason="compares with ranx, which is not installed")
    assert recsys("export", "--run", "run", "--as", "trec", "--output", "lists", "-k", 36)[0] == 0
    qrels = ranx.Qrels.from_file("lists/test.qrels", kind="trec")
    run = ranx.Run.from_file("lists/lists.run", kind="trec")
    names = {
        "ndcg@10": "ndcg@10",
        "recall@10": "recall@10",
        "precision@10": "precision@10",
        "mrr@10": "mrr@10",
    }
    found = ranx.evaluate(qrels, run, [*names.values(), "hit_rate@10"])
    for ours, other in {**names, "hr@10": "hit_rate@10"}.items():
        assert trained["test"][ours] == pytest.approx(found[other], abs=1e-6), ours


def test_export_of_lists_follows_the_runs_mask(recsys):
    recsys(
        "train", "--model", "ease", "--dataset", "toy", "--split", "random", "--mask", "train", "--out", "run"
    )
    assert recsys("export", "--run", "run", "--as", "trec", "--output", "lists", "-k", 36)[0] == 0
    how = ("--dataset", "toy", "--split", "random", "--mask", "train", "--metric", "ild.image@5")
    status, out, err = recsys("evaluate", "--lists", "lists/lists.run", *how, "--out", "mine")
    assert status == 0 and "ild.image@5" in out, err
    theirs = figures("run")["test"]
    assert {k: v for k, v in figures("mine")["test"].items() if k in theirs} == pytest.approx(
        theirs, abs=1e-12
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "user,item,score\nu0,i0,1\nu99,i0,1\n", "a.csv: line 3: 'toy' has no user 'u99'"),
        ("a.csv", "user,item,score\nu0,x,1\n", "a.csv: line 2: 'toy' has no item 'x'"),
        ("a.csv", "user,item,score\nu0,i0,1\nu0,i0,2\n", "a.csv, line 3: the pair occurs twice"),
        ("a.csv", "user,item,score\nu0,i0,nan\n", "a.csv, line 2: the score is NaN"),
        ("a.csv", "user,item,score\nu0,i0,high\n", "a.csv: column 'score' is"),
        ("a.csv", "user,item\nu0,i0\n", "no column score"),
        ("a.run", "u0 Q0 i0 1 nan me\n", "a.run, line 1: the score is NaN"),
        ("a.run", "u0 Q0 i0 1 2.0 me\n\nu0 Q0 i0 1\n", "a.run: line 3 has fewer than 6 columns"),
        ("a.run", "u0 Q0 i0 1 much me\n", "a.run: line 1: score 'much' is no number"),
        ("a.run", "u0 Q0 i0 1 2.0 me\nu0 Q0 i7x 2 1.0 me\n", "a.run: line 2: 'toy' has no item 'i7x'"),
        ("a.run", "u0 Q0 i0 1 2.0 me too\n", "a.run: cannot be read as a TREC run"),
        ("a.parquet", "nothing", "a.parquet: cannot be read as Parquet"),
        ("a.json", "{}", "a.json: expected a .csv, .tsv or .parquet file, or a TREC run"),
    ],
)
def test_lists_that_do_not_fit_end_in_one_line(recsys, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    status, _, err = recsys(
        "evaluate", "--lists", name, "--dataset", "toy", "--split", "random", "--out", "mine"
    )
    assert status == 2 and message in err and err.count("\n") == 1, err
    assert not (tmp_path / "mine").exists()


def test_users_without_a_list_are_told_of_and_count_as_chance(recsys, tmp_path):
    (tmp_path / "one.csv").write_text("user,item,score\nu0,i0,1\n")
    status, out, err = recsys("evaluate", "--lists", "one.csv", "--dataset", "toy", "--split", "random")
    assert status == 0 and "47 of 48 tested users have no list: they count as a random order does" in out, err


def test_ids_of_every_kind_come_back(recsys, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [(u, i) for u in range(12) for i in rng.permutation(10)[:6]]
    ids = np.array(["-1", "=a", "NA", "007", "'x", "@", "+5", "ü", "1e5", "0"])
    strange = Dataset(
        "strange",
        pd.DataFrame(rows, columns=["user", "item"], dtype=np.int64).sort_values(
            ["user", "item"], ignore_index=True
        ),
        np.array([f"-{n}" for n in range(12)]),
        ids,
    )
    convert(strange, tmp_path / "data" / "strange", like=Card(name="strange", reader="table", public=True))
    where = ("--data-root", tmp_path / "data")
    recsys("train", "--model", "itemknn", "--dataset", "strange", "--split", "random", "--out", "run", *where)
    assert recsys("export", "--run", "run", "--as", "trec", "--output", "lists", *where)[0] == 0
    lists = ("recommend", "--run", "run", "--users", "all", "--held-out", "-k", 10)
    assert recsys(*lists, "--output", "lists.csv", *where)[0] == 0
    for path in ("lists/lists.run", "lists.csv"):
        mine = f"mine-{path[-3:]}"
        how = ("--dataset", "strange", "--split", "random", "--out", mine)
        status, _, err = recsys("evaluate", "--lists", path, *how, *where)
        assert status == 0, err
        assert figures(mine)["test"] == pytest.approx(figures("run")["test"], abs=1e-12)


def test_ids_with_spaces_are_no_trec(recsys, tmp_path):
    frame = pd.DataFrame([(u, i) for u in range(6) for i in range(5) if u != i], columns=["user", "item"])
    users, items = (np.array([f"{n} {k}" for k in range(6)]) for n in ("user", "item"))
    spaced = Dataset("spaced", frame.astype(np.int64), users, items[:5])
    convert(spaced, tmp_path / "data" / "spaced", like=Card(name="spaced", reader="table", public=True))
    where = ("--data-root", tmp_path / "data")
    recsys("train", "--model", "pop", "--dataset", "spaced", "--split", "random", "--out", "run", *where)
    status, _, err = recsys("export", "--run", "run", "--as", "trec", "--output", "lists", *where)
    assert status == 2 and "holds white space, which no id of a TREC file can" in err
    assert not list((tmp_path / "lists").glob("*"))

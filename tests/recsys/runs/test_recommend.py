"""`recsys recommend` and `recsys export`: new items, new users, files, and mistakes that end in one line."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from recsys.cli.app import main
from recsys.datasets.convert import convert
from recsys.datasets.dataset import Modality
from recsys.evaluation.ranking import ordered_top_k
from recsys.inputs.new_files import read_new_items, read_new_users
from recsys.runs.recommend import RecommendRequest, catalogue_users, recommend, recommend_to
from recsys.runs.run import load_run

ROOT = Path(__file__).parents[3]
TINY = ["--set", "width=4", "--set", "max_epochs=2", "--set", "batch_size=64"]
RUNS = {"contentknn": [], "lightgcn": TINY, "vbpr": TINY, "itemknn": []}


@pytest.fixture(scope="module")
def root(toy, tmp_path_factory):
    """A folder that holds the toy data set with attributes of users, and a run of each model."""
    folder = tmp_path_factory.mktemp("data")
    users = pd.DataFrame({"colour": np.repeat(["red", "green", "blue"], 16)})
    convert(replace(toy, user_attributes=users), folder / "toy")
    for model, options in RUNS.items():
        with pytest.raises(SystemExit) as end:
            where = ["--data-root", str(folder), "--out", str(folder / model)]
            main(["train", "--model", model, "--dataset", "toy", "--split", "cold-item", *options, *where])
        assert not end.value.code
    return folder


@pytest.fixture
def of(recsys, root):
    """Runs a command on a model's run in an empty folder: exit status, output, errors."""
    return lambda command, model, *arguments: recsys(command, "--run", root / model, *arguments)


def new_items(n=4):
    """Arrays of an .npz: of the first, second and third community; the fourth shows nothing."""
    image = np.tile(np.eye(3, dtype=np.float32), 3)[:, :8]
    rows = {
        "item": np.array(["red", "green", "blue", "dark"][:n]),
        "title": np.array([f"New {i}" for i in range(n)]),
    }
    rows["image"] = np.vstack([image, np.zeros((1, 8), dtype=np.float32)])[:n]
    rows["tags"] = np.vstack([np.eye(3, dtype=np.float32), np.zeros((1, 3), dtype=np.float32)])[:n]
    rows["tags.mask"] = np.array([True, True, False, False])[:n]
    rows["tags"][2] = 0
    return rows


def frame_of(rows):
    """The same as a table of columns `image.0` and so on, empty where an item lacks a modality."""
    frame = pd.DataFrame({"item": rows["item"], "title": rows["title"]})
    columns = {}
    for name in ("image", "tags"):
        held = rows[name].any(axis=1)
        for number, column in enumerate(rows[name].T):
            columns[f"{name}.{number}"] = np.where(held, column, np.nan)
    return pd.concat([frame, pd.DataFrame(columns)], axis=1)


def write(path, rows):
    if path.suffix == ".npz":
        np.savez(path, **rows)
    elif path.suffix == ".csv":
        frame_of(rows).to_csv(path, index=False)
    else:
        frame = pd.DataFrame({"item": rows["item"], "title": rows["title"]})
        for name in ("image", "tags"):
            frame[name] = [list(map(float, row)) if row.any() else None for row in rows[name]]
        frame.to_parquet(path)
    return path


def one_line(result, *words):
    status, _, err = result
    assert status == 2 and err.count("\n") == 1 and err.startswith("recsys: "), err
    for word in words:
        assert word in err


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_every_kind_of_file_says_the_same(suffix, toy, tmp_path):
    """In the order of the ids, whatever the file's."""
    read, _ = read_new_items(write(tmp_path / f"new{suffix}", new_items()), toy)
    assert read.ids.tolist() == ["blue", "dark", "green", "red"]
    rows, order = new_items(), [2, 3, 1, 0]
    for name, mask in (("image", [True, False, True, True]), ("tags", [False, False, True, True])):
        np.testing.assert_array_equal(read.modalities[name].features, rows[name][order])
        np.testing.assert_array_equal(read.modalities[name].mask, mask)
        assert read.modalities[name].features.dtype == np.float32
    assert read.attributes["title"].tolist() == ["New 2", "New 3", "New 1", "New 0"]


def test_sparse_content_comes_as_csr_arrays(toy, tmp_path):
    tags = toy.modalities["tags"]
    sparse = replace(toy, modalities={"tags": Modality(sp.csr_array(tags.features), tags.mask)})
    rows, dense = new_items(), sp.csr_array(new_items()["tags"])
    for given in (
        {"tags": rows["tags"]},
        {f"tags.{p}": getattr(dense, p) for p in ("data", "indices", "indptr")},
    ):
        np.savez(tmp_path / "new.npz", item=rows["item"], **given)
        found = read_new_items(tmp_path / "new.npz", sparse)[0].modalities["tags"]
        np.testing.assert_array_equal(found.features.toarray(), rows["tags"][[2, 3, 1, 0]])
        np.testing.assert_array_equal(found.mask, [False, False, True, True])
    np.savez(
        tmp_path / "new.npz",
        item=rows["item"],
        **{"tags.data": dense.data, "tags.indices": dense.indices + 7, "tags.indptr": dense.indptr},
    )
    with pytest.raises(ValueError, match=r"tags\.data, \.indices and \.indptr are no CSR of 4 rows, 3 wide"):
        read_new_items(tmp_path / "new.npz", sparse)


def test_new_items_are_ranked_for_a_user_alone_and_among_all(of, tmp_path):
    """User 20 is of the second community; the item without content comes where an average item does."""
    write(tmp_path / "new.npz", new_items())
    status, out, _ = of("recommend", "contentknn", "--user", "u20", "--new-items", "new.npz")
    assert status == 0 and "note: 1 of 4 new items have none of the content that contentknn reads" in out
    assert out.index("New 1") < out.index("New 3") < max(out.index("New 0"), out.index("New 2"))
    assert "Item" not in out and out.count("+") == 5
    status, out, _ = of("recommend", "contentknn", "--user", "u20", "--new-items", "new.npz", "--pool", "all")
    assert status == 0 and "Item" in out and "New 1" in out


def test_many_users_are_written_to_a_file(of, tmp_path, toy):
    write(tmp_path / "new.npz", new_items())
    (tmp_path / "who.txt").write_text("u1\nu40\n\nu1\n")
    for name, users, count in (("a.csv", "all", toy.n_users), ("b.parquet", "who.txt", 2)):
        options = ["--users", users, "--new-items", "new.npz", "--output", name, "-k", "3"]
        assert of("recommend", "vbpr", *options)[0] == 0
        frame = pd.read_csv(name) if name.endswith("csv") else pd.read_parquet(name)
        assert list(frame) == ["user", "rank", "item", "score", "new"]
        assert frame["user"].nunique() == count and len(frame) == 3 * count and frame["new"].all()
        best = frame.sort_values(["user", "score"], ascending=[True, False]).groupby("user")["rank"]
        assert all(ranks.tolist() == [1, 2, 3] for _, ranks in best)


def test_what_somebody_has_is_recommended_only_for_study_and_marked(root, toy):
    run = load_run(root / "contentknn", str(root))
    frame = recommend(run, RecommendRequest(users="all", k=toy.n_items)).frame
    had = toy.interactions["user"] * toy.n_items + toy.interactions["item"]
    assert (
        not (frame["user"].str[1:].astype(int) * toy.n_items + frame["item"].str[1:].astype(int))
        .isin(had)
        .any()
    )
    assert len(frame) == toy.n_users * toy.n_items - len(had)
    frame = recommend(run, RecommendRequest(users="all", k=toy.n_items, held_out=True)).frame
    pairs = frame["user"].str[1:].astype(int) * toy.n_items + frame["item"].str[1:].astype(int)
    rows, columns = run.dataset.matrix(run.split.known).nonzero()
    assert not np.isin(rows * toy.n_items + columns, pairs).any()
    rows, columns = run.dataset.matrix(run.split.test).nonzero()
    np.testing.assert_array_equal(np.isin(pairs, rows * toy.n_items + columns), frame["held_out"])
    assert frame["held_out"].sum() == len(rows)


def test_new_users_find_their_community_or_what_is_popular(of, tmp_path):
    (tmp_path / "arrived.csv").write_text("user,item,colour,rating\nann,i13,green,5\nann,i14,,4\nbob,,,\n")
    status, out, _ = of("recommend", "itemknn", "--new-users", "arrived.csv", "-k", "3")
    assert status == 0 and "user ann" in out and "user bob" in out
    assert "note: 1 of 2 users have no interactions: they get the ranking by popularity" in out
    words = out[out.index("user ann") : out.index("user bob")].split()
    mine = [int(word[1:]) for word in words if word[0] == "i" and word[1:].isdigit()]
    assert len(mine) == 3 and all(12 <= item < 24 for item in mine) and not {13, 14} & set(mine)
    status, out, _ = of("recommend", "vbpr", "--new-users", "arrived.csv", "--user", "bob")
    assert status == 0 and "user ann" not in out and "or the average user's" in out


def test_a_pair_given_twice_counts_once(toy, tmp_path):
    (tmp_path / "arrived.csv").write_text("user,item\nbob,i2\nann,i5\nann,i3\nann,i5\n")
    ids, query_users = read_new_users(tmp_path / "arrived.csv", toy)
    assert ids.tolist() == ["bob", "ann"] and query_users.numbers.tolist() == [-1, -1]
    expected = np.zeros((2, toy.n_items))
    expected[0, 2] = expected[1, [3, 5]] = 1
    np.testing.assert_array_equal(query_users.history.toarray(), expected)


def test_new_users_and_new_items_together(of, tmp_path):
    write(tmp_path / "new.npz", new_items(3))
    pd.DataFrame({"user": [7, 7, 8], "item": ["i13", "i14", None]}).to_parquet(tmp_path / "arrived.parquet")
    options = ["--new-users", "arrived.parquet", "--new-items", "new.npz", "--output", "out.csv"]
    status, out, _ = of("recommend", "contentknn", *options)
    assert status == 0 and "where new items tie" in out
    frame = pd.read_csv("out.csv")
    assert frame[frame["user"] == 7]["item"].iloc[0] == "green"
    assert (frame[frame["user"] == 8]["score"] == 0).all() and len(frame) == 6


BAD_ITEMS = {
    "width": (lambda r: r | {"image": r["image"][:, :5]}, ["image is 5 wide", "trained on 8"]),
    "unknown": (lambda r: r | {"imag": r["image"]}, ["'imag' is no modality", "did you mean 'image' or"]),
    "known id": (
        lambda r: r | {"item": np.array(["a", "b", "i3", "c"])},
        ["item 'i3' is not new", "leave it out"],
    ),
    "twice": (lambda r: r | {"item": np.array(["a", "b", "a", "c"])}, ["item 'a' occurs twice"]),
    "not finite": (
        lambda r: r | {"image": r["image"] + [[0], [np.nan], [0], [0]]},
        ["row 1", "NaN or infinity"],
    ),
    "infinite": (
        lambda r: r | {"image": r["image"] + [[0], [0], [np.inf], [0]]},
        ["row 2", "NaN or infinity"],
    ),
    "rows": (lambda r: r | {"image": r["image"][:3]}, ["a row for each of the 4 items"]),
    "mask": (lambda r: r | {"tags.mask": np.ones(3, dtype=bool)}, ["a row for each of the 4 items"]),
    "no ids": (lambda r: {k: v for k, v in r.items() if k != "item"}, ["no column item"]),
    "empty id": (lambda r: r | {"item": np.array(["a", "", "b", "c"])}, ["row 1: item is empty"]),
    "no items": (lambda r: {k: v[:0] for k, v in r.items()}, ["holds no items"]),
    "stray": (lambda r: r | {"sound.mask": np.ones(4, dtype=bool)}, ["'sound.mask' belongs to nothing"]),
    "one value": (lambda r: r | {"image": r["image"][:, 0]}, ["image holds one value an item; expected 8"]),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
def test_bad_new_items_are_one_line(name, of, tmp_path):
    change, words = BAD_ITEMS[name]
    np.savez(tmp_path / "new.npz", **change(new_items()))
    one_line(of("recommend", "contentknn", "--user", "u1", "--new-items", "new.npz"), "new.npz", *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("item,image.0,image.1\na,1,2\n", ["image is 2 wide", "trained on 8"]),
        ("item,image.0,image.2\na,1,2\n", ["no column image.1"]),
        ("item,tags.0,tags.1,tags.2\na,1,,2\n", ["line 2: tags lacks a number"]),
        ("item,tags.0,tags.1,tags.2\na,1,inf,2\n", ["NaN or infinity"]),
        ("item,tags.0,tags.1,tags.2\na,1,x,2\n", ["line 2: tags lacks a number"]),
        ('item,"image\n', ["cannot be read as a table"]),
    ],
)
def test_bad_tables_of_new_items_are_one_line(text, words, of, tmp_path):
    (tmp_path / "new.csv").write_text(text)
    one_line(of("recommend", "contentknn", "--user", "u1", "--new-items", "new.csv"), "new.csv", *words)


@pytest.mark.parametrize("name", ["new.npz", "new.parquet", "new.txt", "none.npz"])
def test_unreadable_files_are_one_line(name, of, tmp_path):
    if name.startswith("new"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not what it says")
    one_line(of("recommend", "contentknn", "--user", "u1", "--new-items", name), name)
    one_line(of("recommend", "contentknn", "--new-users", name), name)


def test_lists_of_two_lengths_are_one_line(of, tmp_path):
    pd.DataFrame({"item": ["a", "b"], "tags": [[1.0, 2.0, 3.0], [1.0]]}).to_parquet(tmp_path / "new.parquet")
    result = of("recommend", "contentknn", "--user", "u1", "--new-items", "new.parquet")
    one_line(result, "new.parquet", "row 1: tags has 1 numbers, others have 3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("user,item\nann,i99\n", ["line 2", "'toy' has no item 'i99'", "did you mean"]),
        ("user,item\nu3,i1\n", ["user 'u3' is not new"]),
        ("user,item,color\nann,i1,red\n", ["'color' is no user attribute", "did you mean 'colour'?"]),
        ("user,item,colour\nann,i1,red\nann,i2,blue\n", ["user 'ann' has two values of colour"]),
        ("user,thing\nann,i1\n", ["no column item"]),
        ("user,item\n,i1\n", ["line 2: user is empty"]),
        ("user,item\n", ["holds no users"]),
    ],
)
def test_bad_new_users_are_one_line(text, words, of, tmp_path):
    (tmp_path / "arrived.csv").write_text(text)
    one_line(of("recommend", "itemknn", "--new-users", "arrived.csv"), "arrived.csv", *words)


def test_what_cannot_be_asked_is_one_line(of, tmp_path):
    write(tmp_path / "new.npz", new_items())
    (tmp_path / "arrived.csv").write_text("user,item\nann,i1\n")
    given = ["--new-items", "new.npz"]
    one_line(of("recommend", "lightgcn", "--user", "u1", *given), "LightGCN cannot rank new items")
    one_line(of("recommend", "itemknn", "--user", "u1", *given), "ItemKNN cannot rank new items")
    one_line(of("recommend", "vbpr", *given), "no users given")
    one_line(of("recommend", "vbpr", "--user", "u1", "--users", "all", *given), "cannot be given together")
    one_line(of("recommend", "vbpr", "--user", "u1", "--pool", "all"), "--new-items")
    one_line(of("recommend", "vbpr", "--users", "all", *given), "48 users are too many to print")
    one_line(of("recommend", "vbpr", "--user", "u1", *given, "--output", "out.txt"), "out.txt", ".parquet")
    one_line(of("recommend", "vbpr", "--new-users", "arrived.csv", "--user", "anna"), "did you mean 'ann'?")
    one_line(of("recommend", "vbpr", "--users", "nobody.txt", *given), "nobody.txt: no such file")
    (tmp_path / "nobody.txt").write_text("\n")
    one_line(of("recommend", "vbpr", "--users", "nobody.txt", *given), "nobody.txt names no user")


def test_items_without_any_content_fall_back_and_say_so(of, tmp_path):
    rows = new_items()
    np.savez(tmp_path / "new.npz", item=rows["item"], title=rows["title"])
    for model in ("contentknn", "vbpr"):
        status, out, _ = of(
            "recommend", model, "--user", "u1", "--new-items", "new.npz", "--output", "out.csv"
        )
        assert status == 0 and "4 of 4 new items" in out and "popularity" in out
        frame = pd.read_csv("out.csv")
        assert len(frame) == 4 and frame["score"].nunique() == 1 and np.isfinite(frame["score"]).all()


def test_a_run_on_controls_or_fillings_refuses_what_it_cannot_follow(root, tmp_path):
    run = load_run(root / "contentknn", str(root))
    asked = RecommendRequest(user="u1", new_items=write(tmp_path / "new.npz", new_items()))
    for content, words in (({"control": "permuted"}, "a control"), ({"fill": "mean"}, "fill=mean")):
        run.config = run.config.model_copy(update={"content": run.config.content.model_copy(update=content)})
        with pytest.raises(Exception, match=words):
            recommend(run, asked)
        run.config = run.config.model_copy(update={"content": type(run.config.content)()})


def test_top_k_puts_ties_in_order():
    lowest, least = torch.finfo(torch.float32).min, -torch.inf
    scores = torch.tensor([[0.0, 3.0, -0.0, 3.0, least], [-2.0, -1.0, lowest, -1.0, 5e-40]])
    places, values = ordered_top_k(scores, 4)
    np.testing.assert_array_equal(places, [[1, 3, 0, 2], [4, 1, 3, 0]])
    np.testing.assert_array_equal(values, np.take_along_axis(scores.numpy(), places, axis=1))
    assert ordered_top_k(scores, 9)[0].shape == (2, 5)


def test_exported_vectors_score_as_the_model_does(of, root, toy):
    status, out, _ = of("export", "lightgcn", "--output", "vectors")
    assert status == 0 and "wrote vectors" in out
    users, items = (np.load(f"vectors/{noun}_vectors.npy", allow_pickle=False) for noun in ("user", "item"))
    user_ids, item_ids = (
        json.loads(Path(f"vectors/{noun}_ids.json").read_text()) for noun in ("user", "item")
    )
    run = load_run(root / "lightgcn", str(root))
    assert user_ids == toy.user_ids.tolist()
    warm = np.flatnonzero(run.data.warm_items)  # LightGCN cannot rank the others
    assert item_ids == toy.item_ids[warm].tolist() and len(warm) < toy.n_items
    expected = run.model.scorer()(np.arange(toy.n_users)).numpy()[:, warm]
    np.testing.assert_allclose(users @ items.T, expected, atol=1e-6)
    about = json.loads(Path("vectors/export.json").read_text())
    assert about["model"] == "lightgcn" and about["items"] == len(warm) and about["width"] == 4


def test_a_model_without_vectors_exports_its_lists_and_says_so(of, root):
    status, out, _ = of("export", "contentknn", "--output", "lists")
    assert status == 0 and "contentknn has no vectors" in out
    run = load_run(root / "contentknn", str(root))
    expected = recommend_to(run, catalogue_users(run), None, k=100).frame
    pd.testing.assert_frame_equal(
        pd.read_parquet("lists/top_n.parquet"), expected[["user", "rank", "item", "score"]]
    )


def test_a_folder_that_cannot_be_made_is_one_line(of, tmp_path):
    (tmp_path / "file").write_text("")
    one_line(of("export", "lightgcn", "--output", "file/vectors"), "cannot write file/vectors")


def test_the_faiss_example_needs_no_torch_and_finds_the_best(of, root):
    pytest.importorskip("faiss", reason="faiss-cpu is not installed: pip install recsys[faiss]")
    of("export", "vbpr", "--output", "vectors")
    script = ROOT / "docs" / "examples" / "faiss_index.py"
    blocked = f"import sys, runpy; sys.modules['torch'] = sys.modules['recsys'] = None; sys.argv[0] = {str(script)!r}; "
    blocked += "runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", blocked, "vectors", "u3", "u40"], capture_output=True, text=True, check=True
    )
    run = load_run(root / "vbpr", str(root))
    for line, user in zip(done.stdout.splitlines(), (3, 40), strict=True):
        scores = run.model.scorer()(np.array([user]))[0].numpy()
        name, *found = line.split()
        assert name == f"u{user}" and len(found) == 10
        for place, entry in zip(np.argsort(-scores, kind="stable"), found, strict=False):
            item, score = entry.split(":")
            assert float(score) == pytest.approx(scores[place], abs=1e-4)
            assert scores[int(item[1:])] == pytest.approx(scores[place], abs=1e-4)
    assert Path("vectors/items.faiss").exists()

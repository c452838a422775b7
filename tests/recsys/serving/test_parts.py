"""What a bundle does beyond its run: users who took more, filters, lists in blocks, and what it does not import."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import recsys
from recsys.errors import UserError
from recsys.serving.arrays import MANIFEST, copy_bundle
from recsys.serving.batch import write_all
from recsys.serving.ids import Ids
from recsys.serving.parts import Query
from recsys.serving.top import GROUP, top_k
from recsys.serving.where import allowed_by, parse_where


@pytest.mark.parametrize("k", [1, 7, 40])
def test_the_largest_scores_in_order_with_ties_by_place(k):
    """Beside a sort, where groups are short cuts and where they are not."""
    rng = np.random.default_rng(0)
    for n in (k, 5 * GROUP, 200 * GROUP + 13):
        scores = rng.integers(-20, 20, (6, n)).astype(np.float32)
        scores[2], scores[3, ::2], scores[4] = 1.0, -np.inf, rng.normal(size=n)
        places, values = top_k(scores, k)
        expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(scores, expected, axis=1))


@pytest.mark.parametrize("wanted", [["b", "ü", "nobody", "a\0", ""], ["b"] * 2000])
def test_ids_are_found_by_bisection_and_by_search(wanted):
    ids = Ids.made_of(np.array(["b", "a", "ü", "c"]), "item", "shop")
    places = {"b": 0, "a": 1, "ü": 2, "c": 3}
    assert ids.rows(wanted).tolist() == [places.get(one, -1) for one in wanted]
    with pytest.raises(UserError, match="'shop' has no item 'x'"):
        ids.known(["a", "x"])


@pytest.mark.parametrize("name", ["ease", "lightgcn", "vbpr"])
def test_who_took_more_moves_towards_it(bundles, name):
    """A user of one half of the shop who takes three things of the other half is offered more of that half."""
    bundle = recsys.load_bundle(bundles[name][1])
    rows = [item for item in bundle.items.names if int(item[1:]) >= 15]
    before = bundle.recipients(["u0"])
    after = bundle.recipients(["u0"], since={"u0": rows[:3]})
    assert after.query.changed.all() and not before.query.changed.any()
    places = bundle.items.rows(rows[3:])
    scores = [bundle.part.scores(recipients.query)[0] for recipients in (before, after)]
    gain = scores[1] - scores[0]
    others = np.setdiff1d(np.arange(30), bundle.items.rows(rows))
    assert gain[places].mean() > gain[others].mean()
    assert not set(rows[:3]) & set(bundle.lists(after, 30)["item"])


def test_a_user_who_took_what_was_known_already_is_not_moved(bundles):
    bundle = recsys.load_bundle(bundles["lightgcn"][1])
    had = bundle.recipients(["u0"])
    again = bundle.items.names[had.query.history.indices[:2]].tolist()
    same = bundle.recipients(["u0"], since={"u0": again})
    assert not same.query.changed.any()
    pd.testing.assert_frame_equal(bundle.lists(same, 9), bundle.lists(had, 9))


def test_lists_move_nobody_and_leave_out_what_was_taken(bundles, shop, tmp_path):
    bundle = recsys.load_bundle(bundles["ease"][1])
    from recsys.serving.parts import Lists

    items = np.tile(np.arange(5, dtype=np.int32), (40, 1))
    part = Lists(items, np.tile(np.arange(5, 0, -1, dtype=np.float32), (40, 1)), bundle.part)
    bundle.part = part
    took = bundle.recipients(["u1"], since={"u1": ["i0"]})
    assert "i0" not in bundle.lists(took, 5)["item"].tolist()
    empty = sp.csr_array((1, 30), dtype=np.float32)
    assert np.isneginf(part.scores(Query(np.array([0]), empty, empty))[0, 5:]).all()


def test_all_users_in_blocks_are_the_lists_one_by_one(bundles, tmp_path, monkeypatch):
    monkeypatch.setattr("recsys.serving.batch.CELLS", 100)
    bundle = recsys.load_bundle(bundles["vbpr"][1])
    where = {"genres": "green"}
    rows = write_all(bundle, tmp_path / "lists.parquet", 4, where=where, exclude=["i1"], threads=2)
    found = pd.read_parquet(tmp_path / "lists.parquet")
    expected = bundle.recommend(k=4, where=where, exclude=["i1"]).drop(columns="new")
    assert rows == len(found)
    assert (
        found[["user", "rank", "item"]].values.tolist() == expected[["user", "rank", "item"]].values.tolist()
    )
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-6)
    with pytest.raises(UserError, match="lists of all users are written as"):
        write_all(bundle, tmp_path / "lists.csv")


def test_conditions_that_are_none_are_refused():
    items = pd.DataFrame({"kind": ["a|b", "b", ""], "year": [1.0, 2.0, np.nan]})
    assert allowed_by({"kind": ["a", "zz"]}, items).tolist() == [True, False, False]
    assert allowed_by({"year": {"max": 1}}, items).tolist() == [True, False, False]
    assert allowed_by({"year": ["2", 7]}, items).tolist() == [False, True, False]
    for where in (
        {"kin": "a"},
        {"year": {}},
        {"year": {"min": "1"}},
        {"year": {"least": 1}},
        {"kind": [None]},
    ):
        with pytest.raises(UserError):
            allowed_by(where, items)
    for text in ("kind", "=a", "year=a..b"):
        with pytest.raises(UserError, match="--where"):
            parse_where([text])


def test_a_command_on_a_bundle_imports_neither_torch_nor_lightning_nor_sklearn(bundles):
    code = (
        "import sys\nfrom recsys.cli.app import main\n"
        f"try: main(['recommend', '--bundle', {str(bundles['vbpr'][1])!r}, '--user', 'u1'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'pytorch_lightning', 'sklearn', 'matplotlib', 'fastapi'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_bundle_answers_from_its_folder_alone(recsys, toy, tmp_path):
    """Trained, packaged, moved; then the data set is gone."""
    trained = ["--model", "ease", "--dataset", "toy", "--set", "content=1", "--out", "run"]
    assert recsys("train", *trained)[0] == 0
    status, out, _ = recsys("package", "--run", "run", "--out", "bundle")
    assert status == 0 and "new items: exact" in out
    status, expected, _ = recsys(
        "recommend", "--run", "run", "--user", "u1", "--data-root", str(tmp_path / "gone")
    )
    assert status == 0
    (tmp_path / "bundle").rename(tmp_path / "moved")
    assert recsys("recommend", "--bundle", "moved", "--user", "u1")[:2] == (0, expected)
    assert recsys("recommend", "--bundle", "moved", "--all-users", "--out", "all.parquet")[0] == 0
    assert len(pd.read_parquet("all.parquet")) == 10 * toy.n_users
    status, _, error = recsys("recommend", "--bundle", "moved", "--user", "u999")
    assert status == 2 and "has no user 'u999'" in error and error.count("\n") == 1
    assert recsys("package", "--run", "run", "--out", "moved")[0] == 0  # a bundle may be replaced
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    assert recsys("package", "--run", "run", "--out", "other")[0] == 2


def test_damaged_bundles_are_one_line(bundles, tmp_path):
    source = bundles["vbpr"][1]
    for number, path in enumerate(sorted(source.iterdir())):
        folder = tmp_path / str(number)
        copy_bundle(source, folder)
        content = (folder / path.name).read_bytes()
        for damaged in (None, b"", content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
            (folder / path.name).unlink()
            if damaged is not None:
                (folder / path.name).write_bytes(damaged)
            if path.name == MANIFEST and damaged == content[:-1]:
                (folder / path.name).write_bytes(
                    content[: len(content) // 2]
                )  # less than its last line's end
            with pytest.raises(UserError, match="bundle") as error:
                recsys.load_bundle(folder)
            assert "\n" not in str(error.value)
            (folder / path.name).write_bytes(content)
    manifest = (source / MANIFEST).read_text()
    copy_bundle(source, tmp_path / "hostile")
    for old, new in (
        ('"000.npy"', '"../000.npy"'),
        ('"part": "Vectors"', '"part": "os"'),
        ('"part": {', '"port": {'),
    ):
        (tmp_path / "hostile" / MANIFEST).write_text(manifest.replace(old, new))
        with pytest.raises(UserError, match="bundle"):
            recsys.load_bundle(tmp_path / "hostile")

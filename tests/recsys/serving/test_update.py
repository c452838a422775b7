"""What is folded into a bundle counts as what a running service is told, at once or in parts; it is kept whole."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import recsys
from recsys.errors import DataError, UserError
from recsys.models import MODELS
from recsys.runs.config import RunConfig
from recsys.runs.package import package
from recsys.runs.run import execute, prepare
from recsys.serving.arrays import check_files, read_manifest
from recsys.serving.state import State

QUICK = {"max_epochs": 2, "batch_size": 64}
TOOK = [("u1", "i1"), ("u1", "i30"), ("u20", "i0"), ("u20", "i0"), ("a", "i2"), ("a", "i14"), ("b", "i30")]
ARRIVED = [("n2", 1, 1), ("n1", 14, 0), ("n0", None, 0)]
"""New items: id, the item whose content theirs is near to, None where they have none, and whether they have tags."""


def bundle_of(name, toy, folder, split="random"):
    model = MODELS.get(name)
    own = {"width": 8} if "width" in model.Settings.model_fields else {}
    own |= {} if model.closed_form else QUICK
    own |= {"lambdarank": {"trees": 10, "least": 5}, "ease": {"content": 1.0}}.get(name, {})
    run = prepare(RunConfig(model=name, dataset="toy", split=split, settings=own), toy)
    execute(run, folder / f"run-{name}")
    run.model.eval()
    return package(run, folder / f"bundle-{name}")


@pytest.fixture(scope="module")
def bundles(toy, tmp_path_factory):
    """Bundles of two kinds of model; not to be written to."""
    folder = tmp_path_factory.mktemp("bundles")
    return {name: recsys.load_bundle(bundle_of(name, toy, folder)) for name in ("ease", "mmhcl")}


def new_items(toy, arrived=ARRIVED):
    image, tags = (toy.modalities[name].features for name in ("image", "tags"))
    rows = [
        {
            "item": name,
            "image": None if of is None else (image[of] + 0.01).tolist(),
            "tags": tags[of].tolist() if tagged else None,
        }
        for name, of, tagged in arrived
    ]
    return pd.DataFrame(rows).dropna(axis=1, how="all")


def frame_of(pairs):
    return pd.DataFrame(pairs, columns=["user", "item"])


def same(ours, theirs):
    """The same items for the same users, all that there are, with the same scores up to rounding."""
    one, other = (frame.set_index(["user", "item"])["score"].sort_index() for frame in (ours, theirs))
    assert one.index.equals(other.index) and one.index.is_unique
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * max(1.0, other.abs().max()))


@pytest.mark.parametrize("name", sorted(MODELS.builtin))
def test_an_update_ranks_as_a_service_that_was_told_the_same(name, toy, tmp_path):
    folder = bundle_of(name, toy, tmp_path, "cold-item")
    state = State(folder, tmp_path / "state")
    state.open()
    bundle = recsys.load_bundle(folder)
    pairs, items = list(TOOK), None
    if not bundle.about["refuses_items"]:
        items = new_items(toy)
        state.add_items(items.where(items.notna(), None).to_dict("records"))
        pairs += [("u1", "n1"), ("a", "n2"), ("c", "n2")]
    state.add_interactions(pairs)
    told = state.snapshot()
    updated = recsys.load_bundle(bundle.updated(frame_of(pairs), items).save(tmp_path / "updated"))
    asked = ["u1", "u2", "u20", *sorted({user for user, _ in pairs} - {"u1", "u20"})]
    expected = told.bundle.lists(told.bundle.recipients(asked, since=told.since), 50)
    found = updated.recommend(asked, k=50)
    assert not found["new"].any() and len(found) > 100
    same(found, expected)
    brought = updated.about["updated"]
    assert brought["users"] == len({user for user, _ in pairs}) - 2
    assert brought["items"] == (0 if items is None else 3)
    assert brought["interactions"] + brought["known"] == len(set(pairs))
    assert updated.about["users"] == toy.n_users + brought["users"] == len(updated.users.names)
    before = bundle.recommend(["u2"], k=50).drop(
        columns="new"
    )  # nothing new of them: the same scores as ever
    kept = found[(found["user"] == "u2") & found["item"].isin(toy.item_ids)]["score"].to_numpy()
    np.testing.assert_allclose(kept, before["score"], rtol=0, atol=1e-5 * max(1.0, np.abs(kept).max()))


def test_what_is_new_counts_and_what_is_known_is_said(toy, bundles):
    for bundle in bundles.values():
        user, item = (int(toy.interactions[noun].iloc[0]) for noun in ("user", "item"))
        known = (str(toy.user_ids[user]), str(toy.item_ids[item]))
        nothing = bundle.updated(frame_of([known, known]))
        brought = nothing.about["updated"]
        # An item of the test part is known, and no part of the history yet.
        assert brought["interactions"] + brought["known"] == 1
        again = nothing.updated(frame_of([known]))
        assert again.about["updated"] == {"users": 0, "items": 0, "interactions": 0, "known": 1, "notes": []}
        assert nothing.recommend(k=50).equals(again.recommend(k=50))
        assert bundle.recommend(k=50).equals(bundle.updated().recommend(k=50))
        best = bundle.recommend(["u3"], k=1)["item"].item()
        later = bundle.updated(frame_of([("u3", best)]))
        assert later.about["updated"]["interactions"] == 1
        before, after = (one.recommend(["u3"], k=50).set_index("item")["score"] for one in (bundle, later))
        assert best not in after.index and not np.allclose(before[after.index], after)


def test_new_users_and_items_are_known_from_then_on(toy, bundles):
    for bundle in bundles.values():
        later = bundle.updated(frame_of([("me", "i1"), ("me", "i2"), ("nobody", "")]), new_items(toy))
        alone = bundle.recommend(k=50, new_users={"me": ["i1", "i2"]})
        found = later.recommend(["me"], k=50)
        assert set(found["item"]) - set(alone["item"]) == {"n0", "n1", "n2"}
        shared = found[found["item"].isin(toy.item_ids)]
        assert shared["item"].tolist() == alone["item"].tolist()
        assert later.recommend(["nobody"], k=3)["item"].size == 3
        with pytest.raises(UserError, match="'me' is not new"):
            later.recommend(k=1, new_users={"me": ["i1"]})
        with pytest.raises(DataError, match="item 'n2' is not new"):
            later.updated(new_items=new_items(toy))
        # One that comes then is placed as if it had come to the bundle itself.
        third = new_items(toy, [("n3", 13, 1)])
        scores = [
            one.recommend(["u4"], k=50, new_items=third, pool="all").set_index("item")["score"]
            for one in (bundle, later)
        ]
        assert (
            scores[0]["n3"] == scores[1]["n3"] and later.recommend(["u4"], k=50, new_items=third)["new"].all()
        )


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["u0", "u5", "u40", "x", "y"]),
        st.sampled_from(["i0", "i7", "i30", "n0", "n1", "n2"]),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, data=st.data())
def test_two_updates_are_one(toy, bundles, events, data):
    cut = data.draw(st.integers(0, len(events)))
    first, then = events[:cut], events[cut:]
    early = [one for one in ARRIVED if one[0] in {item for _, item in first}]
    late = [one for one in ARRIVED if one not in early]
    for bundle in bundles.values():
        once = bundle.updated(frame_of(events), new_items(toy, [*early, *late]))
        twice = bundle.updated(frame_of(first), new_items(toy, early) if early else None)
        twice = twice.updated(frame_of(then), new_items(toy, late) if late else None)
        users = [*toy.user_ids, *sorted({user for user, _ in events} - set(toy.user_ids))]
        same(once.recommend(users, k=50), twice.recommend(users, k=50))


def test_the_files_of_an_updated_bundle_are_whole_and_no_more_than_needed(toy, bundles, tmp_path):
    for name, bundle in bundles.items():
        folder = bundle.updated(frame_of(TOOK), new_items(toy)).save(tmp_path / name)
        manifest = read_manifest(folder)
        check_files(folder, manifest)
        assert sorted(path.name for path in folder.iterdir()) == sorted([*manifest["files"], "bundle.json"])
        size, before = (
            sum(file["bytes"] for file in read_manifest(place)["files"].values())
            for place in (folder, bundle.folder)
        )
        assert before < size < 1.6 * before
        # In the place of the one that is read, which goes on answering.
        loaded = recsys.load_bundle(folder)
        expected = loaded.recommend(k=5)
        loaded.updated(frame_of([("late", "i3")])).save(folder)
        assert loaded.recommend(k=5).equals(expected)
        assert recsys.load_bundle(folder).recommend(["late"], k=2)["user"].tolist() == ["late", "late"]


def test_a_bundle_with_items_behind_its_catalogue_is_kept_with_them_in_it(toy, bundles, tmp_path):
    for name, bundle in bundles.items():
        behind, _ = bundle.with_items(new_items(toy))
        kept = recsys.load_bundle(behind.save(tmp_path / name))
        same(kept.recommend(k=50), bundle.updated(new_items=new_items(toy)).recommend(k=50))
        assert kept.about["items"] == toy.n_items + 3


def test_a_manifest_that_is_no_updated_bundles_is_refused_in_one_line(bundles, tmp_path):
    for place, trained in enumerate((7, {"user": "many"}, {"item": None}, ["user"])):
        shutil.copytree(bundles["ease"].folder, tmp_path / str(place))
        manifest = read_manifest(bundles["ease"].folder) | {"trained": trained}
        (tmp_path / str(place) / "bundle.json").write_text(json.dumps(manifest))
        with pytest.raises(UserError, match=r"is no whole bundle: bundle\.json lacks"):
            recsys.load_bundle(tmp_path / str(place))


def test_bundles_of_before_there_were_updates_are_read(toy, bundles, tmp_path):
    for name, bundle in bundles.items():
        shutil.copytree(bundle.folder, tmp_path / name)
        manifest = read_manifest(bundle.folder)
        del manifest["trained"], manifest["before"]
        (tmp_path / name / "bundle.json").write_text(json.dumps(manifest))
        assert recsys.load_bundle(tmp_path / name).recommend(k=50).equals(bundle.recommend(k=50))


def test_raw_content_is_encoded_as_in_training_after_an_update(tmp_path):
    """An encoder that is fitted to the catalogue stays the one that training knew."""
    run = recsys.train("vbpr", recsys.toy_data(), max_epochs=1)
    bundle = recsys.load_bundle(run.package(tmp_path / "bundle"))
    lines = [("x1", "purple bowl", "kitchen"), ("x2", "purple rake", "garden")]
    items = pd.DataFrame(lines, columns=["sku", "title", "department"])
    once = bundle.updated(new_items=items)
    twice = bundle.updated(new_items=items.iloc[:1]).updated(new_items=items.iloc[1:])
    same(once.recommend(k=100), twice.recommend(k=100))
    assert twice.attributes["title"].tolist()[-2:] == ["purple bowl", "purple rake"]


@pytest.fixture
def shop_run(recsys, tmp_path):
    status, _, err = recsys(
        *("train", "--model", "ease", "--dataset", "toy", "--split", "random", "--set", "content=1.0"),
        *("--out", tmp_path / "run"),
    )
    assert status == 0, err
    return tmp_path / "run"


def test_the_command(recsys, shop_run, toy, tmp_path):
    frame_of([*TOOK, ("me", "n1")]).to_csv("new.csv", index=False)
    new_items(toy).to_parquet("items.parquet")
    folded = ("--interactions", "new.csv", "--new-items", "items.parquet")
    status, out, err = recsys("update", "--run", shop_run, *folded, "--out", "later")
    assert status == 0, err
    assert "51 users, 39 items" in out and "new: 3 users, 3 items, " in out
    status, out, err = recsys("recommend", "--run", shop_run, "--user", "me")
    assert status == 2 and "no user 'me'" in err  # --out leaves the run's own as it was
    assert recsys("update", "--run", shop_run, *folded)[0] == 0
    status, out, err = recsys("recommend", "--run", shop_run, "--user", "me")
    assert status == 0 and "me" in out, err
    status, out, _ = recsys("update", "--bundle", "later", "--interactions", "new.csv")
    assert status == 0 and "new: 0 users, 0 items, 0 interactions; 7 interactions were known" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a trained run with --run"),
        (("--run", "run", "--bundle", "b"), "not both"),
        (("--run", "run"), "nothing to fold in"),
        (("--run", "nowhere", "--interactions", "new.csv"), "nowhere keeps no bundle of its weights"),
        (("--run", "run", "--interactions", "none.csv"), "none.csv"),
        (("--run", "run", "--interactions", "new.csv"), "new.csv: line 3: 'toy' has no item 'n1'"),
        (
            ("--run", "run", "--interactions", "new.csv", "--out", "."),
            "holds no bundle; choose another folder",
        ),
    ],
)
def test_the_commands_errors_are_one_line_and_leave_nothing(recsys, shop_run, tmp_path, arguments, message):
    item = "i1" if "--out" in arguments else "n1"
    frame_of([("u1", "i2"), ("me", item)]).to_csv("new.csv", index=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    status, _, err = recsys("update", *arguments)
    assert status == 2 and message in err and len(err.strip().splitlines()) == 1, err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_new_items_of_a_model_that_cannot_rank_them_are_refused(toy, tmp_path):
    bundle = recsys.load_bundle(bundle_of("bpr", toy, tmp_path))
    with pytest.raises(UserError, match="bpr cannot rank new items"):
        bundle.updated(new_items=new_items(toy))


def test_a_service_takes_an_updated_bundle_and_its_log_adds_nothing(toy, bundles, tmp_path):
    for name, bundle in bundles.items():
        folder = tmp_path / name
        shutil.copytree(bundle.folder, folder)
        state = State(folder, tmp_path / f"state-{name}")
        state.open()
        items = new_items(toy)
        state.add_items(items.where(items.notna(), None).to_dict("records"))
        state.add_interactions([*TOOK, ("u1", "n1")])
        before = state.snapshot()
        asked = ["u1", "u2", "a", "b"]
        expected = before.bundle.lists(before.bundle.recipients(asked, since=before.since), 50)
        recsys.load_bundle(folder).updated(frame_of([*TOOK, ("u1", "n1")]), items).save(folder)
        state.reload()
        after = state.snapshot()
        assert after.version != before.version and after.bundle.n_catalogue == toy.n_items + 3
        same(after.bundle.lists(after.bundle.recipients(asked, since=after.since), 50), expected)
        state.add_items(new_items(toy, [("n3", 3, 1)]).to_dict("records"))
        state.add_interactions([("u2", "n3"), ("fresh", "n2")])
        told = state.snapshot()
        assert (
            "n3"
            not in told.bundle.lists(told.bundle.recipients(["u2"], since=told.since), 50)["item"].tolist()
        )
        later = recsys.load_bundle(folder).updated(
            frame_of([("u2", "n3"), ("fresh", "n2")]), new_items(toy, [("n3", 3, 1)])
        )
        asked = [*asked, "fresh"]
        same(
            later.recommend(asked, k=50),
            told.bundle.lists(told.bundle.recipients(asked, since=told.since), 50),
        )

"""A bundle answers as its run does, from its own folder alone."""

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.inputs.new_data import new_users_of
from recsys.inputs.requests import NewItems
from recsys.models import MODELS
from recsys.runs.config import RunConfig
from recsys.runs.package import package
from recsys.runs.recommend import catalogue_users, new_users, recommend_to
from recsys.runs.run import execute, prepare

QUICK = {"max_epochs": 2, "batch_size": 64}


def trained(name, toy, folder, split="random"):
    model = MODELS.get(name)
    settings = {"width": 8} if "width" in model.Settings.model_fields else {}
    settings |= {} if model.closed_form else QUICK
    settings |= {"lambdarank": {"trees": 10, "least": 5}}.get(name, {})
    run = prepare(RunConfig(model=name, dataset="toy", split=split, settings=settings), toy)
    execute(run, folder)
    run.model.eval()
    return run


def same_lists(ours, theirs):
    """The same items with the same scores; scores that differ by rounding alone may stand in another order."""
    assert len(ours) == len(theirs)
    one, other = (frame.set_index(["user", "item"])["score"] for frame in (ours, theirs))
    size = max(1.0, np.abs(theirs["score"]).max())
    np.testing.assert_allclose(ours["score"], theirs["score"], atol=1e-5 * size, rtol=0)
    shared = one.index.intersection(other.index)
    np.testing.assert_allclose(one[shared], other[shared], atol=1e-5 * size, rtol=0)
    for missing in one.index.difference(other.index):  # tied with the last of that user's list
        last = theirs.loc[theirs["user"] == missing[0], "score"].min()
        assert one[missing] == pytest.approx(last, abs=1e-5 * size)


@pytest.mark.parametrize("split", ["random", "cold-item", "cold-user"])
@pytest.mark.parametrize("name", sorted(MODELS.builtin))
def test_a_bundle_gives_the_lists_of_its_run(name, split, toy, tmp_path):
    run = trained(name, toy, tmp_path / "run", split)
    bundle = recsys.load_bundle(package(run, tmp_path / "bundle"))
    expected = recommend_to(run, catalogue_users(run), None, k=12).frame
    same_lists(bundle.recommend(k=12), expected)


EXACT = {"cm3", "freedom", "bm3", "mmhcl", "contentknn", "contentridge", "hyperwalk", "confluence", "student"}
"""Models whose bundles place new items by the models' own rule, among others."""
STOOD_IN_FOR = {
    "aff",
    "clhe",
    "clhe-signals",
    "lambdarank",
    "multvae",
    "transformer",
}
"""Models whose bundles place new users otherwise than they do."""


@pytest.mark.parametrize("name", sorted(MODELS.builtin))
def test_new_users_and_items_are_placed_as_the_bundle_says(name, toy, tmp_path):
    """Exactly as the run does where it says so, and refused where it says that."""
    run = trained(name, toy, tmp_path / "run", "cold-item")
    bundle = recsys.load_bundle(package(run, tmp_path / "bundle"))
    # A new user of two communities, one of a single thing, one of every item, cold ones too, and one without any.
    taken = {"a": ["i1", "i14"], "b": ["i30"], "c": list(toy.item_ids), "d": [""]}
    arrived = pd.DataFrame([(user, item) for user, items in taken.items() for item in items])
    arrived.columns = ["user", "item"]
    users = new_users(new_users_of(arrived, toy, "new"), "new")
    assert (bundle.about["new_users"] == "exact") == (name not in STOOD_IN_FOR)
    if bundle.about["new_users"] == "exact":
        same_lists(bundle.recommend(k=9, new_users=arrived), recommend_to(run, users, None, k=9).frame)
    else:
        assert bundle.recommend(k=9, new_users=arrived).attrs["notes"]
    assert name not in EXACT or bundle.about["new_items"] == "exact"
    tags, image = (toy.modalities[key] for key in ("tags", "image"))
    rows = np.array([1, 2, 13, 26, 30])
    items = NewItems(
        np.array(["n1", "n2", "n3", "n4", "n5"]),
        {
            "image": Modality(image.features[rows] + 0.01, np.array([True, True, True, True, False])),
            "tags": Modality(tags.features[rows] * (rows != 30)[:, None], tags.mask[rows] & (rows != 30)),
        },
        toy.item_attributes.iloc[rows].reset_index(drop=True),
    )
    items.modalities["image"].features[4] = 0
    if bundle.about["refuses_items"]:
        with pytest.raises(UserError, match="cannot rank new items"):
            bundle.recommend(new_items=items)
        return
    found = bundle.recommend(k=50, new_items=items, pool="all")
    assert set(items.ids) <= set(found["item"])
    if bundle.about["new_items"] == "exact":
        expected = recommend_to(run, catalogue_users(run), items, new_only=False, k=50).frame
        same_lists(found, expected)

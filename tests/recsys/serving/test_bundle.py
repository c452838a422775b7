"""A bundle answers as its run does, from its own folder alone."""

import numpy as np
import pytest

import recsys
from recsys.models import MODELS
from recsys.runs.config import RunConfig
from recsys.runs.package import package
from recsys.runs.recommend import catalogue_users, recommend_to
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

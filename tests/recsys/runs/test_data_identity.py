"""Data have one identity, the same with every number of threads, and a run answers for its own data alone."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import recsys as engine
from recsys.datasets.bundles import bundle_view
from recsys.datasets.cards import load_dataset
from recsys.datasets.convert import convert
from recsys.datasets.dataset import Bundles
from recsys.runs.versions import data_checksum

SUMS = """
import hashlib
import recsys
from recsys.runs.versions import data_checksum
data = recsys.load_dataset("ml-100k")
print(data_checksum(data))
for modality in data.modalities.values():
    print(hashlib.sha256(modality.features.tobytes()).hexdigest())
"""


def test_identity_and_features_are_the_same_with_every_number_of_threads(tmp_path):
    pytest.importorskip("recbole", reason="ml-100k comes inside the recbole wheel")
    found = set()
    for threads in ("1", "2", "4"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        env = {k: v for k, v in os.environ.items() if k != "RECSYS_DATA"} | dict.fromkeys(names, threads)
        found.add(subprocess.check_output([sys.executable, "-c", SUMS], env=env, cwd=tmp_path, text=True))
    assert len(found) == 1


def test_computed_features_count_by_what_they_were_made_of():
    data = engine.toy_data()
    title = data.modalities["title"]
    assert title.made_of and data_checksum(data) == data_checksum(engine.toy_data())
    assert data_checksum(data) != data_checksum(engine.toy_data(seed=1))


def test_a_converted_data_set_and_a_view_keep_the_identity(tmp_path):
    data = engine.toy_data()
    convert(data, tmp_path / "toy")
    assert data_checksum(load_dataset("toy", tmp_path)) == data_checksum(data)
    pairs = pd.DataFrame({"bundle": [0, 0, 1, 1], "item": [0, 1, 2, 3]})
    owners = pd.DataFrame({"user": [0, 1], "bundle": [0, 1]})
    bundled = replace(data, bundles=Bundles(pairs, np.array(["a", "b"]), owners))
    assert data_checksum(bundle_view(bundled)) == data_checksum(bundled) != data_checksum(data)


@pytest.fixture
def shop(tmp_path):
    """A data root with the data set `shop`, and the way to write it anew, changed."""

    def write(**changed):
        data = engine.toy_data()
        users = data.user_ids[data.interactions["user"]]
        items = data.item_ids[data.interactions["item"]]
        clicks = pd.DataFrame({"user": users, "item": items})
        products = data.item_attributes.assign(item=data.item_ids)
        photos = np.random.default_rng(0).normal(size=(data.n_items, 4)).astype(np.float32)
        clicks, products, photos = (
            changed.get(name, lambda value: value)(value)
            for name, value in {"clicks": clicks, "products": products, "photos": photos}.items()
        )
        folder = tmp_path / "root" / "shop"
        folder.mkdir(parents=True, exist_ok=True)
        clicks.to_csv(folder / "clicks.csv", index=False)
        products.to_csv(folder / "products.csv", index=False)
        np.save(folder / "photos.npy", photos)
        (folder / "card.yaml").write_text(
            "name: shop\nreader: table\noptions:\n  interactions: clicks.csv\n"
            "  items: {file: products.csv, id: item}\n  features: {photo: {file: photos.npy}}\n"
        )
        return tmp_path / "root"

    return write


CHANGES = {
    "a feature file in another row order": {"photos": lambda photos: photos[::-1]},
    "an item left and another came": {
        "clicks": lambda clicks: clicks.replace({"item": {"p00": "q00"}}),
        "products": lambda products: products.replace({"item": {"p00": "q00"}}),
    },
    "an attribute": {"products": lambda products: products.replace({"title": {"red pan": "old pan"}})},
    "an interaction": {"clicks": lambda clicks: clicks.iloc[1:]},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_on_changed_data_is_not_taken_up(shop, recsys, tmp_path, monkeypatch, change, finished):
    monkeypatch.setenv("RECSYS_DATA", str(shop()))
    given = ["--model", "vbpr", "--dataset", "shop", "--set", "max_epochs=2"]
    out = str(tmp_path / "run")
    assert recsys("train", *given, "--out", out)[0] == 0
    if not finished:
        (tmp_path / "run" / "metrics.json").unlink()
    assert recsys("train", *given, "--out", out, "--resume")[0] == 0
    if not finished:
        (tmp_path / "run" / "metrics.json").unlink()
    status, before, _ = recsys("recommend", "--run", out, "--user", "u1")
    assert status == 0
    shop(**CHANGES[change])
    for command in (
        ["train", *given, "--out", out, "--resume"],
        ["recommend", "--run", out, "--user", "u1", "--held-out"],
        ["export", "--run", out, "--output", str(tmp_path / "vectors")],
    ):
        status, _, error = recsys(*command)
        assert status == 2 and "has changed since this run was trained" in error, command
        assert error.count("\n") == 1
    assert not (tmp_path / "vectors").exists()
    # What it learned answers from its own folder: nothing of the changed files is read.
    assert recsys("recommend", "--run", out, "--user", "u1")[:2] == (0, before)
    (tmp_path / "arrived.csv").write_text("user,item\nann,p01\n")
    new_users = ["--new-users", str(tmp_path / "arrived.csv")]
    assert recsys("recommend", "--run", out, *new_users)[0] == 0
    items = "item,title,photo.0,photo.1,photo.2,photo.3\nnew,green pan,1,0,0,0\n"
    (tmp_path / "items.csv").write_text(items)
    status, printed, error = recsys(
        "recommend", "--run", out, "--user", "u1", "--new-items", str(tmp_path / "items.csv")
    )
    assert status == 0 and "answered from the run's bundle" in printed and "green pan" in printed, error

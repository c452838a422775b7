"""Vectors in every format find what the scores rank; towers give what torch gives."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from recsys.errors import UserError
from recsys.inputs.requests import NewItems
from recsys.runs.config import RunConfig
from recsys.runs.export import export_as, export_vectors
from recsys.runs.run import execute, prepare
from recsys.runs.towers import towers
from recsys.serving.parts import Bank


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    settings = {"max_epochs": 3, "width": 8}
    run = prepare(RunConfig(model="vbpr", dataset="toy", split="cold-item", settings=settings), toy)
    execute(run, tmp_path_factory.mktemp("export") / "run")
    run.model.eval()
    return run


@pytest.fixture(scope="module")
def scores(run):
    return run.model.scorer(run.data.query_users(run.support("test")))(np.arange(run.dataset.n_users)).numpy()


def test_parquet_holds_the_vectors(run, scores, tmp_path):
    export_vectors(run, tmp_path, ["parquet"])
    tables = [pd.read_parquet(tmp_path / f"{noun}_vectors.parquet") for noun in ("user", "item")]
    users, items = (np.stack(table["vector"].to_numpy()) for table in tables)
    assert tables[1]["id"].tolist() == run.dataset.item_ids.tolist()
    np.testing.assert_allclose(users @ items.T, scores, atol=1e-5)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_faiss_finds_the_best_items(run, scores, kind, tmp_path):
    faiss = pytest.importorskip("faiss")
    export_vectors(run, tmp_path, [f"faiss-{kind}", "npy"])
    index = faiss.read_index(str(tmp_path / f"items.{kind}.faiss"))
    found, places = index.search(np.load(tmp_path / "user_vectors.npy"), 5)
    best = np.sort(scores, axis=1)[:, ::-1][:, :5]
    assert index.ntotal == len(json.loads((tmp_path / "item_ids.json").read_text()))
    np.testing.assert_allclose(found, best, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(scores, places, axis=1), best, atol=1e-5)


def test_usearch_finds_the_best_items(run, scores, tmp_path):
    index_module = pytest.importorskip("usearch.index")
    export_vectors(run, tmp_path, ["usearch", "npy"])
    index = index_module.Index.restore(str(tmp_path / "items.usearch"))
    users = np.load(tmp_path / "user_vectors.npy")
    best = np.sort(scores, axis=1)[:, ::-1][:, :5]
    for user, vector in enumerate(users):
        found = index.search(vector, 5)
        np.testing.assert_allclose(scores[user][found.keys.astype(int)], best[user], atol=1e-5)


def test_towers_in_onnx_give_what_torch_and_the_bundle_give(run, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    export_vectors(run, tmp_path, ["onnx"])
    user, item, names = towers(run)
    rng = np.random.default_rng(0)
    history = (rng.random((7, run.dataset.n_items)) < 0.2).astype(np.float32)
    history[3] = 0
    session = runtime.InferenceSession(tmp_path / "user_tower.onnx")
    (found,) = session.run(["vector"], {"history": history})
    with torch.no_grad():
        np.testing.assert_allclose(found, user(torch.from_numpy(history)).numpy(), atol=1e-5)
    np.testing.assert_allclose(found, run.model.encode_users(sp.csr_array(history)).numpy(), atol=1e-4)
    assert item is not None
    rows = rng.integers(0, run.dataset.n_items, 5)
    contents = {name: run.data.modalities[name].features[rows] for name in names}
    session = runtime.InferenceSession(tmp_path / "item_tower.onnx")
    (found,) = session.run(["vector"], contents)
    with torch.no_grad():
        expected = item(*(torch.from_numpy(contents[name]) for name in names)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    kind = type(run.data.modalities["image"])
    new = NewItems(
        np.array([f"n{n}" for n in range(5)]),
        {name: kind(contents[name], run.data.modalities[name].mask[rows]) for name in names},
        run.dataset.item_attributes.iloc[rows],
    )
    part = run.model.vector_part(run.data.query_users())
    placed = part.with_items(new, Bank(run.data.modalities, run.data.warm_items)).items[-5:]
    # Ties of one-hot tags may take other neighbours.
    assert np.abs(found - placed).max() < 0.2 * np.abs(placed).max()


def test_an_unknown_format_is_refused_with_those_that_there_are(run, tmp_path):
    with pytest.raises(UserError, match=r"there is no format 'faiss-flt'.*faiss-flat"):
        export_as(run, tmp_path / "x", ["faiss-flt"])
    assert not (tmp_path / "x").exists()

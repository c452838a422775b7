"""A run's graphs for torch-geometric, in memory and as files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import recsys as package
from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.runs.graphs import ABOUT_FILE, ARRAYS_FILE, load_graph


@pytest.fixture(scope="module")
def run(toy):
    tags = toy.modalities["tags"]
    sparse = {**toy.modalities, "tags": Modality(sp.csr_array(tags.features), tags.mask)}
    return package.train("pop", replace(toy, modalities=sparse), split="cold-item")


def test_the_graph_holds_the_training_part_and_the_content(run):
    graph, data = run.graph("pyg"), run._run.data
    assert graph["user"].num_nodes == data.n_users and graph["item"].num_nodes == data.n_items
    edges = {tuple(edge) for edge in graph["user", "takes", "item"].edge_index.T.tolist()}
    assert edges == set(zip(*(c.tolist() for c in data.interactions.nonzero()), strict=True))
    assert {(u, i) for i, u in graph["item", "taken_by", "user"].edge_index.T.tolist()} == edges
    assert np.array_equal(graph["item"].x_image.numpy(), data.modalities["image"].features)
    assert np.array_equal(graph["item"].x_tags.to_dense().numpy(), data.modalities["tags"].features.toarray())
    assert np.array_equal(graph["item"].present_tags.numpy(), data.modalities["tags"].mask)


def test_hypergraphs_are_mmhcls(run):
    data = run._run.data
    users, items = run.graph("pyg", "users"), run.graph("pyg", "items", k=3)
    assert users.num_nodes == data.n_users and items.num_nodes == data.n_items
    assert users.edge_index.shape[1] == data.interactions.nnz
    found = sp.coo_array(
        (np.ones(items.edge_index.shape[1]), items.edge_index.numpy()), (data.n_items, 2 * data.n_items)
    )
    expected = sp.hstack([data.membership_graph(name, 3) for name in data.modalities])
    assert (found.toarray() == expected.toarray()).all()
    cold = np.flatnonzero(~data.warm_items)
    assert len(cold) and not set(cold.tolist()) & set(items.edge_index[0].tolist())


def test_files_give_the_same_graphs(run, tmp_path):
    run.export(tmp_path, formats=["pyg"])
    for kind in ("interactions", "users", "items"):
        ours, read = run.graph("pyg", kind).to_dict(), load_graph(tmp_path, kind).to_dict()
        flat = [[*torch.utils._pytree.tree_leaves(graph)] for graph in (ours, read)]
        assert len(flat[0]) == len(flat[1]) > 1
        for a, b in zip(*flat, strict=True):
            a, b = (x.to_dense() if isinstance(x, torch.Tensor) and x.is_sparse else x for x in (a, b))
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    about = json.loads((tmp_path / ABOUT_FILE).read_text())
    assert about["user_ids"] == run.dataset.user_ids.tolist()


def test_what_cannot_be_is_told_in_one_line(run, tmp_path):
    bare = package.train("pop", replace(run.dataset, modalities={}))
    run.export(tmp_path, formats=["pyg"])
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / ABOUT_FILE).write_bytes((tmp_path / ABOUT_FILE).read_bytes())
    (damaged / ARRAYS_FILE).write_bytes((tmp_path / ARRAYS_FILE).read_bytes()[:90])
    cases = {
        "known: pyg": lambda: run.graph("dgl"),
        "did you mean 'items'": lambda: run.graph("pyg", "item"),
        "did you mean 'pyg'": lambda: run.export(tmp_path, formats=["pygg"]),
        "no hypergraph of items": lambda: bare.graph("pyg", "items"),
        "write it with `recsys export --as pyg`": lambda: load_graph(tmp_path / "none"),
        "holds a damaged graph": lambda: load_graph(damaged),
    }
    for told, call in cases.items():
        with pytest.raises(UserError) as error:
            call()
        assert told in str(error.value) and "\n" not in str(error.value)


def test_by_command_line(recsys, root, tmp_path):
    status, _, err = recsys(
        "train", "--model", "pop", "--dataset", "toy", "--data-root", root, "--out", tmp_path / "run"
    )
    assert status == 0, err
    status, out, err = recsys(
        "export", "--run", tmp_path / "run", "--as", "pyg", "--output", tmp_path / "graph"
    )
    assert status == 0 and "wrote" in out, err
    assert load_graph(tmp_path / "graph").node_types == ["user", "item"]

"""A run's training graphs for torch-geometric: in memory, and as files that are read without unpickling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.errors import UserError, nearest
from recsys.files import atomic, cannot_write, check_regular, write_text
from recsys.graphs.hypergraph import join_hyperedges
from recsys.graphs.operator import edge_index
from recsys.optional_imports import require
from recsys.runs.run import Run

ARRAYS_FILE, ABOUT_FILE = "graph.safetensors", "graph.json"
KINDS = ("interactions", "users", "items")


def graph_arrays(run: Run, k: int = 5) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What training knew, as plain arrays, and what is to be said of them.

    Args:
        k: neighbours that an item's hyperedge is made of, the item included.

    Returns:
        `interactions` (2, m) int64, numbers of users and items of the training part; `hyperedges` (2, h) int64, item
        and hyperedge (modality's place times items plus item) of MMHCL's item hypergraph over warm items, where there
        are modalities; of each modality `features.NAME` (n_items, width) float32, or of a sparse one `index.NAME`
        (2, nnz) and `values.NAME`, and `present.NAME` (n_items,) bool. The second holds the numbers of users and items,
        widths of the modalities, k, and the ids.
    """
    data = run.data
    arrays: dict[str, np.ndarray] = {"interactions": edge_index(data.interactions)}
    for name, modality in data.modalities.items():
        features = modality.features
        if sp.issparse(features):
            coo = sp.coo_array(features)
            arrays[f"index.{name}"], arrays[f"values.{name}"] = edge_index(coo), coo.data.astype(np.float32)
        else:
            arrays[f"features.{name}"] = np.ascontiguousarray(features, dtype=np.float32)
        arrays[f"present.{name}"] = np.ascontiguousarray(modality.mask)
    if data.modalities:
        parts = [data.membership_graph(name, k) for name in data.modalities]
        arrays["hyperedges"] = edge_index(join_hyperedges(parts))
    about = {
        "dataset": run.dataset.name,
        "split": run.config.split,
        "users": data.n_users,
        "items": data.n_items,
        "modalities": {name: modality.width for name, modality in data.modalities.items()},
        "k": k,
        "user_ids": run.dataset.user_ids.tolist(),
        "item_ids": run.dataset.item_ids.tolist(),
    }
    return arrays, about


def pyg_graph(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any], kind: str = "interactions") -> Any:
    """A HeteroData or HyperGraphData of torch-geometric, of what `graph_arrays` gave.

    Args:
        kind: "interactions": nodes `user` and `item` with edges both ways (`takes`, `taken_by`), items with `x_NAME`
            and `present_NAME` of each modality; "users": a hypergraph of users, a hyperedge for each item; "items": one
            of items, a hyperedge for each item and modality.

    Raises:
        UserError: another kind, no modalities for the items' hypergraph, or torch-geometric is not installed.
    """
    data = require("torch_geometric.data", "pyg")
    import torch

    if kind not in KINDS:
        raise UserError(f"there is no graph of '{kind}'{nearest(kind, KINDS)}")
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    edges = tensors["interactions"]
    if kind != "interactions":
        if kind == "items" and "hyperedges" not in tensors:
            raise UserError(
                f"'{about['dataset']}' has no item features, and so no hypergraph of items; use 'users'"
            )
        index = edges if kind == "users" else tensors["hyperedges"]
        from torch_geometric.data.hypergraph_data import HyperGraphData

        return HyperGraphData(edge_index=index, num_nodes=about[kind])
    graph = data.HeteroData()
    graph["user"].num_nodes, graph["item"].num_nodes = about["users"], about["items"]
    graph["user", "takes", "item"].edge_index = edges
    graph["item", "taken_by", "user"].edge_index = edges.flip(0).contiguous()
    for name, width in about["modalities"].items():
        if f"features.{name}" in tensors:
            rows = tensors[f"features.{name}"]
        else:
            size, parts = (about["items"], width), (tensors[f"index.{name}"], tensors[f"values.{name}"])
            rows = torch.sparse_coo_tensor(*parts, size, check_invariants=True).coalesce()
        graph["item"][f"x_{name}"] = rows
        graph["item"][f"present_{name}"] = tensors[f"present.{name}"]
    return graph


def export_graph(run: Run, folder: Path, k: int = 5) -> None:
    """Write `graph.safetensors` and `graph.json`, which `load_graph` reads.

    Raises:
        UserError: the folder cannot be written.
    """
    from safetensors.numpy import save_file

    arrays, about = graph_arrays(run, k)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    with atomic(folder / ARRAYS_FILE) as temporary:
        save_file(arrays, temporary)
    write_text(folder / ABOUT_FILE, json.dumps(about, ensure_ascii=False) + "\n")


def load_graph(folder: str | Path, kind: str = "interactions") -> Any:
    """What `recsys export --as pyg` wrote, as torch-geometric's HeteroData or HyperGraphData; nothing is unpickled.

    Args:
        kind: as in `pyg_graph`.

    Raises:
        UserError: the folder holds no such files, or damaged ones.

    Example:
        >>> import recsys, tempfile
        >>> run = recsys.train("lightgcn", recsys.toy_data(), max_epochs=1)
        >>> folder = tempfile.mkdtemp()
        >>> run.export(folder, ["pyg"])
        []
        >>> load_graph(folder).node_types, load_graph(folder, "items").num_nodes
        (['user', 'item'], 60)
    """
    from safetensors.numpy import load_file

    path = Path(folder)
    for name in (ARRAYS_FILE, ABOUT_FILE):
        if not (path / name).is_file():
            raise UserError(f"{path} has no {name}; write it with `recsys export --as pyg`")
        check_regular(path / name)
    try:
        about = json.loads((path / ABOUT_FILE).read_text(encoding="utf-8"))
        arrays = load_file(path / ARRAYS_FILE)
        return pyg_graph(arrays, about, kind)
    except UserError:
        raise
    except Exception as error:  # of whatever a damaged file makes the readers raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise UserError(f"{path} holds a damaged graph ({reason}); export it again") from None

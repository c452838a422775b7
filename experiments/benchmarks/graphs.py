"""Time and memory of the graphs beside their bounds: `python -m recsys.experiments.benchmarks.graphs knn`.

knn         the 10-NN graph of 100,000 x 128 features, next to the blocked dense products alone
operator    a product and its gradient by SparseOperator, next to torch.sparse.mm on a COO matrix
hypergraph  building and applying MMHCL's two matrices, explicit and implicit
pyg         two layers of LightGCN and one hypergraph product, each with its gradient, next to torch-geometric's

Inputs are random and of the size of the tiktok data, unless --data-root holds that data set.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from recsys.encoders.lightgcn import lightgcn
from recsys.encoders.pyg import both_ways
from recsys.graphs.bipartite import bipartite_adjacency, normalised_interactions
from recsys.graphs.cooccurrence import cooccurrence_graph
from recsys.graphs.hypergraph import item_hypergraph, propagation, user_hypergraph
from recsys.graphs.knn import knn, knn_graph
from recsys.graphs.operator import SparseOperator, edge_index

USERS, ITEMS, INTERACTIONS, WIDTH = 9308, 6710, 59541, 64


def seconds(call: Callable[[], object], repeats: int = 1) -> float:
    """The fastest of `repeats` calls: what the machine can do when nothing else disturbs it."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def peak_gb() -> float:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9


def interactions(data_root: Path | None, rng: np.random.Generator) -> sp.csr_matrix:
    """tiktok's training interactions, or as many random ones with a popularity that falls as 1/sqrt(rank)."""
    if data_root is not None:
        table = pd.read_csv(data_root / "tiktok" / "tiktok.inter", sep="\t")
        train = table[table["x_label"] == 0]
        shape = (table["userID"].max() + 1, table["itemID"].max() + 1)
        users, items = train["userID"], train["itemID"]
    else:
        popularity = np.arange(1, ITEMS + 1) ** -0.5
        shape, users = (USERS, ITEMS), rng.integers(0, USERS, INTERACTIONS)
        items = rng.choice(ITEMS, INTERACTIONS, p=popularity / popularity.sum())
    matrix = sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=shape)
    matrix.data[:] = 1.0
    return matrix


def features(data_root: Path | None, rng: np.random.Generator) -> list[np.ndarray]:
    if data_root is None:
        return [rng.standard_normal((ITEMS, 128), dtype=np.float32) for _ in range(2)]
    files = sorted((data_root / "tiktok").glob("*_feat.npy"))
    return [np.load(file, allow_pickle=False).astype(np.float32) for file in files]


def bench_knn(items: int, width: int, k: int) -> None:
    rows = np.random.default_rng(0).standard_normal((items, width), dtype=np.float32)
    before = peak_gb()
    took = seconds(lambda: knn_graph(rows, k))
    peak = peak_gb()
    dense, block = torch.from_numpy(rows), max(16, 2**25 // items)
    out = torch.empty(block, items)

    def products() -> None:
        for start in range(0, items, block):
            part = dense[start : start + block]
            torch.mm(part, dense.T, out=out[: len(part)])

    bound = seconds(products)
    print(f"k-NN graph of {items} x {width}, k = {k}")
    print(f"  graph         {took:8.2f} s, peak {peak:.2f} GB ({before:.2f} GB before the call)")
    print(f"  dense product {bound:8.2f} s, the bound; ratio {took / bound:.2f}")


def bench_operator(data_root: Path | None) -> None:
    adjacency = bipartite_adjacency(interactions(data_root, np.random.default_rng(0)))
    x = torch.randn(adjacency.shape[0], WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
    g = torch.ones_like(x)
    coo = torch.sparse_coo_tensor(
        torch.from_numpy(np.vstack(adjacency.nonzero())),
        torch.from_numpy(adjacency.data),
        adjacency.shape,
        check_invariants=False,
    ).coalesce()
    plain = seconds(lambda: torch.autograd.grad(torch.sparse.mm(coo, x), x, g), 50)
    print(f"A x and its gradient, {adjacency.shape[0]} nodes, {adjacency.nnz} non-zeros, width {WIDTH}")
    print(f"  torch.sparse.mm, COO           {plain * 1e3:7.2f} ms")
    for name, symmetric in (("SparseOperator with transpose", False), ("SparseOperator, symmetric", True)):
        operator = SparseOperator(adjacency, symmetric=symmetric)
        took = seconds(lambda operator=operator: torch.autograd.grad(operator(x), x, g), 50)
        print(f"  {name:30s} {took * 1e3:7.2f} ms, {plain / took:.1f} times faster")


def bench_hypergraph(data_root: Path | None) -> None:
    rng = np.random.default_rng(0)
    matrix, modalities = interactions(data_root, rng), features(data_root, rng)
    lists: list[np.ndarray] = []
    took = seconds(lambda: lists.extend(knn(rows, rows, 5, positive_only=True)[0] for rows in modalities))
    print(f"k-NN of {len(modalities)} modalities, {len(lists[0])} items: {took:.2f} s")
    cases = {
        "users, random walk": (user_hypergraph(matrix), "random-walk", True),
        "items, symmetric": (item_hypergraph(lists), "symmetric", False),
    }
    for name, (incidence, normalise, zero) in cases.items():
        x = torch.randn(incidence.shape[0], WIDTH)
        for form in ("explicit", "implicit", "auto"):
            start = time.perf_counter()
            operator = propagation(incidence, normalise=normalise, zero_diagonal=zero, form=form)
            built = time.perf_counter() - start
            product = seconds(lambda operator=operator, x=x: operator(x), 30)
            kind = type(operator).__name__
            print(
                f"  {name:20s} {form:9s} build {built:6.3f} s, product {product * 1e3:6.2f} ms, "
                f"{operator.nnz} entries ({kind})"
            )
    print(f"  co-occurrence graph, k = 10: {seconds(lambda: cooccurrence_graph(matrix, 10)):.2f} s")
    print(f"peak {peak_gb():.2f} GB")


def bench_pyg(data_root: Path | None) -> None:
    """Ours and torch-geometric's of the same numbers; theirs with its normalisation computed once."""
    from torch_geometric.nn import HypergraphConv, LGConv
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    matrix = interactions(data_root, np.random.default_rng(0))
    graph = SparseOperator(normalised_interactions(matrix))
    tables = [torch.randn(n, WIDTH, requires_grad=True) for n in matrix.shape]
    edges, weights = gcn_norm(both_ways(graph), None, sum(matrix.shape), add_self_loops=False)
    conv = LGConv(normalize=False)

    def theirs() -> list[torch.Tensor]:
        layers = [torch.cat(tables)]
        for _ in range(2):
            layers.append(conv(layers[-1], edges, weights))
        return list((sum(layers[1:], start=layers[0]) / 3).split(list(matrix.shape)))

    ones = [torch.ones_like(table) for table in tables]
    print(f"LightGCN, 2 layers and the gradient, {matrix.nnz} interactions, width {WIDTH}")
    _compared(lambda: lightgcn(graph, *tables, 2), theirs, tables, ones)
    incidence = user_hypergraph(matrix)
    sizes = np.maximum(np.asarray(incidence.sum(0)).ravel(), 1)
    ours = propagation(
        sp.csr_matrix(incidence @ sp.diags_array(sizes**-0.5)), normalise="random-walk", zero_diagonal=False
    )
    layer = HypergraphConv(WIDTH, WIDTH, bias=False)
    layer.lin = torch.nn.Identity()
    index = torch.from_numpy(edge_index(incidence))
    print("users' hypergraph, D^-1 H B^-1 H^T x and the gradient")
    _compared(
        lambda: [ours(tables[0])],
        lambda: [layer(tables[0], index, num_edges=incidence.shape[1])],
        tables[:1],
        ones[:1],
    )


def _compared(
    ours: Callable[[], Sequence[torch.Tensor]],
    theirs: Callable[[], Sequence[torch.Tensor]],
    inputs: list[torch.Tensor],
    ones: list[torch.Tensor],
) -> None:
    pairs = zip(ours(), theirs(), strict=True)
    apart = max((a - b).detach().abs().max().item() for a, b in pairs)
    took = [seconds(lambda f=f: torch.autograd.grad(f(), inputs, ones), 20) for f in (ours, theirs)]
    print(f"  ours            {took[0] * 1e3:8.2f} ms")
    print(
        f"  torch-geometric {took[1] * 1e3:8.2f} ms, ours is {took[1] / took[0]:.1f} times faster; results differ by "
        f"{apart:.1e} at most"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bench", choices=["knn", "operator", "hypergraph", "pyg"])
    parser.add_argument("--data-root", type=Path, help="folder that holds tiktok/; random inputs without it")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--k", type=int, default=10)
    options = parser.parse_args(arguments)
    if options.bench == "knn":
        bench_knn(options.items, options.width, options.k)
    elif options.bench == "operator":
        bench_operator(options.data_root)
    elif options.bench == "pyg":
        bench_pyg(options.data_root)
    else:
        bench_hypergraph(options.data_root)


if __name__ == "__main__":
    main()

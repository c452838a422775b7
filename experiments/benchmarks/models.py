"""CM3's, FREEDOM's and MMHCL's training epochs against plain transcriptions of their formulas.

    python -m recsys.experiments.benchmarks.models --data-root DIR

Plain means: COO products, torch.pdist, InfoNCE by autograd in blocks of 4,096 rows, the user-user product matrix
formed, both networks over all items. Prints the seconds of an epoch, in turn, in one run, on tiktok, and the bound:
the bare sparse and matrix products of one epoch, and how many times as long ours takes. The fastest step counts for
all, in processor seconds over the threads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, logsigmoid, normalize

from recsys.datasets.cards import load_dataset
from recsys.datasets.splits import make_split
from recsys.experiments.benchmarks.infonce import plain_infonce, products, seconds
from recsys.graphs.bipartite import bipartite_adjacency, normalised_interactions
from recsys.graphs.hypergraph import user_hypergraph
from recsys.graphs.knn import item_graph
from recsys.graphs.normalise import row_normalise
from recsys.graphs.operator import SparseOperator
from recsys.inputs.sampler import Batch, Sampler
from recsys.inputs.training_data import TrainingData
from recsys.models import MODELS
from recsys.models.base import Model

WIDTH, BATCH, RATE = 64, 2048, 1e-3
Step = Callable[[Batch], Tensor]


def coo(matrix: sp.csr_matrix) -> Tensor:
    """The matrix as torch's COO."""
    entries = matrix.tocoo()
    places = torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64))
    return torch.sparse_coo_tensor(places, torch.from_numpy(entries.data).float(), entries.shape).coalesce()


def lightgcn(graph: Tensor, users: Tensor, items: Tensor, layers: int) -> list[Tensor]:
    """All layers of LightGCN over users and items stacked."""
    propagated = [torch.cat([users, items])]
    for _ in range(layers):
        propagated.append(torch.sparse.mm(graph, propagated[-1]))
    return propagated


def table(rows: int, width: int) -> nn.Parameter:
    """A table of small numbers."""
    return nn.Parameter(torch.randn(rows, width) * 0.01)


class PlainCM3(nn.Module):
    """CM3 as its formulas read; Bezier fusion of two points."""

    def __init__(self, data: TrainingData, layers: int, k: int, gamma: float):
        super().__init__()
        self.layers, self.gamma, self.n_users = layers, gamma, data.n_users
        self.graph = coo(bipartite_adjacency(data.interactions))
        graphs = [data.neighbour_graph(name, k) for name in data.modalities]
        self.items = coo(item_graph(graphs, [1 / len(graphs)] * len(graphs)))
        self.features = [torch.from_numpy(np.asarray(m.features)) for m in data.modalities.values()]
        depths = [f.shape[1] for f in self.features]
        self.table = table(data.n_users, 3 * WIDTH)
        self.logits = nn.Parameter(torch.zeros(data.n_users, 3, 1))
        self.hidden = nn.ModuleList(nn.Linear(depth, 4 * WIDTH) for depth in depths)
        self.out = nn.ModuleList(nn.Linear(4 * WIDTH, WIDTH, bias=False) for _ in depths)
        self.point = nn.ModuleList(nn.Linear(depth, WIDTH) for depth in depths)

    def forward(self, batch: Batch) -> Tensor:
        own = [
            normalize(o(leaky_relu(h(f))))
            for f, h, o in zip(self.features, self.hidden, self.out, strict=True)
        ]
        a, b = (normalize(p(f)) for f, p in zip(self.features, self.point, strict=True))
        s = torch.distributions.Beta(0.5, 0.5).sample((len(a), 1))
        angle = torch.acos((a * b).sum(1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6))
        fused = (torch.sin((1 - s) * angle) * a + torch.sin(s * angle) * b) / torch.sin(angle)
        users = normalize(self.table.view(len(self.table), 3, WIDTH), dim=2).flatten(1)
        layers = lightgcn(self.graph, users, torch.cat([*own, fused], 1), self.layers)
        users, items = torch.stack(layers).sum(0).split([self.n_users, len(a)])
        users = (users.view(len(users), 3, WIDTH) * self.logits.softmax(1)).flatten(1)
        items = items + torch.sparse.mm(self.items, items)
        u, i, j = users[batch.users], items[batch.positives], items[batch.negatives[:, 0]]
        u, i, j = normalize(u), normalize(i), normalize(j)
        similar = fused[batch.negatives[:, 0]]
        at = torch.triu_indices(len(j), len(j), 1)
        calibrated = torch.pdist(j).square() - 2 + 2 * (similar @ similar.T).clamp(0, 1)[at[0], at[1]]
        apart = torch.pdist(u).square().mul(-2).exp().mean().log()
        apart = apart + calibrated.mul(-2).exp().mean().log()
        return (u - i).square().sum(1).mean() + self.gamma / 2 * apart


class PlainFREEDOM(nn.Module):
    """FREEDOM as its formulas read; the interaction graph is pruned and normalised anew each epoch."""

    def __init__(self, data: TrainingData, layers: int, k: int, prune: float, content: float):
        super().__init__()
        self.data, self.layers, self.prune, self.content = data, layers, prune, content
        graphs = [data.neighbour_graph(name, k) for name in data.modalities]
        self.items = coo(item_graph(graphs, [1 / len(graphs)] * len(graphs)))
        self.users, self.own = table(data.n_users, WIDTH), table(data.n_items, WIDTH)
        self.features = [
            nn.Parameter(torch.from_numpy(np.array(m.features))) for m in data.modalities.values()
        ]
        self.extra = nn.ParameterList(self.features)
        self.project = nn.ModuleList(nn.Linear(f.shape[1], WIDTH) for f in self.features)

    def start(self) -> None:
        """Draw the epoch's edges."""
        whole = self.data.interactions.tocoo()
        weights = torch.from_numpy(normalised_interactions(self.data.interactions).data)
        kept = torch.multinomial(weights, int(len(weights) * (1 - self.prune))).numpy()
        rows, columns = (ids[kept] for ids in whole.coords)
        pruned = sp.csr_matrix((whole.data[kept], (rows, columns)), shape=whole.shape)
        self.graph = coo(bipartite_adjacency(pruned))

    def forward(self, batch: Batch) -> Tensor:
        layers = lightgcn(self.graph, self.users, self.own, self.layers)
        users, items = torch.stack(layers, 1).mean(1).split([len(self.users), len(self.own)])
        items = items + torch.sparse.mm(self.items, self.own)
        rows = batch.positives, batch.negatives[:, 0]
        loss = plain_bpr(users[batch.users], *(items[r] for r in rows))
        for feature, layer in zip(self.features, self.project, strict=True):
            content = layer(feature)
            loss = loss + self.content * plain_bpr(users[batch.users], *(content[r] for r in rows))
        return loss


class PlainMMHCL(nn.Module):
    """MMHCL as its formulas read, its user-user and item-item products formed."""

    def __init__(self, data: TrainingData, ours: Model):
        super().__init__()
        self.settings, self.n_users = ours.settings, data.n_users
        self.graph = coo(bipartite_adjacency(data.interactions))
        rows = user_hypergraph(data.interactions)
        together = sp.csr_matrix(rows @ rows.T)
        together.setdiag(0)
        together.eliminate_zeros()
        self.together = coo(row_normalise(together))
        alike = sp.csr_matrix(ours.incidence @ ours.incidence.T)
        half = sp.diags_array(ours.half_degree.ravel())
        self.alike = coo(sp.csr_matrix(half @ alike @ half))
        self.tables = nn.ParameterList(
            table(rows, WIDTH) for rows in (data.n_users, data.n_items, data.n_users, data.n_items)
        )

    def forward(self, batch: Batch) -> Tensor:
        settings, (users, items, more_users, more_items) = self.settings, self.tables
        layers = lightgcn(self.graph, users, items, settings.layers)
        users, items = torch.stack(layers).mean(0).split([self.n_users, len(items)])
        for _ in range(settings.user_layers):
            more_users = torch.sparse.mm(self.together, more_users)
        for _ in range(settings.item_layers):
            more_items = torch.sparse.mm(self.alike, more_items)
        users, items = users + normalize(more_users), items + normalize(more_items)
        u, i, j = users[batch.users], items[batch.positives], items[batch.negatives[:, 0]]
        penalty = sum(x.square().sum() for x in (u, i, j)) / (2 * len(u))
        contrast = settings.user_contrast * plain_infonce(users, more_users, settings.temperature)
        contrast = contrast + settings.item_contrast * plain_infonce(items, more_items, settings.temperature)
        return plain_bpr(u, i, j) + settings.reg * penalty + contrast


def plain_bpr(u: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """BPR of triples, mean over the batch."""
    return -logsigmoid((u * i).sum(1) - (u * j).sum(1)).mean()


def trained(model: nn.Module, loss: Step) -> Step:
    """One step of training."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)

    def step(batch: Batch) -> Tensor:
        value = loss(batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def ours(model: Model) -> Step:
    """One training step of the engine's model."""
    model.start_epoch(0, torch.Generator().manual_seed(0))
    return trained(model, lambda batch: torch.stack(list(model.loss(batch).values())).sum())


def bound(model: Model, name: str) -> Callable[[], None]:
    """The bare products of one step: sparse ones forward and backward, and the matrix products of the losses."""
    data, width = model.data, WIDTH * (3 if name == "cm3" else 1)
    graph = SparseOperator(normalised_interactions(data.interactions))
    users, items = torch.randn(data.n_users, width), torch.randn(data.n_items, width)
    layers = model.settings.layers
    contents = [torch.from_numpy(np.asarray(m.features)) for m in data.modalities.values()]
    batch = torch.randn(BATCH, width)

    def call() -> None:
        for _ in range(2 * layers):
            _ = graph @ items, graph.T @ users
        if name == "cm3":
            for rows in contents:
                hidden = torch.randn(len(rows), 4 * WIDTH)
                for _ in range(2):
                    _ = hidden.T @ rows, hidden @ hidden[:WIDTH].T
            for _ in range(2):
                gram = batch @ batch.T
                _ = gram @ batch
        if name == "mmhcl":
            for _ in range(2 * model.settings.user_layers):
                _ = graph @ (graph.T @ users)
            for _ in range(2 * model.settings.item_layers):
                _ = model.item_graph @ items
            for rows in (users, items):
                if model.settings.anchors:
                    # Each anchor is compared with all nodes of both views, its own and the other.
                    some, both = rows[: model.settings.anchors], torch.cat([rows, rows])
                    gram = some @ both.T
                    _ = gram @ both, gram.T @ some
                else:
                    products(rows, rows, symmetric=True)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--anchors", type=int, default=512)
    parser.add_argument(
        "--models", nargs="+", choices=["cm3", "freedom", "mmhcl"], default=["cm3", "freedom", "mmhcl"]
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dataset = load_dataset("tiktok", options.data_root)
    data = TrainingData.of(dataset, make_split(dataset, "predefined"))
    batches = list(Sampler(data, BATCH, 1, 0).epoch(0))[: options.steps]

    def epoch(step: Step) -> float:
        step(batches[0])
        return (
            len(data.interactions.data)
            / BATCH
            * min(seconds(lambda b=batch: step(b), 1) for batch in batches)
        )

    print(
        f"{'':16s}{'ours':>8s}{'plain':>8s}{'times':>8s}{'bound':>8s}{'ours':>8s}   seconds an epoch, batch {BATCH}"
    )
    for label, name, values in (
        ("CM3", "cm3", {}),
        ("FREEDOM", "freedom", {}),
        ("MMHCL exact", "mmhcl", {"anchors": 0}),
        (f"MMHCL {options.anchors}", "mmhcl", {"anchors": options.anchors}),
    ):
        if name not in options.models:
            continue
        model_class = MODELS.get(name)
        start = time.perf_counter()
        model = model_class(model_class.Settings(**values), data, 0)
        building = time.perf_counter() - start
        settings = model.settings
        if name == "cm3":
            plain = PlainCM3(data, settings.layers, settings.k, settings.gamma)
        elif name == "freedom":
            plain = PlainFREEDOM(data, settings.layers, settings.k, settings.prune, settings.content)
            plain.start()
        else:
            plain = PlainMMHCL(data, model)
        mine, theirs = epoch(ours(model)), epoch(trained(plain, plain))
        bare = seconds(bound(model, name), 3) * len(data.interactions.data) / BATCH
        shown = f"{label:16s}{mine:8.2f}{theirs:8.2f}{theirs / mine:8.1f}{bare:8.2f}{mine / bare:8.2f}"
        print(f"{shown}   model and graphs {building:.2f} s", flush=True)


if __name__ == "__main__":
    main()

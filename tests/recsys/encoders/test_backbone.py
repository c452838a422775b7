"""The encoder of the interactions by name; torch-geometric's convolutions beside our propagation."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from recsys.encoders.backbone import Backbone
from recsys.encoders.lightgcn import lightgcn
from recsys.encoders.pyg import PygConvolutions, PygHypergraph, both_ways
from recsys.errors import UserError
from recsys.graphs.bipartite import normalised_interactions
from recsys.graphs.hypergraph import propagation
from recsys.graphs.operator import SparseOperator, edge_index
from recsys.models import MODELS
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, load_run, prepare

CONVOLUTIONS = {
    "pyg:GATv2Conv": {"heads": 2, "concat": False},
    "pyg:LGConv": {},
    "pyg:SAGEConv": {"aggr": "max"},
    "pyg:GraphConv": {},
    "pyg:GCNConv": {"add_self_loops": False},
}
MODEL_NAMES = [name for name in MODELS.builtin if "backbone" in MODELS.get(name).Settings.model_fields]


@pytest.fixture(scope="module")
def interactions():
    rng = np.random.default_rng(0)
    dense = (rng.random((9, 7)) < 0.4).astype(np.float32)
    dense[3], dense[:, 2] = 0, 0  # a user and an item without any
    return sp.csr_matrix(dense)


def tables(interactions, width=4):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, width, generator=generator) for n in interactions.shape]


@pytest.mark.parametrize("readout", ["mean", "sum"])
def test_our_lightgcn_is_lgconv(interactions, readout):
    users, items = tables(interactions)
    graph = SparseOperator(normalised_interactions(interactions))
    theirs = Backbone("pyg:LGConv", {}, 4, 3, torch.Generator(), readout)(graph, users, items)
    ours = lightgcn(graph, users, items, 3, readout)
    for own, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, their, rtol=1e-6, atol=1e-6)


def test_our_hypergraph_propagation_is_hypergraphconv(interactions):
    """It computes D^-1 H B^-1 H^T, B the hyperedges' sizes: ours of the incidence H B^-1/2, whose row sums are D."""
    from torch_geometric.nn import HypergraphConv

    nodes = tables(interactions)[0]
    conv = HypergraphConv(4, 4, bias=False)
    with torch.no_grad():
        conv.lin.weight.copy_(torch.eye(4))
    theirs = conv(nodes, torch.from_numpy(edge_index(interactions)), num_edges=interactions.shape[1])
    sizes = np.maximum(np.asarray(interactions.sum(0)).ravel(), 1)
    scaled = interactions @ sp.diags_array(sizes**-0.5)
    for form in ("explicit", "implicit"):
        operator = propagation(sp.csr_matrix(scaled), normalise="random-walk", zero_diagonal=False, form=form)
        torch.testing.assert_close(operator @ nodes, theirs, rtol=1e-6, atol=1e-6)


def test_an_interaction_is_an_edge_each_way(interactions):
    edges = both_ways(SparseOperator(normalised_interactions(interactions)))
    n = interactions.shape[0]
    expected = {(u, n + i) for u, i in zip(*interactions.nonzero(), strict=True)}
    assert {tuple(e) for e in edges.T.tolist()} == expected | {(i, u) for u, i in expected}


def test_a_graph_that_changes_is_read_anew(interactions):
    users, items = tables(interactions)
    encoder = Backbone("pyg:LGConv", {}, 4, 2, torch.Generator())
    other = sp.csr_matrix(interactions[::-1])
    graphs = [SparseOperator(normalised_interactions(each)) for each in (interactions, other, interactions)]
    first, second, third = (encoder(graph, users, items)[0] for graph in graphs)
    assert not torch.allclose(first, second) and torch.equal(first, third)


def test_first_weights_follow_from_the_generator(interactions):
    made = [Backbone("pyg:GraphConv", {}, 4, 2, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    Backbone("pyg:GraphConv", {}, 4, 2, torch.Generator())
    assert torch.equal(before, torch.rand(1)), "others' random numbers changed"
    first, again, other = (next(iter(encoder.parameters())) for encoder in made)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("lightgnc", {}, "did you mean 'lightgcn'"),
        ("pyg:GATv2Con", {}, "did you mean 'GATv2Conv'"),
        ("pyg:GATv2Conv", {"head": 2}, "no argument 'head'; did you mean 'heads'"),
        ("pyg:GATv2Conv", {"heads": 2}, "a backbone keeps the width"),
        ("pyg:GATv2Conv", {"heads": "two"}, "cannot be a backbone with the options"),
        ("pyg:NNConv", {}, "cannot be a backbone"),
        ("pyg:HypergraphConv", {}, "does not convolve a graph's edges"),
        ("mf", {"heads": 2}, "backbone_options are for pyg backbones"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(name, options, told):
    with pytest.raises(UserError) as error:
        Backbone(name, options, 4, 2, torch.Generator())
    assert told in str(error.value) and "\n" not in str(error.value)


def test_only_convolutions_of_hypergraphs_convolve_hypergraphs(interactions):
    with pytest.raises(UserError, match="known: pyg:HypergraphConv"):
        PygConvolutions("pyg:GATv2Conv", {}, 4, 1, torch.Generator(), hypergraph=True)
    made = PygConvolutions("pyg:HypergraphConv", {}, 4, 2, torch.Generator(), hypergraph=True)
    nodes = tables(interactions)[0]
    assert PygHypergraph(interactions, made)(nodes).shape == nodes.shape


def run_of(name, toy, **settings):
    small = {"width": 8, "batch_size": 64, "max_epochs": 2}
    return prepare(RunConfig(model=name, dataset="toy", split="cold-item", settings=small | settings), toy)


@pytest.mark.parametrize("backbone", CONVOLUTIONS)
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_convolution_trains_every_graph_model(name, backbone, toy, tmp_path):
    run = run_of(name, toy, backbone=backbone, backbone_options=CONVOLUTIONS[backbone])
    before = [p.detach().clone() for p in run.model.encoder.parameters()]
    execute(run, tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert len(history) == 2 and np.isfinite(history.to_numpy(np.float64)).all()
    moved = [not torch.equal(a, b) for a, b in zip(before, run.model.encoder.parameters(), strict=True)]
    assert any(moved) or backbone == "pyg:LGConv"


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_lgconv_is_lightgcn_in_every_graph_model(name, toy):
    models = [run_of(name, toy, backbone=each).model.eval() for each in ("lightgcn", "pyg:LGConv")]
    state = models[0].state_dict()
    models[1].load_state_dict(state, strict=False)
    with torch.no_grad():
        for ours, theirs in zip(models[0]()[:2], models[1]()[:2], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_hypergraph_is_convolved_and_a_saved_run_scores_alike(toy, root, tmp_path):
    settings = {"hypergraph": "pyg:HypergraphConv", "backbone": "pyg:SAGEConv", "width": 8, "max_epochs": 2}
    config = RunConfig(
        model="mmhcl", dataset="toy", split="cold-item", settings=settings, data_root=str(root)
    )
    run = prepare(config)
    execute(run, tmp_path / "run")
    scores = [each.model.scorer()(np.arange(5)) for each in (run, load_run(tmp_path / "run", str(root)))]
    assert torch.equal(*scores)
    with pytest.raises(UserError, match="expected products, or pyg:HypergraphConv"):
        run_of("mmhcl", toy, hypergraph="product")


def test_retrieval_metrics_are_torch_geometrics_where_nothing_ties():
    from torch_geometric.metrics import LinkPredMRR, LinkPredNDCG, LinkPredPrecision, LinkPredRecall

    from recsys.evaluation.evaluator import Evaluator
    from recsys.evaluation.scorers import VectorScorer

    rng = np.random.default_rng(3)
    scores = rng.permuted(np.tile(np.arange(40, dtype=np.float32), (25, 1)), axis=1)
    truth = sp.csr_array((rng.random((25, 40)) < 0.15).astype(np.float32))
    truth = truth[np.diff(truth.indptr) > 0]
    scores = torch.from_numpy(scores[: truth.shape[0]])
    evaluator = Evaluator(
        truth, sp.csr_array(truth.shape), metrics=("recall@5", "ndcg@5", "precision@5", "mrr@5")
    )
    ours = evaluator.evaluate(VectorScorer(scores, torch.eye(40))).metrics["overall"]
    labels = torch.from_numpy(np.stack(truth.nonzero()).astype(np.int64))
    kinds = {
        "recall": LinkPredRecall,
        "ndcg": LinkPredNDCG,
        "precision": LinkPredPrecision,
        "mrr": LinkPredMRR,
    }
    for name, kind in kinds.items():
        metric = kind(k=5)
        metric.update(scores.topk(5).indices, labels)
        assert ours[f"{name}@5"] == pytest.approx(float(metric.compute()), abs=1e-6), name

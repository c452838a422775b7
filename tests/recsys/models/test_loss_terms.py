"""Terms of a loss by configuration: every objective in every model that offers views, what is refused, gradients."""

import numpy as np
import pandas as pd
import pytest
import torch

from recsys.errors import UserError
from recsys.inputs.sampler import Sampler
from recsys.models import MODELS
from recsys.models.loss_terms import sides
from recsys.objectives import OBJECTIVES
from recsys.objectives.calling import ViewObjective
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare
from recsys.training.term_gradients import gradient_figures, harmonised_loss, term_gradients

OFFERING = [name for name in MODELS.builtin if MODELS.get(name).views]
BUNDLES = [name for name in OFFERING if "bundles" in MODELS.get(name).views]
OTHERS = [name for name in OFFERING if name not in BUNDLES]
RANKING = {"bpr", "bce", "sampled_softmax", "l2"}
COMPARING = sorted(set(OBJECTIVES.builtin) - RANKING)


def prepared(name, dataset, split="random", **settings):
    small = {"width": 8, "batch_size": 64, "max_epochs": 1}
    if name in BUNDLES:
        settings = {"slots": ["content", "items"]} | settings
    config = RunConfig(model=name, dataset="toy", split=split, settings=small | settings)
    return prepare(config, dataset)


def first_loss(run):
    run.model.start_epoch(0, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    batch = next(iter(Sampler(run.data, 64, 1, 0, run.train_settings.sample_by).epoch(0)))
    return run.model.loss(batch)


def gradients_of(value, model):
    parts = torch.autograd.grad(
        value, [p for p in model.parameters() if p.requires_grad], allow_unused=True, retain_graph=True
    )
    return [part for part in parts if part is not None]


def test_the_models_that_the_issue_of_objectives_names_offer_views():
    assert {"mmhcl", "cm3", "sige", "lightgcn", "freedom", "bm3", "mgcn", "lattice", "simgcl", "vbpr"} <= set(
        OTHERS
    )
    assert BUNDLES == ["clhe", "clhe-signals"]
    assert len(COMPARING) == 11


@pytest.mark.parametrize("objective", COMPARING)
@pytest.mark.parametrize("name", OFFERING)
def test_every_objective_trains_every_model_as_an_added_term(name, objective, toy):
    """On the model's usual views, of each kind of nodes that it has."""
    nodes = "bundles" if name in BUNDLES else "both"
    extra = [{"objective": objective, "nodes": nodes, "weight": 0.5}]
    run = prepared(name, toy, "cold-item", **{"objectives.extra": extra})
    value = first_loss(run)[f"{objective}_{nodes}"]
    parts = gradients_of(value, run.model)
    assert value.shape == () and value.isfinite() and all(part.isfinite().all() for part in parts)
    assert sum(float(part.abs().sum()) for part in parts) > 1e-6, "the term moves nothing"


@pytest.mark.parametrize("objective", COMPARING)
@pytest.mark.parametrize("name", [name for name in OFFERING if name not in ("clhe-signals",)])
def test_every_objective_takes_the_place_of_every_own_term_by_its_bare_name(name, objective, toy):
    published = prepared(name, toy).model.terms.terms
    for term in published:
        run = prepared(name, toy, **{f"objectives.{term}": objective})
        changed = run.model.terms.terms[term]
        assert changed.objective == objective and changed.weight == published[term].weight
        assert first_loss(run)[term].isfinite()


@pytest.mark.parametrize("name", OTHERS)
def test_every_view_that_a_model_offers_can_be_compared_with_another(name, toy):
    """Modalities too, that of `tags` missing for every fifth item: projected where the model makes no view of it."""
    model = MODELS.get(name)
    offered = prepared(name, toy).model.terms.offered
    wide = prepared(name, toy).model.view_widths
    for side in ("users", "items"):
        names = dict.fromkeys([*offered[side], *(toy.modalities if side == "items" else ())])
        for view in names:
            other = view if view in wide or view == "perturbed" else model.usual_views[0]
            other = "behaviour" if other == view and view not in (*wide, "perturbed") else other
            extra = [{"objective": "infonce", "views": [view, other], "nodes": side}]
            run = prepared(name, toy, "cold-item", **{"objectives.extra": extra})
            value = first_loss(run)[f"infonce_{side}"]
            assert value.isfinite() and (value.requires_grad or view == other)


def test_a_term_of_a_modality_trains_a_layer_of_its_own_and_the_model_reads_content(toy):
    extra = [{"objective": "gram", "views": ["behaviour", "image", "tags"]}]
    plain, run = prepared("lightgcn", toy), prepared("lightgcn", toy, **{"objectives.extra": extra})
    assert run.model.reads_content and not plain.model.reads_content
    assert torch.equal(run.model.user_table, plain.model.user_table), (
        "the model's first weights are not the same"
    )
    first_loss(run)["gram_items"].backward()
    layers = [layer.weight.grad for layer in run.model.terms.project]
    assert len(layers) == 2 and all(grad.abs().sum() > 0 for grad in layers)
    assert not any(name.startswith("terms.") for name in plain.model.state_dict())


def test_modalities_stand_for_all_of_them(toy):
    terms = {"objectives.extra": [{"objective": "gram", "views": ["behaviour", "modalities"]}]}
    run = prepared("lightgcn", toy, **terms)
    (term,) = run.model.terms.terms.values()
    assert term.views == ["behaviour", *run.model.data.modalities] and len(term.views) > 2
    changed = prepared(
        "cm3", toy, **{"objectives.items": {"objective": "gram", "views": ["modalities", "fused"]}}
    )
    assert changed.model.terms.terms["items"].views == [*run.model.data.modalities, "fused"]


@pytest.mark.parametrize("name", ["mmhcl", "cm3", "sige", "mgcn", "freedom", "bm3", "lattice", "vbpr"])
def test_a_modality_that_the_model_was_told_not_to_read_can_be_compared(name, toy):
    extra = [{"objective": "infonce", "views": ["behaviour", "tags"]}]
    run = prepared(name, toy, "cold-item", modalities=["image"], **{"objectives.extra": extra})
    value = first_loss(run)["infonce_items"]
    gradient = torch.autograd.grad(value, run.model.terms.project[0].weight)[0]
    assert value.isfinite() and gradient.abs().sum() > 0


def test_an_item_that_lacks_a_view_moves_nothing_of_the_term(toy):
    """Pairwise: by the rows that have both. GRAM: its modality is left out, the others stay."""
    tensors = [torch.randn(6, 4, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    mask = torch.tensor([True, True, False, True, False, True])
    pairwise, gram = ViewObjective("infonce", {}), ViewObjective("gram", {})
    kept = [tensor[mask] for tensor in tensors]
    assert torch.equal(pairwise(tensors[:2], [None, mask]), pairwise(kept[:2]))
    assert torch.equal(
        pairwise(tensors, [None, mask, None]),
        pairwise(kept[:2]) + pairwise([tensors[0], tensors[2]]),
    )
    damaged = [tensors[0], tensors[1].masked_fill(~mask[:, None], 7.0), tensors[2]]
    present = [None, mask, None]
    assert torch.allclose(gram(damaged, present), gram([tensors[0], tensors[1] * 3, tensors[2]], present))
    assert not torch.allclose(gram(damaged), gram(damaged, present))
    assert float(pairwise([t[:1] for t in tensors[:2]])) == 0, "one row has nothing to differ from"


def test_the_anchor_is_the_first_view_and_is_not_moved():
    first, second = (torch.randn(5, 3, requires_grad=True) for _ in range(2))
    ViewObjective("anchored_infonce", {})([first, second]).backward()
    assert first.grad is None and second.grad.abs().sum() > 0


def test_arguments_stay_where_the_new_objective_takes_them(toy):
    terms = prepared("mmhcl", toy, temperature=0.3, **{"objectives.items": "mv_dhel"}).model.terms.terms
    assert terms["items"].arguments == {"temperature": 0.3} and terms["users"].arguments["intra"] is True
    change = {"objective": "uniformity", "weight": 2.0, "arguments": {"t": 1.0}}
    changed = prepared("cm3", toy, **{"objectives.items": change}).model.terms.terms["items"]
    assert (changed.views, changed.arguments, changed.weight) == (["vector"], {"t": 1.0}, 2.0)


@pytest.mark.parametrize("key", ["objectives.items", "objectives.own.items"])
def test_a_part_of_a_term_can_be_changed_after_its_objective_by_name(toy, key):
    changes = {key: "uniformity", f"{key}.weight": 2.0}
    term = prepared("cm3", toy, **changes).model.terms.terms["items"]
    assert (term.objective, term.weight) == ("uniformity", 2.0)
    with pytest.raises(UserError, match="'log_gradients' is 'yes' and holds no settings"):
        prepared("cm3", toy, **{"objectives.log_gradients": "yes", "objectives.log_gradients.weight": 2.0})


def test_a_term_of_weight_0_is_left_out(toy):
    run = prepared("sige", toy, **{"objectives.anchored": {"weight": 0}})
    assert list(first_loss(run)) == ["bpr", "perturbed", "fused", "l2"]


def test_an_added_term_has_the_value_of_its_objective(toy):
    """Alignment of a batch's pairs, written out."""
    run = prepared(
        "lightgcn", toy, **{"objectives.extra": [{"objective": "alignment", "nodes": "pairs", "weight": 3}]}
    )
    batch = next(iter(Sampler(run.data, 64, 1, 0, "pairs").epoch(0)))
    users, items = (v.detach().numpy().astype(np.float64) for v in run.model()[:2])
    x, y = users[batch.users], items[batch.positives]
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    expected = 3 * ((x - y) ** 2).sum(1).mean()
    assert run.model.loss(batch)["alignment_pairs"].item() == pytest.approx(expected, rel=1e-5)


REFUSED = [
    ("lightgcn", "objectives.items", "gram", "LightGCN has no term 'items', nor any other of its own"),
    ("mmhcl", "objectives.item", "gram", "MMHCL has no term 'item'; did you mean 'items'"),
    ("mmhcl", "objectives.items", "gramm", "there is no objective 'gramm'; did you mean 'gram'"),
    ("mmhcl", "objectives.items", "bpr", "objective 'bpr' compares no views"),
    ("mmhcl", "objectives.harmonize", True, "harmonise"),
    ("mmhcl", "objectives.items", {"objective": "gram", "arguments": {"temprature": 1}}, "'temperature'"),
    ("mmhcl", "objectives.items", {"arguments": {"temperature": "warm"}}, "cannot be computed with"),
    ("mmhcl", "objectives.items", {"arguments": {"temperature": 0.0}}, "temperature must lie"),
    ("mmhcl", "objectives.items", {"weigth": 1}, "did you mean 'weight'"),
    ("mmhcl", "objectives.items", {"views": ["fused"]}, "compares two views or more"),
    (
        "mmhcl",
        "objectives.items",
        {"views": ["fused", "imag"]},
        "no view 'imag' of items; did you mean 'image'",
    ),
    ("mmhcl", "objectives.users", {"views": ["fused", "image"]}, "no view 'image' of users"),
    ("mmhcl", "objectives.extra", [{"objective": "gram", "nodes": "bundles"}], "no views of bundles"),
    ("cm3", "objectives.items", {"objective": "gram", "views": ["vector", "fused"]}, "vector 24, fused 8"),
    ("lightgcn", "objectives.extra", [{"objective": "gram", "view": []}], "did you mean 'views'"),
    ("lightgcn", "objectives.harmonise", True, "nothing to reconcile"),
]


@pytest.mark.parametrize(("name", "key", "value", "told"), REFUSED)
def test_what_cannot_be_is_told_in_one_line(name, key, value, told, toy):
    with pytest.raises(UserError) as error:
        prepared(name, toy, **{key: value})
    text = str(error.value)
    assert told in text and "\n" not in text


def test_by_command_line(recsys, root, tmp_path):
    def train(*options, folder="run"):
        common = ("--dataset", "toy", "--data-root", root, "--set", "max_epochs=1", "--set", "width=8")
        return recsys("train", *common, "--out", tmp_path / folder, *options)

    extra = "objectives.extra=[{objective: gram, views: [image, tags, behaviour], weight: 0.1}]"
    status, _, err = train("--model", "mmhcl", "--set", "objectives.items=mv_dhel", "--set", extra)
    assert status == 0, err
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert {"bpr", "items", "users", "gram_items"} <= set(history.columns)
    status, _, err = train("--model", "sige", "--set", "objectives.fusd=gram", folder="none")
    assert status == 2 and "did you mean 'fused'" in err and not (tmp_path / "none").exists()


def test_gradients_are_recorded_and_change_nothing(toy, tmp_path):
    runs = [prepared("mmhcl", toy, **{"objectives.log_gradients": log}) for log in (False, True)]
    for run, folder in zip(runs, ("plain", "logged"), strict=True):
        execute(run, tmp_path / folder)
    plain, logged = (pd.read_csv(tmp_path / folder / "history.csv") for folder in ("plain", "logged"))
    shares = logged.filter(like="gradient_share_")
    assert len(shares.columns) == 4 and shares.sum(axis=1).to_numpy() == pytest.approx(1)
    conflicts = logged.filter(like="gradient_conflict_").to_numpy()
    assert conflicts.shape[1] == 6 and (conflicts >= 0).all() and (conflicts <= 1).all()
    same = plain.columns.drop("seconds")
    pd.testing.assert_frame_equal(plain[same], logged[same])
    for ours, other in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        assert torch.equal(ours, other)


def test_harmonised_terms_no_longer_pull_against_each_other():
    table = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    bias = torch.tensor([1.0, 2.0], requires_grad=True)
    terms = {
        "a": (table[0] * torch.tensor([1.0, 0.0])).sum() + bias.sum(),
        "b": (table[0] * torch.tensor([-1.0, 1.0])).sum(),
    }
    gradients = term_gradients(terms, [table, bias])
    figures = gradient_figures(gradients)
    assert figures["gradient_conflict_a_b"] == 1 and figures["gradient_share_a"] == pytest.approx(
        0.5505, abs=1e-4
    )
    loss = harmonised_loss(terms, gradients, [table, bias], ["a", "b"])
    assert loss.item() == pytest.approx(sum(terms.values()).item())
    loss.backward()
    # (1, 0) loses what it has against (-1, 1), and the other way round: (.5, .5) + (0, 1).
    assert table.grad[0].tolist() == pytest.approx([0.5, 1.5]) and table.grad[1].tolist() == [0, 0]
    assert bias.grad.tolist() == [1, 1], "a term that is alone on a parameter stays"
    with pytest.raises(UserError, match="no term 'c'"):
        harmonised_loss(terms, gradients, [table, bias], ["a", "c"])


@pytest.mark.parametrize("name", ["mmhcl", "cm3", "sige"])
def test_harmonised_training_runs_and_differs(name, toy, tmp_path):
    runs = [prepared(name, toy, max_epochs=2, **{"objectives.harmonise": on}) for on in (False, True)]
    for number, run in enumerate(runs):
        execute(run, tmp_path / str(number))
    assert not torch.equal(runs[0].model.user_table, runs[1].model.user_table)


def test_a_changed_model_does_not_train_in_shares(toy):
    assert prepared("mmhcl", toy).model.trains_in_shares
    assert not prepared("mmhcl", toy, **{"objectives.items": "gram"}).model.trains_in_shares


def test_a_term_of_both_is_that_of_users_and_that_of_items(toy):
    both = {"objective": "uniformity", "views": ["identity"], "nodes": "both"}
    extra = [both, {**both, "nodes": "users"}, {**both, "nodes": "items"}]
    run = prepared("simgcl", toy, **{"objectives.extra": extra})
    assert sides(run.model.terms.terms["uniformity_both"]) == ("users", "items")
    loss = first_loss(run)
    assert torch.equal(loss["uniformity_both"], loss["uniformity_users"] + loss["uniformity_items"])


@pytest.mark.parametrize("name", ["cm3", "mgcn", "sige", "lightgcn"])
def test_of_a_larger_batch_than_asked_for_so_many_nodes_are_compared(name, toy, monkeypatch):
    """By an objective that compares rows with each other; alignment takes every pair."""
    seen, real = {}, ViewObjective.__call__

    def recorded(self, views, present=(), **others):
        seen.setdefault(self.name, set()).update(len(view) for view in views)
        for part in (*present, others["counts"]):
            assert part is None or len(part) == len(views[0])
        return real(self, views, present, **others)

    extra = [
        {"objective": "uniformity", "views": ["behaviour"], "nodes": "both"},
        {"objective": "alignment", "nodes": "pairs"},
    ]
    run = prepared(name, toy, objectives={"extra": extra})
    run.model.terms.most = 16
    monkeypatch.setattr(ViewObjective, "__call__", recorded)
    first_loss(run)
    assert seen["uniformity"] == {16} and seen["alignment"] == {64}


def test_a_drawn_part_of_the_nodes_says_the_same_of_them_as_all_do(toy):
    """Calibrated uniformity and uniformity of CM3, the mean over many draws beside all nodes; but for the logarithm's
    bend, which matters to few nodes."""
    run = prepared("cm3", toy)
    terms = run.model.terms
    batch = next(iter(Sampler(run.data, 512, 1, 0, "pairs").epoch(0)))
    totals = {}
    for most in (None, 32):
        terms.most = most
        run.model.start_epoch(0, torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        drawn = []
        for _ in range(1 if most is None else 200):
            run.model.generator.manual_seed(0)
            drawn.append({name: float(value.detach()) for name, value in run.model.loss(batch).items()})
        totals[most] = pd.DataFrame(drawn).mean()
    np.testing.assert_allclose(totals[32], totals[None], rtol=0.05)
    assert totals[32]["alignment"] == pytest.approx(totals[None]["alignment"])


def test_training_bounds_what_is_compared_where_it_enlarges_batches(toy, tmp_path):
    for most, settings in ((None, {"max_steps": 0}), (64, {"max_steps": 1})):
        run = prepared("lightgcn", toy, **settings)
        execute(run, tmp_path / str(most))
        assert run.model.terms.most == most

"""What every registered objective promises; an objective without a case here fails."""

import pytest
import torch

from recsys.objectives import OBJECTIVES

# name -> call of the objective f on rows r of one batch
CASES = {
    "alignment": lambda f, r: f(r["x"], r["y"]),
    "anchored_infonce": lambda f, r: f(r["x"], r["y"], 0.3),
    "bce": lambda f, r: f((r["x"] * r["y"]).sum(1), (r["x"] * r["z"]).sum(1)),
    "bpr": lambda f, r: f((r["x"] * r["y"]).sum(1), (r["x"] * r["z"]).sum(1)),
    "calibrated_uniformity": lambda f, r: f(r["x"], r["y"], s_max=0.8),
    "gram": lambda f, r: f(r["x"], [r["y"], r["z"]], 0.5, mask=r["mask"].t()),
    "hard_negative": lambda f, r: f(r["x"], r["y"], 0.3, concentration=0.7),
    "infonce": lambda f, r: f(r["x"], r["y"], 0.3, intra=True),
    "l2": lambda f, r: f(r["x"], r["y"], r["z"]),
    "mixup": lambda f, r: f([r["x"], r["y"], r["z"]], 0.3, generator=torch.Generator().manual_seed(1)),
    "mv_dhel": lambda f, r: f([r["x"], r["y"], r["z"]], 0.3),
    "mv_infonce": lambda f, r: f([r["x"], r["y"], r["z"]], 0.3),
    "negative_free": lambda f, r: f([r["x"], r["y"]], [r["y"], r["z"]]),
    "sampled_softmax": lambda f, r: f(
        (r["x"] * r["y"]).sum(1), torch.stack([(r["x"] * r["z"]).sum(1), (r["y"] * r["z"]).sum(1)], dim=1)
    ),
    "uniformity": lambda f, r: f(r["x"]),
}
# These draw a ratio and a partner for each position, so the order of rows matters.
STOCHASTIC = {"mixup"}

every_objective = pytest.mark.parametrize("name", OBJECTIVES.builtin)


def batch(dtype=torch.float64, n=12, d=5):
    generator = torch.Generator().manual_seed(0)
    rows = {name: torch.randn(n, d, generator=generator, dtype=torch.float64).to(dtype) for name in "xyz"}
    rows["mask"] = torch.rand(n, 2, generator=generator) > 0.3
    return rows


def value_and_gradients(name, rows):
    rows = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in rows.items()}
    value = CASES[name](OBJECTIVES.get(name), rows)
    tensors = [rows[k] for k in "xyz"]
    gradients = torch.autograd.grad(value, tensors, allow_unused=True)
    return value, [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, gradients, strict=True)]


def test_every_objective_has_a_case():
    assert set(OBJECTIVES.builtin) == set(CASES)


@every_objective
def test_is_a_finite_scalar_with_a_finite_gradient(name):
    value, gradients = value_and_gradients(name, batch(torch.float32))
    assert value.shape == () and value.dtype == torch.float32 and value.isfinite()
    assert all(g.isfinite().all() for g in gradients)
    assert any(g.abs().sum() > 0 for g in gradients)


@every_objective
def test_single_and_double_precision_agree(name):
    single, single_gradients = value_and_gradients(name, batch(torch.float32))
    double, double_gradients = value_and_gradients(name, batch())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)
    for a, b in zip(single_gradients, double_gradients, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-5)


@every_objective
def test_order_of_the_batch_does_not_matter(name):
    if name in STOCHASTIC:
        pytest.skip("draws by position; its deterministic part is tested with fixed draws")
    rows = batch()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    value, gradients = value_and_gradients(name, rows)
    permuted, permuted_gradients = value_and_gradients(name, {k: v[order] for k, v in rows.items()})
    torch.testing.assert_close(permuted, value, rtol=1e-12, atol=1e-12)
    for a, b in zip(permuted_gradients, gradients, strict=True):
        torch.testing.assert_close(a, b[order], rtol=1e-9, atol=1e-12)


@every_objective
def test_gradient_is_that_of_the_value(name):
    rows = batch(n=5, d=3)
    stopped = {"anchored_infonce": "x", "negative_free": "y"}.get(name)
    if stopped:
        pytest.skip(f"stops the gradient of {stopped} on purpose; tested on its own")

    def value(x, y, z):
        return CASES[name](OBJECTIVES.get(name), {"x": x, "y": y, "z": z, "mask": rows["mask"]})

    inputs = [rows[k].clone().requires_grad_() for k in "xyz"]
    assert torch.autograd.gradcheck(value, inputs)


@every_objective
def test_trains_under_autocast(name):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradients = value_and_gradients(name, batch(torch.float32))
    assert value.isfinite() and all(g.isfinite().all() for g in gradients)

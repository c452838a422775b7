"""Gates, attention over fields and the field of a history against their formulas, row by row."""

import numpy as np
import pytest
import torch

from recsys.encoders.gated_fusion import FieldFusion, FieldRows, HistoryField

N, F, D = 5, 3, 4


def fusion_of(**parts):
    generator = torch.Generator().manual_seed(0)
    fusion = FieldFusion(F, D, 2, generator, **parts)
    with torch.no_grad():
        for parameter in fusion.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(-0.5, 0.5, generator=generator)
    return fusion.eval()


def rows_of():
    generator = torch.Generator().manual_seed(1)
    vectors = [torch.randn(N, D, generator=generator) for _ in range(F)]
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]]).bool()
    return FieldRows(vectors, present)


def naive(fusion, fields, row):
    """One row: gates, then W layernorm(sum of x_f + attention(x)_f) + b over the present fields and the default."""
    p = {name: value.detach().double().numpy() for name, value in fusion.named_parameters()}
    held = fields.present[row].numpy()
    vectors = [v[row].double().numpy() * h for v, h in zip(fields.vectors, held, strict=True)]
    gates = held.astype(float)
    if fusion.gates is not None:
        hidden = np.maximum(p["gates.first.weight"] @ np.concatenate(vectors) + p["gates.first.bias"], 0)
        gates = held / (1 + np.exp(-(p["gates.second.weight"] @ hidden + p["gates.second.bias"])))
    x = np.stack([g * v for g, v, h in zip(gates, vectors, held, strict=True) if h] + [p["default"]])
    total = x
    if fusion.attention is not None:
        q, k, v = (
            (x @ w.T + b)
            for w, b in zip(
                np.split(p["attention.in_proj_weight"], 3),
                np.split(p["attention.in_proj_bias"], 3),
                strict=True,
            )
        )
        logits = q @ k.T / np.sqrt(D)
        weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        total = x + weights @ v @ p["attention.out_proj.weight"].T + p["attention.out_proj.bias"]
    total = total.sum(0)
    normed = (total - total.mean()) / np.sqrt(total.var() + 1e-5) * p["norm.weight"] + p["norm.bias"]
    return p["out.weight"] @ normed + p["out.bias"], gates


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("gates", [True, False])
def test_fusion_is_the_formula(gates, attention):
    fusion, fields = fusion_of(gates=gates, attention=attention), rows_of()
    out, weights = fusion(fields)
    for row in range(N):
        expected, gate = naive(fusion, fields, row)
        np.testing.assert_allclose(out[row].detach().numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(weights[row].detach().numpy(), gate, atol=1e-6)


def test_what_a_missing_field_holds_does_not_matter():
    fusion, fields = fusion_of(), rows_of()
    other = FieldRows(
        [v.masked_fill(~fields.present[:, [f]], 7.0) for f, v in enumerate(fields.vectors)], fields.present
    )
    torch.testing.assert_close(fusion(other), fusion(fields))


def test_history_is_the_sum_of_keys_over_the_root_of_their_number():
    field = HistoryField(D, torch.Generator().manual_seed(0))
    keys = torch.randn(6, D, generator=torch.Generator().manual_seed(1))
    taken, counts = torch.tensor([0, 2, 5, 3]), torch.tensor([3, 0, 1])
    vectors, held = field(keys, taken, counts)
    assert held.tolist() == [True, False, True]
    sums = [(keys[0] + keys[2] + keys[5]) / 3**0.5, torch.zeros(D), keys[3]]
    torch.testing.assert_close(vectors, field.read(torch.stack(sums)))
    nobody, held = field(keys, taken[:0], torch.zeros(2, dtype=torch.int64))
    assert nobody.shape == (2, D) and not held.any()

"""The objectives that can stand in for InfoNCE."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from recsys.errors import UserError
from recsys.objectives.alignment.negative_free import move_average, negative_free
from recsys.objectives.contrastive.gram import gram, volumes
from recsys.objectives.contrastive.hard_negative import hard_negative
from recsys.objectives.contrastive.infonce import infonce
from recsys.objectives.contrastive.mixup import mixed_contrast, mixup
from recsys.objectives.contrastive.mv_dhel import mv_dhel
from recsys.objectives.contrastive.mv_infonce import mv_infonce
from recsys.objectives.gradient_harmonisation import gradient_harmonisation, harmonise

N = 6


def views(count, n=N, d=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(count)]


def units(count):
    return [normalize(v, dim=1) for v in views(count)]


def agreement(u, i, tau):
    return sum(math.exp(float(a[i] @ b[i]) / tau) for a, b in itertools.permutations(u, 2))


@pytest.mark.parametrize("count", [2, 3])
def test_mv_infonce_equals_the_naive_loops(count):
    u, tau = units(count), 0.4
    terms = []
    for i in range(N):
        total = sum(
            math.exp(float(u[v][i] @ u[w][j]) / tau)
            for v in range(count)
            for w in range(count)
            for j in range(N)
            if (j, w) != (i, v)
        )
        terms.append(math.log(total) - math.log(agreement(u, i, tau)))
    assert mv_infonce(views(count), tau, block=4).item() == pytest.approx(sum(terms) / N, rel=1e-12)


@pytest.mark.parametrize("count", [2, 3])
def test_mv_dhel_equals_the_naive_loops(count):
    u, tau = units(count), 0.4
    terms = []
    for i in range(N):
        within = [sum(math.exp(float(v[i] @ v[j]) / tau) for j in range(N) if j != i) for v in u]
        terms.append(sum(map(math.log, within)) - math.log(agreement(u, i, tau)))
    assert mv_dhel(views(count), tau, block=4).item() == pytest.approx(sum(terms) / N, rel=1e-12)


@pytest.mark.parametrize("objective", [mv_infonce, mv_dhel])
def test_multiview_is_stable_at_low_temperature(objective):
    x = [v.float().requires_grad_() for v in views(3)]
    exact = objective([v.double() for v in x], 0.01)
    value = objective(x, 0.01)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, x))


def test_multiview_refuses_too_little():
    with pytest.raises(UserError, match="at least two of one shape"):
        mv_infonce(views(1))
    with pytest.raises(UserError, match="at least two"):
        mv_dhel(views(2, n=1))


def naive_gram(anchor, others, tau, smoothing, mask):
    """By determinants of each pair's vectors, those that an item has, and torch's cross-entropy."""
    anchor, *others = (normalize(v, dim=1) for v in (anchor, *others))
    rows = []
    for i, j in itertools.product(range(N), repeat=2):
        span = torch.stack([anchor[i], *(o[j] for o, held in zip(others, mask[:, j], strict=True) if held)])
        rows.append((torch.linalg.det(span @ span.t()) + 1e-6).sqrt())
    logits, target = -torch.stack(rows).view(N, N) / tau, torch.arange(N)
    both = [cross_entropy(each, target, label_smoothing=smoothing) for each in (logits, logits.t())]
    return sum(both) / 2


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_gram_and_its_gradient_equal_determinants(count, masked):
    tensors = [v.requires_grad_() for v in views(count + 1)]
    mask = torch.ones(count, N, dtype=torch.bool)
    if masked:
        mask[-1, 2] = mask[0, 4] = False
    expected = naive_gram(tensors[0], tensors[1:], 0.3, 0.2, mask)
    for block in (None, 4):
        found = gram(
            tensors[0], tensors[1:], 0.3, label_smoothing=0.2, mask=mask if masked else None, block=block
        )
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        ours, theirs = (torch.autograd.grad(v, tensors, retain_graph=True) for v in (found, expected))
        for own, their in zip(ours, theirs, strict=True):
            torch.testing.assert_close(own, their, rtol=1e-7, atol=1e-10)


def test_volumes_are_roots_of_determinants():
    anchor, *others = units(4)
    for i, j in itertools.product(range(N), repeat=2):
        span = torch.stack([anchor[i], *(o[j] for o in others)])
        expected = math.sqrt(torch.linalg.det(span @ span.t()))
        assert volumes(anchor, torch.stack(others))[i, j].item() == pytest.approx(expected, rel=1e-9)


def test_hard_negatives_gradient_is_that_of_the_formula():
    x, y = (v.requires_grad_() for v in views(2))
    for tau, c, block in ((0.3, 0.7, None), (0.5, 0.0, 4), (0.4, -1.5, 4)):
        s = normalize(x, dim=1) @ normalize(y, dim=1).t()
        own = torch.eye(N, dtype=torch.bool)
        weight = torch.exp(c * s).masked_fill(own, 0)
        weight = weight / weight.sum(1, keepdim=True) * (N - 1)
        kernel = torch.exp(s / tau)
        total = kernel.diagonal() + (weight * kernel).sum(1)
        expected = -(kernel.diagonal() / total).log().mean()
        found = hard_negative(x, y, tau, concentration=c, block=block)
        torch.testing.assert_close(found, expected)
        for own_, their in zip(*(torch.autograd.grad(v, (x, y)) for v in (found, expected)), strict=True):
            torch.testing.assert_close(own_, their)


def test_mixed_contrasts_gradient_is_that_of_the_formula():
    x, y = (v.requires_grad_() for v in views(2))
    ratio, partner = torch.rand(N, generator=torch.Generator().manual_seed(2)).double(), torch.randperm(N)
    mixed = normalize(ratio[:, None] * x + (1 - ratio[:, None]) * x[partner], dim=1)
    logits = mixed @ normalize(y, dim=1).t() / 0.3
    log_p = (logits.log_softmax(1) + logits.log_softmax(0)) / 2
    picked = log_p.gather(1, partner[:, None])[:, 0]
    expected = -(ratio * log_p.diagonal() + (1 - ratio) * picked).mean()
    found = mixed_contrast(x, y, ratio, partner, 0.3)
    torch.testing.assert_close(found, expected)
    for own, their in zip(*(torch.autograd.grad(v, (x, y)) for v in (found, expected)), strict=True):
        torch.testing.assert_close(own, their)


def test_gram_by_hand():
    # Two orthogonal items, both modalities equal: V = 0 for a match, 1 otherwise.
    x = torch.eye(2, dtype=torch.float64)
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))  # -log p of either item
    assert gram(x, [x], 1.0, label_smoothing=0, eps=0).item() == pytest.approx(right)
    # A tenth of the target is spread over both items: 0.95 on the match, 0.05 on the other.
    assert gram(x, [x], 1.0, eps=0).item() == pytest.approx(0.95 * right + 0.05 * wrong)


def test_gram_stays_finite_for_dependent_vectors():
    x = views(1)[0].float().requires_grad_()
    value = gram(x, [x, x, 2 * x])
    assert value.isfinite() and torch.autograd.grad(value, x)[0].isfinite().all()


def naive_mixed_contrast(x, y, ratio, partner, tau):
    """Both softmax directions as loops over items; raw vectors are mixed and normalised afterwards."""
    mixed = [ratio[i] * x[i] + (1 - ratio[i]) * x[partner[i]] for i in range(N)]
    e = [[math.exp(float(m @ v) / float(m.norm() * v.norm()) / tau) for v in y] for m in mixed]
    total = 0.0
    for i in range(N):
        b, j = float(ratio[i]), int(partner[i])
        for weight, column in ((b, i), (1 - b, j)):
            along_row = e[i][column] / sum(e[i])
            along_column = e[i][column] / sum(row[column] for row in e)
            total -= weight * (math.log(along_row) + math.log(along_column)) / 2
    return total / N


def test_mixed_contrast_equals_the_naive_loops():
    x, y = views(2)
    ratio = torch.linspace(0, 1, N, dtype=torch.float64)
    partner = torch.tensor([1, 2, 0, 3, 5, 4])
    expected = naive_mixed_contrast(x, y, ratio, partner, 0.3)
    assert mixed_contrast(x, y, ratio, partner, 0.3).item() == pytest.approx(expected, rel=1e-12)


def test_a_longer_vector_counts_for_more_in_a_mixture():
    # Half of (3, 0) and half of (0, 1) is (1.5, 0.5), of direction (3, 1) / sqrt 10; the other row is not mixed.
    x = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    y = torch.eye(2, dtype=torch.float64)
    value = mixed_contrast(x, y, torch.tensor([0.5, 1.0]).double(), torch.tensor([1, 0]), 1.0).item()
    a, b = 3 / math.sqrt(10), 1 / math.sqrt(10)

    def log_p(one, rest):
        return one - math.log(math.exp(one) + math.exp(rest))

    # logits [[a, b], [0, 1]]: rows, then columns.
    first = (log_p(a, b) + log_p(b, a)) / 2 + (log_p(a, 0) + log_p(b, 1)) / 2
    second = log_p(1, 0) + log_p(1, b)
    assert value == pytest.approx(-(first + second) / 4)


def test_unmixed_contrast_is_infonce_both_ways():
    x, y = views(2)
    value = mixed_contrast(x, y, torch.ones(N, dtype=torch.float64), torch.arange(N).flip(0), 0.3)
    torch.testing.assert_close(value, (infonce(x, y, 0.3) + infonce(y, x, 0.3)) / 2)


def test_mixup_mixes_the_share_of_rows_that_it_is_told():
    x, y = views(2, n=400)
    unmixed = (infonce(x, y, 0.1) + infonce(y, x, 0.1)) / 2
    none, half, everyone = (
        mixup([x, y], generator=torch.Generator().manual_seed(0), share=share) for share in (0.0, 0.5, 1.0)
    )
    torch.testing.assert_close(none, unmixed)
    ratios = []

    def record(x, y, ratio, partner, temperature):
        ratios.append(ratio)
        return ratio.mean()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.objectives.contrastive.mixup.mixed_contrast", record)
        mixup([x, y], generator=torch.Generator().manual_seed(0))
    mixed = float((torch.cat(ratios) < 1).double().mean())
    assert 0.4 < mixed < 0.6  # 800 draws: five standard errors are 0.09
    assert none != half != everyone


def test_mixup_repeats_with_its_generator():
    values = [mixup(views(3), generator=torch.Generator().manual_seed(s)).item() for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_hard_negative_without_concentration_is_infonce():
    x, y = views(2)
    torch.testing.assert_close(hard_negative(x, y, 0.3, concentration=0.0), infonce(x, y, 0.3))


def test_hard_negative_by_hand():
    # Anchor (1,0) and negatives at cosines 1 and 0; e^c = 3 gives weights 3/2 and 1/2; e^(1/tau) = 2.
    x = torch.tensor([[1.0, 0.0]] * 3, dtype=torch.float64)
    y = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    tau, c = 1 / math.log(2), math.log(3)
    # rows 0 and 1: 2 / (2 + 3/2 * 2 + 1/2 * 1); row 2: 1 / (1 + 2 + 2)
    expected = (2 * math.log(5.5 / 2) + math.log(5)) / 3
    assert hard_negative(x, y, tau, concentration=c).item() == pytest.approx(expected)


def test_negative_free_by_hand_and_without_a_gradient_to_targets():
    e1, e2 = torch.eye(2, dtype=torch.float64)[:, None]
    e1, e2 = e1.requires_grad_(), e2.requires_grad_()
    # pairs (e1,e1), (e1,-e1), (e2,e1), (e2,-e1): 0, 4, 2, 2
    assert negative_free([e1, 3 * e2], [e1, -e1]).item() == 2
    target = views(1)[0].requires_grad_()
    source = views(1, seed=1)[0].requires_grad_()
    to_source, to_target = torch.autograd.grad(
        negative_free([source], [target]), (source, target), allow_unused=True
    )
    assert to_target is None and to_source.abs().sum() > 0


def test_move_average():
    slow, fast = nn.Linear(2, 1), nn.Linear(2, 1)
    before = slow.weight.detach().clone()
    move_average(slow, fast, decay=0.75)
    torch.testing.assert_close(slow.weight.detach(), 0.75 * before + 0.25 * fast.weight.detach())


def test_harmonise_by_hand():
    # Row 0 conflicts: (1,0) against (-1,1), inner -1. Row 1 agrees and stays.
    g = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[-1.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    result, share = harmonise(g)
    expected = torch.tensor([[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    torch.testing.assert_close(result, expected)
    assert share.item() == 0.5
    assert ((result[0] * g[1]).sum(1) >= 0).all() and ((result[1] * g[0]).sum(1) >= 0).all()


def test_gradient_harmonisation_hands_on_the_projected_gradient():
    table = torch.tensor([[2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    vectors = table * 1
    losses = [vectors[:, 0].sum(), (vectors[:, 1] - vectors[:, 0]).sum()]
    total, share = gradient_harmonisation(losses, vectors)
    assert total.item() == sum(loss.item() for loss in losses) and share.item() == 1
    torch.testing.assert_close(torch.autograd.grad(total, table)[0], torch.tensor([[0.5, 1.5]]).double())

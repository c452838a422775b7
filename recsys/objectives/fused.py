"""Sums of exponentials over all pairs, value and gradient together, in blocks that stay in cache.

A contrastive loss over n vectors needs n x n exponentials and, for its gradient, their products with the
vectors again. Autograd keeps several n x n tensors for that. Here a loss is a scalar, so its gradient is made
beside its value while a block is at hand, and backward only scales it: memory is O(block x n), and next to no
pass but the exponential itself goes over a block between its matrix products. A symmetric matrix is made from
its upper half, twice, which is no slower than keeping it.

Rows are unit vectors, hence |scale * cos| <= scale, and exponentials need no shift as long as exp(scale) is
far from overflow: `safe_dtype` says in which precision that holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsys.errors import UserError

LOG2E = 1.4426950408889634  # 2^x is several times faster than e^x on CPUs: the factor goes into the scale
_BLOCK_ENTRIES = {"cpu": 2**21, "cuda": 2**26}

# run(*tensors, wanted: one flag per tensor) -> value and one gradient, or None, per tensor
Run = Callable[..., tuple[Tensor, Sequence[Tensor | None]]]


class _ValueAndGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, run: Run, recorded: bool, *tensors: Tensor) -> Tensor:
        wanted = tuple(recorded and needed for needed in ctx.needs_input_grad[2:])
        with torch.autocast(tensors[0].device.type, enabled=False):
            value, gradients = run(*tensors, wanted)
        ctx.save_for_backward(*gradients)
        return value.to(tensors[0].dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, output_gradient: Tensor):
        return None, None, *(None if g is None else g * output_gradient for g in ctx.saved_tensors)


def fused(run: Run, *tensors: Tensor) -> Tensor:
    """The scalar that `run` computes, with the gradients it returned; those are not differentiable again."""
    # Grad mode is always off inside forward, so it is read here.
    return _ValueAndGradient.apply(run, torch.is_grad_enabled(), *tensors)


def safe_dtype(dtype: torch.dtype, scale: float) -> torch.dtype:
    """The precision in which sums of exp(+-scale) neither overflow nor vanish; at least float32.

    Raises:
        UserError: scale is not positive, or beyond float64's range as well.
    """
    if not 0 < scale <= 600:
        raise UserError(
            f"an exponent scale of {scale:g} is out of range; a temperature must lie in [1/600, inf)"
        )
    return torch.float64 if scale > 60 or dtype == torch.float64 else torch.float32


def block_rows(columns: int, device: torch.device, block: int | None) -> int:
    """`block` if given, else as many rows as keep a block of `columns` columns in a processor's cache."""
    if block is not None:
        if block < 1:
            raise UserError(f"block is {block}; it must be at least 1 row")
        return block
    return max(64, _BLOCK_ENTRIES.get(device.type, 2**24) // max(columns, 1))


def log_partition(
    rows: Tensor,
    keys: Tensor,
    scale: float,
    *,
    own: Tensor | None = None,
    added: Tensor | None = None,
    shares: Tensor | None = None,
    counts: Tensor | None = None,
    block: int | None = None,
    wanted: tuple[bool, bool] = (True, True),
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
    """sum_i s_i log D_i with D_i = added_i + sum_{j != own_i} c_j exp(scale rows_i . keys_j), in one pass.

    Args:
        rows, keys: (m, d) and (n, d).
        own: (m,) the column left out of each row's sum; None leaves out none.
        added: (m,) constants that the sums start from; no gradient flows to them.
        shares: (m,) s, the weight of each row's logarithm; 1 where None.
        counts: (n,) c, how often each key stands in the sums, as if it were repeated; once where None.
        block: rows at a time.
        wanted: whether the gradients to rows and to keys are made.

    Returns:
        The sum (float64), its gradients to rows and keys (None unless wanted), and D (m,).
    """
    size = min(block_rows(len(keys), rows.device, block), max(len(rows), 1))
    scaled = rows * (scale * LOG2E)
    repeated = keys if counts is None else keys * counts[:, None]
    buffer = rows.new_empty(size, len(keys))
    sums = rows.new_empty(len(rows))
    to_rows = torch.empty_like(rows) if wanted[0] else None
    to_keys = torch.zeros_like(keys) if wanted[1] else None
    for start in range(0, len(rows), size):
        part = slice(start, min(start + size, len(rows)))
        tile = torch.mm(scaled[part], keys.t(), out=buffer[: part.stop - start]).exp2_()
        if own is not None:
            tile.scatter_(1, own[part, None], 0.0)
        if counts is None:
            torch.sum(tile, 1, out=sums[part])
        else:
            torch.mv(tile, counts, out=sums[part])
        if added is not None:
            sums[part] += added[part]
        # The weights 1/D go onto the (b, d) factors, never onto the tile; so do the counts.
        weight = scale / sums[part, None]
        if shares is not None:
            weight *= shares[part, None]
        if to_rows is not None:
            torch.mm(tile, repeated, out=to_rows[part]).mul_(weight)
        if to_keys is not None:
            to_keys.addmm_(tile.t(), rows[part] * weight)
    if to_keys is not None and counts is not None:
        to_keys *= counts[:, None]
    logarithms = sums.log() if shares is None else sums.log() * shares
    return logarithms.sum(dtype=torch.float64), to_rows, to_keys, sums


def log_partitions_both_ways(
    rows: Tensor,
    keys: Tensor,
    scale: float,
    of_rows: Tensor,
    of_keys: Tensor,
    block: int | None = None,
    wanted: tuple[bool, bool] = (True, True),
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """sum_i u_i log sum_j K_ij + sum_j v_j log sum_i K_ij, K_ij = exp(scale rows_i . keys_j).

    K is made twice, since no column's sum is known before the last block.

    Args:
        rows, keys: (n, d) each.
        of_rows, of_keys: u and v, (n,) each.
        block: rows at a time.
        wanted: whether the gradients are made.

    Returns:
        The value (float64), and its gradients to rows and keys (zeros unless wanted).
    """
    size = min(block_rows(len(keys), rows.device, block), max(len(rows), 1))
    scaled = rows * (scale * LOG2E)
    buffer = rows.new_empty(size, len(keys))
    sums, column_sums = rows.new_empty(len(rows)), rows.new_zeros(len(keys))

    def tiles() -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(rows), size):
            part = slice(start, min(start + size, len(rows)))
            yield part, torch.mm(scaled[part], keys.t(), out=buffer[: part.stop - start]).exp2_()

    for part, tile in tiles():
        torch.sum(tile, 1, out=sums[part])
        column_sums += tile.sum(0)
    value = (of_rows * sums.log()).sum(dtype=torch.float64)
    value = value + (of_keys * column_sums.log()).sum(dtype=torch.float64)
    to_rows, to_keys = torch.zeros_like(rows), torch.zeros_like(keys)
    if any(wanted):
        left, right = of_rows * scale / sums, of_keys * scale / column_sums
        for part, tile in tiles():
            tile.mul_(left[part, None] + right)
            torch.mm(tile, keys, out=to_rows[part])
            to_keys.addmm_(tile.t(), rows[part])
    return value, (to_rows, to_keys)


def _strips(
    x: Tensor, scale: float, block: int | None, less: Callable[[slice, slice], Tensor] | None = None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """K_ij = exp(scale (x_i . x_j - s_ij)), zero where i = j, as strips of its upper half.

    Args:
        x, scale, block: as in `log_pair_sum`.
        less: from rows and columns to the block of s, symmetric; 0 where None.

    Yields the strip's rows, all later rows, and K[rows, rows.start:]: a square with the diagonal, then the
    pairs with later rows. The strip is a buffer that the next one overwrites.
    """
    n = len(x)
    # Four strips at least: the squares on the diagonal are made whole, and are the smaller the thinner they are.
    size = min(block_rows(n, x.device, block), max(n, 1) if block else max(n // 4, 256))
    scaled = x * (scale * LOG2E)
    buffer = x.new_empty(size * n)
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        height, width = rows.stop - start, n - start
        strip = buffer[: height * width].view(height, width)
        torch.mm(scaled[rows], x[start:].t(), out=strip)
        if less is not None:
            strip.sub_(less(rows, slice(start, n)), alpha=scale * LOG2E)
        strip.exp2_()[:, :height].fill_diagonal_(0.0)
        yield rows, slice(rows.stop, n), strip


def gram_sums(x: Tensor, scale: float, block: int | None = None) -> Tensor:
    """(n,) S_i = sum_{j != i} exp(scale x_i . x_j) for x (n, d)."""
    total = x.new_zeros(len(x))
    for rows, later, strip in _strips(x, scale, block):
        total[rows] += strip.sum(1)
        total[later] += strip[:, len(strip) :].sum(0)
    return total


def gram_gradient(x: Tensor, scale: float, weight: Tensor, block: int | None = None) -> Tensor:
    """(n, d) scale sum_{j != i} exp(scale x_i . x_j) (w_i + w_j) x_j.

    This is the gradient of sum_i f(S_i) where w_i = f'(S_i) and S = `gram_sums`.
    """
    result = torch.zeros_like(x)
    for rows, later, strip in _strips(x, scale, block):
        strip.mul_(weight[rows, None] + weight[rows.start :])
        result[rows].addmm_(strip, x[rows.start :])
        result[later].addmm_(strip[:, len(strip) :].t(), x[rows])
    return result.mul_(scale)


def log_pair_sum(
    x: Tensor,
    scale: float,
    block: int | None = None,
    wanted: tuple[bool, ...] = (True,),
    *,
    features: Tensor | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    counts: Tensor | None = None,
) -> tuple[Tensor, list[Tensor | None]]:
    """log sum_{i<j} exp(scale (x_i . x_j - s_ij)), s_ij = clamp(f_i . f_j, *limits), or 0 without features.

    Args:
        x: (n, d) unit rows.
        features: (n, k) unit rows f.
        wanted: whether the gradient to x, and to the features, is made.
        counts: (n,) how often each row stands in the sum, as if it were repeated; once where None.

    Returns:
        The value (float64) and the gradients to x, and to the features where there are any.
    """
    times = x.new_ones(len(x)) if counts is None else counts.to(x.dtype)
    vectors = [(v, v * times[:, None]) for v in (x, features) if v is not None]
    gradients = [torch.zeros_like(v) if w else None for (v, _), w in zip(vectors, wanted, strict=True)]
    total = _own_pairs(x, scale, features, limits, times)
    similarity = clamped = x.new_empty(0)

    def less(features: Tensor, rows: slice, columns: slice) -> Tensor:
        nonlocal similarity, clamped
        similarity = features[rows] @ features[columns].t()
        clamped = similarity.clamp(*limits)
        return clamped

    for rows, later, strip in _strips(x, scale, block, None if features is None else partial(less, features)):
        pairs = strip[:, len(strip) :]
        sums = (strip[:, : len(strip)] @ times[rows]).div_(2).addmv_(pairs, times[later])
        total += (sums * times[rows]).sum(dtype=torch.float64)
        for (_, repeated), gradient, sign in zip(vectors, gradients, (1, -1), strict=False):
            if gradient is not None:
                if sign < 0:
                    strip.masked_fill_(clamped != similarity, 0.0)
                gradient[rows].addmm_(strip, repeated[rows.start :], alpha=sign)
                gradient[later].addmm_(pairs.t(), repeated[rows], alpha=sign)
    for gradient in gradients:
        if gradient is not None:
            gradient.mul_(times[:, None] * (scale / total))
    return total.log(), gradients


def _own_pairs(
    x: Tensor, scale: float, features: Tensor | None, limits: tuple[float, float], times: Tensor
) -> Tensor:
    """What the pairs of a repeated row with itself add (float64); on the sphere it has no gradient."""
    inner = x.square().sum(1)
    if features is not None:
        inner = inner - features.square().sum(1).clamp(*limits)
    return (times * (times - 1) / 2 * torch.exp(scale * inner)).sum(dtype=torch.float64)

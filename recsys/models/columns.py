"""A model whose parameters' columns lie in several processes: what each holds, and the sums over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Columns:
    """One process's columns: of `of` equal blocks of them the one numbered `rank`; the default holds all.

    Propagation and the sum over layers treat each column by itself, and a score is a sum over columns. A process that
    holds some of them therefore propagates these alone, and of the others needs the batch's partial scores and no more.
    That is tensor parallelism by columns: "Megatron-LM", Shoeybi et al., 2019, arXiv 1909.08053, section 3.

    Example:
        >>> Columns(1, 2).share(torch.tensor([[1, 2, 3, 4]]), 1).tolist()
        [[3, 4]]
    """

    rank: int = 0
    of: int = 1

    def share(self, whole: Tensor, dim: int) -> Tensor:
        """A copy of this process's block of `whole` along `dim`, whose size `of` divides."""
        size = whole.shape[dim] // self.of
        return whole.narrow(dim, self.rank * size, size).clone(memory_format=torch.contiguous_format)

    def sum(self, *partial: Tensor) -> tuple[Tensor, ...]:
        """The sums over all columns of what was added up over the columns here, in one exchange.

        All processes go on from the same sums to the same loss; hence the gradient of a sum is that of its part here.
        """
        if self.of == 1:
            return partial
        flat = torch.cat([tensor.flatten() for tensor in partial])
        sums = _Sum.apply(flat, self).split([tensor.numel() for tensor in partial])
        return tuple(values.view_as(tensor) for values, tensor in zip(sums, partial, strict=True))

    def add_up(self, values: Tensor) -> None:
        """Replace `values` by their sum over the processes."""
        dist.all_reduce(values)

    def gather(self, own: Tensor, dim: int) -> Tensor | None:
        """All processes' blocks side by side along `dim`, in the first process; None in the others."""
        own = own.contiguous()
        blocks = [torch.empty_like(own) for _ in range(self.of)] if self.rank == 0 else None
        dist.gather(own, blocks)
        return torch.cat(blocks, dim) if blocks else None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, columns: Columns) -> Tensor:
        sums = values.clone()
        columns.add_up(sums)
        return sums

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None

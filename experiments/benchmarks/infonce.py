"""InfoNCE with intra-view negatives: fused, plain autograd in row blocks, and the bare matrix products.

Run: python -m recsys.experiments.benchmarks.infonce
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.objectives.contrastive.infonce import infonce


def plain_infonce(z: Tensor, other: Tensor, temperature: float, block: int = 4096) -> Tensor:
    """A transcription of the formula: exponentials, sums, logarithm by autograd, row block by row block."""
    x, y = normalize(z, dim=1), normalize(other, dim=1)
    losses = []
    for start in range(0, len(x), block):
        rows = x[start : start + block]
        own = torch.arange(len(rows)) + start
        within = torch.exp(rows @ x.t() / temperature)
        between = torch.exp(rows @ y.t() / temperature)
        at = torch.arange(len(rows))
        denominator = within.sum(1) + between.sum(1) - within[at, own]
        losses.append(-torch.log(between[at, own] / denominator))
    return torch.cat(losses).mean()


def products(z: Tensor, other: Tensor, symmetric: bool, block: int = 256) -> None:
    """The matrix products of one value and gradient, nothing else: three for each n x n matrix.

    With `symmetric` the intra-view matrix is formed from its upper half alone.
    """
    to_z, to_other = torch.zeros_like(z), torch.zeros_like(other)
    for start in range(0, len(z), block):
        rows = z[start : start + block]
        between = rows @ other.t()
        to_z[start : start + block].addmm_(between, other)
        to_other.addmm_(between.t(), rows)
        first = start if symmetric else 0
        within = rows @ z[first:].t()
        to_z[start : start + block].addmm_(within, z[first:])
        to_z[first:].addmm_(within.t(), rows)


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Processor seconds over the threads, of which other work on the machine changes less than of the clock's: the
    fastest of `repeats` calls, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append((time.process_time() - start) / torch.get_num_threads())
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, default=9308)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--anchors", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    temperature = options.temperature
    generator = torch.Generator().manual_seed(0)
    z, other = (torch.randn(options.nodes, options.width, generator=generator) for _ in range(2))
    z.requires_grad_()
    other.requires_grad_()
    anchors = torch.randperm(options.nodes, generator=generator)[: options.anchors]

    def step(loss: Callable[..., Tensor], **settings) -> None:
        torch.autograd.grad(loss(z, other, temperature, **settings), (z, other))

    bare = (z.detach(), other.detach())
    rows = {
        "plain autograd, blocks of 4,096": lambda: step(plain_infonce),
        "fused": lambda: step(infonce, intra=True),
        f"fused, {len(anchors)} anchors": lambda: step(infonce, intra=True, anchors=anchors),
        "bare products, all": lambda: products(*bare, symmetric=False),
        "bare products, symmetric half": lambda: products(*bare, symmetric=True),
    }
    times = {name: seconds(call, options.repeats) for name, call in rows.items()}
    plain, bound = times["plain autograd, blocks of 4,096"], times["bare products, all"]
    difference = abs(
        infonce(*bare, options.temperature, intra=True) - plain_infonce(*bare, options.temperature)
    )
    print(f"InfoNCE with intra-view negatives, value and gradient: n={options.nodes} d={options.width}")
    print(f"{'':34s}{'ms':>8s}{'plain /':>9s}{'/ products':>12s}")
    for name, value in times.items():
        print(f"{name:34s}{value * 1e3:8.0f}{plain / value:9.2f}{value / bound:12.2f}")
    print(f"fused and plain differ by {difference:.1e}")


if __name__ == "__main__":
    main()

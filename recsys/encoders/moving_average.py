"""The moving average of a model's weights, which ranks better than the weights of any one step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage(nn.Module):
    """Keeps a_t = decay a_(t-1) + (1 - decay) w_t of a model's parameters w, and puts it in their place to score.

    After "Acceleration of Stochastic Approximation by Averaging", Polyak and Juditsky, 1992, with exponential weights.
    Its values are buffers: they are saved in resume files and follow the model to its device. torch's AveragedModel,
    which has the same arithmetic, would copy the whole model, its graphs and features included.

    Args:
        model: whose parameters, all of them made by now.
        decay: of the average, in [0, 1).
    """

    steps: Tensor

    def __init__(self, model: nn.Module, decay: float):
        super().__init__()
        self.decay, self.swapped = decay, False
        self.names = {name: name.replace(".", "-") for name, _ in model.named_parameters()}
        for name, parameter in model.named_parameters():
            self.register_buffer(self.names[name], parameter.detach().clone())
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def _pairs(self, model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        own = [getattr(self, name) for name in self.names.values()]
        return own, [parameter.data for _, parameter in model.named_parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights as they stand, before a step; the first ones count in full."""
        averages, weights = self._pairs(model)
        if self.steps > 0:
            get_ema_multi_avg_fn(self.decay)(averages, weights, self.steps)
        else:
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(weight)
        self.steps += 1

    @torch.no_grad()
    def place(self, model: nn.Module, averaged: bool) -> None:
        """Put the average, or the weights of the last step, into the parameters. Nothing where none was taken."""
        if averaged == self.swapped or not self.steps:
            return
        for average, weight in zip(*self._pairs(model), strict=True):
            held = weight.clone()
            weight.copy_(average)
            average.copy_(held)
        self.swapped = averaged

    def values(self, model: nn.Module) -> dict[str, Tensor]:
        """The average of each parameter, by its name; the parameters where none was taken."""
        own, weights = self._pairs(model)
        averages = own if self.steps > 0 and not self.swapped else weights
        return {
            name: average.detach().contiguous() for name, average in zip(self.names, averages, strict=True)
        }

    def forget(self) -> None:
        """The parameters are what counts from here on, as in a model that was loaded."""
        self.steps.zero_()
        self.swapped = False

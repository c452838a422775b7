"""Processes that each hold some columns of every parameter, and train those alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy

from recsys.errors import UserError
from recsys.models.base import Model
from recsys.models.columns import Columns


def cut(model: Model, columns: Columns) -> None:
    """Leave a whole model with `columns` alone.

    Raises:
        UserError: a parameter has no columns.
    """
    dims = model.column_dims()
    for name, parameter in model.named_parameters():
        if name not in dims:
            raise UserError(
                f"{type(model).__name__} says that its columns can be divided, and column_dims leaves out '{name}'"
            )
        parameter.data = columns.share(parameter.data, dims[name])
    model.columns = columns


class ColumnsStrategy(DDPStrategy):
    """pytorch-lightning's DDP, for its start of the processes, with the columns divided instead of the batch.

    All processes make the whole model from one seed and cut it when training begins; they draw the same batches. What
    is written is whole: a resume file is that of one process, and goes on with any number of them.
    """

    shapes: dict[str, torch.Size]

    @property
    def trained(self) -> Model:
        """The model in the module that is trained."""
        module = self.lightning_module
        assert module is not None
        return module.model  # type: ignore[return-value]

    def configure_ddp(self) -> None:
        """Cut the model, which a resume file has filled by now, instead of wrapping it."""
        self.shapes = {name: parameter.shape for name, parameter in self.trained.named_parameters()}
        cut(self.trained, Columns(self.global_rank, self.world_size))

    @contextmanager
    def whole(self) -> Iterator[None]:
        """While the block runs the first process's model has all columns; those of the others stay as they are.
        Every process must enter it."""
        model, columns = self.trained, self.trained.columns
        held = {name: parameter.data for name, parameter in model.named_parameters()}
        for name, parameter in model.named_parameters():
            gathered = columns.gather(held[name], model.column_dims()[name])
            parameter.data = held[name] if gathered is None else gathered
        model.columns = Columns()
        try:
            yield
        finally:
            for name, parameter in model.named_parameters():
                parameter.data = held[name]
            model.columns = columns

    def make_room(self) -> None:
        """Give the parameters their whole shapes again, for weights to be loaded into."""
        for name, parameter in self.trained.named_parameters():
            parameter.data = parameter.new_empty(self.shapes[name])
        self.trained.columns = Columns()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        with self.whole():
            return super().lightning_module_state_dict()

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        columns = self.trained.columns
        return self._changed(super().optimizer_state(optimizer), False, columns.gather)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        share = self.trained.columns.share
        states = [self._changed(state, True, share) for state in checkpoint["optimizer_states"]]
        super().load_optimizer_state_dict({"optimizer_states": states})

    def _changed(self, state: Mapping[str, Any], whole: bool, change: Any) -> dict[str, Any]:
        """An optimizer's state with what has its parameter's shape, `whole` or as it is here, changed along the
        dimension of its columns."""
        dims, changed = self.trained.column_dims(), {}
        for number, (name, parameter) in enumerate(self.trained.named_parameters()):
            shape = self.shapes[name] if whole else parameter.shape
            changed[number] = {
                key: change(value, dims[name]) if torch.is_tensor(value) and value.shape == shape else value
                for key, value in state["state"].get(number, {}).items()
            }
        return dict(state) | {"state": {number: values for number, values in changed.items() if values}}

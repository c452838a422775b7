"""One training spread over the devices of a machine, and over machines: how it runs, not what comes out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsys.errors import UserError
from recsys.models import MODELS

if TYPE_CHECKING:
    from recsys.models.base import Model

STRATEGIES = ("auto", "columns", "ddp")


def hush() -> None:
    """Silence pytorch-lightning's advice on hardware and loggers; what goes wrong still raises."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def able(attribute: str) -> str:
    """Names of the models that declare `attribute`."""
    return ", ".join(name for name in sorted(MODELS.builtin) if getattr(MODELS.get(name), attribute))


@dataclass(frozen=True)
class Distributed:
    """Processes that train one model together: each on its columns of every parameter ("columns"), or each on its
    share of every batch ("ddp").

    The gradient is the whole batch's, whatever the number of processes, so that figures differ by rounding
    alone. Every process draws the same batches and the same noise: both follow from (seed, epoch).

    Attributes:
        devices: processes on each machine, one for each GPU where there are GPUs.
        num_nodes: machines.
        strategy: "columns", "ddp", or "auto": columns where the model can be divided so. A graph's products are
            divided by columns alone, and a step sends scores where ddp sends the gradients of whole tables.
    """

    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"

    def __post_init__(self) -> None:
        for name in ("devices", "num_nodes"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected 1 or more")
        if self.strategy not in STRATEGIES:
            raise UserError(f"--strategy {self.strategy}: expected {', '.join(STRATEGIES)}")

    @property
    def processes(self) -> int:
        """Their number."""
        return self.devices * self.num_nodes

    def check(self, model: str, built: Any = None) -> None:
        """UserError where one model, as its settings make it if it is `built`, cannot be trained by several
        processes."""
        asked = built or MODELS.get(model)
        if self.processes == 1 or (self.strategy != "columns" and asked.trains_in_shares):
            return
        if asked.trains_by_columns and self.strategy != "ddp":
            if built and (width := built.settings.width) % self.processes:
                raise UserError(
                    f"width {width} cannot be divided by {self.processes} processes; set a width that is a multiple of "
                    f"{self.processes}{', or use --strategy ddp' if asked.trains_in_shares else ''}"
                )
            return
        if self.strategy == "columns":
            raise UserError(
                f"{model} cannot be divided by columns: its loss, as it is set, reads whole vectors; use "
                f"{'--strategy ddp' if asked.trains_in_shares else '--devices 1'}, or one of "
                f"{able('trains_by_columns')}"
            )
        others = " (or --strategy columns)" if asked.trains_by_columns else ""
        raise UserError(
            f"{model} cannot be trained by several processes: its loss is not a mean over the rows of a batch; use "
            f"--devices 1{others}, or one of {able('trains_in_shares')}"
        )

    def by_columns(self, model: Model) -> bool:
        """Whether `model`, which `check` has let pass, is divided by columns."""
        divisible = model.trains_by_columns and model.settings.width % self.processes == 0
        return self.processes > 1 and self.strategy != "ddp" and divisible

    def rank(self, device: str) -> int:
        """This process's number among them, as the cluster tells: the one numbered 0 writes, tests and prints.

        Raises:
            UserError: there are not so many devices.
        """
        if self.processes == 1:
            return 0
        import pytorch_lightning as pl
        from pytorch_lightning.utilities.exceptions import MisconfigurationException

        hush()  # its import sets the levels
        try:
            options = self.trainer_options(device)
            return pl.Trainer(
                **options, logger=False, enable_checkpointing=False, enable_progress_bar=False
            ).global_rank
        except (MisconfigurationException, ValueError, RuntimeError) as error:
            raise UserError(f"--devices {self.devices}: {' '.join(str(error).split())[:200]}") from None

    def trainer_options(self, device: str, idle: bool = True, columns: bool = False) -> dict[str, Any]:
        """Where and how pytorch-lightning's Trainer trains.

        Args:
            device: auto, cpu, cuda, or cuda:N for one GPU by number.
            idle: whether a step may leave parameters without a gradient.
            columns: the processes divide the model's columns, not the batch.

        Raises:
            UserError: several processes on one GPU.
        """
        from pytorch_lightning.plugins.environments import LightningEnvironment
        from pytorch_lightning.strategies import DDPStrategy

        kind, _, number = device.partition(":")
        if self.processes == 1:
            # Workers of a cluster are many, and each trains by itself: its rank there means nothing here.
            devices = [int(number)] if number else 1
            return {"accelerator": kind, "devices": devices, "plugins": [LightningEnvironment()]}
        if number:
            raise UserError(f"--device {device}: with --devices {self.devices} give --device {kind}")
        strategy: DDPStrategy
        if columns:
            from recsys.training.columns import ColumnsStrategy

            strategy = ColumnsStrategy()
        else:
            # All processes build the same model from the same seed; its graphs need not be sent around.
            strategy = DDPStrategy(find_unused_parameters=idle, broadcast_buffers=False, init_sync=False)
        return {
            "accelerator": kind,
            "devices": self.devices,
            "num_nodes": self.num_nodes,
            "strategy": strategy,
            "plugins": [],
        }

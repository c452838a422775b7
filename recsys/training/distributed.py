"""One training spread over the devices of a machine, and over machines: how it runs, not what comes out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from recsys.errors import UserError
from recsys.models import MODELS


def hush() -> None:
    """Silence pytorch-lightning's advice on hardware and loggers; what goes wrong still raises."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


@dataclass(frozen=True)
class Distributed:
    """Processes that train one model together, each on its share of every batch.

    The gradient is the whole batch's, whatever the number of processes, so that figures differ by rounding
    alone. Every process draws the same batches and the same noise: both follow from (seed, epoch).

    Attributes:
        devices: processes on each machine, one for each GPU where there are GPUs.
        num_nodes: machines.
        strategy: pytorch-lightning's; "auto" is "ddp" for more than one process.
    """

    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"

    def __post_init__(self) -> None:
        for name in ("devices", "num_nodes"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected 1 or more")
        if self.strategy not in ("auto", "ddp"):
            raise UserError(
                f"--strategy {self.strategy}: expected ddp; others split tables that graphs need whole"
            )

    @property
    def processes(self) -> int:
        """Their number."""
        return self.devices * self.num_nodes

    def check(self, model: str, built: Any = None) -> None:
        """UserError where one model, as its settings make it if it is `built`, cannot be trained by several
        processes."""
        if self.processes == 1 or (built or MODELS.get(model)).trains_in_shares:
            return
        able = ", ".join(name for name in sorted(MODELS.builtin) if MODELS.get(name).trains_in_shares)
        raise UserError(
            f"{model} cannot be trained by several processes: its loss is not a mean over the rows of a batch; use "
            f"--devices 1, or one of {able}"
        )

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

    def trainer_options(self, device: str, idle: bool = True) -> dict[str, Any]:
        """Where and how pytorch-lightning's Trainer trains.

        Args:
            device: auto, cpu, cuda, or cuda:N for one GPU by number.
            idle: whether a step may leave parameters without a gradient.

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
        # All processes build the same model from the same seed; its graphs need not be sent around.
        ddp = DDPStrategy(find_unused_parameters=idle, broadcast_buffers=False, init_sync=False)
        return {
            "accelerator": kind,
            "devices": self.devices,
            "num_nodes": self.num_nodes,
            "strategy": ddp,
            "plugins": [],
        }

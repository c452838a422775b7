"""A connection to a Dask distributed cluster, whose machines share the experiment's folder."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from recsys.errors import UserError
from recsys.experiments.processes import DEATHS, cores
from recsys.optional_imports import require

if TYPE_CHECKING:
    from distributed import Client

ANSWER_WITHIN = 10.0
"""Seconds that a scheduler has to answer."""


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the cluster at `address`, or of one started here for `local:N`, which ends with the block.

    Raises:
        UserError: the address does not answer, is not one, or the connection is lost within the block.
    """
    require("distributed", "dask")
    import dask
    from distributed import Client
    from distributed.comm import CommClosedError

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": DEATHS - 1}),
        contextlib.ExitStack() as stack,
    ):
        try:
            if address.startswith("local:"):
                address = stack.enter_context(_local(address))
            _knock(address)
            client = stack.enter_context(Client(address, timeout=ANSWER_WITHIN))
        except (OSError, TimeoutError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"no Dask scheduler answers at {address} ({reason}); start one with `dask scheduler`, or use "
                f"--dask local:N"
            ) from None
        try:
            yield client
        except (CancelledError, CommClosedError, TimeoutError) as error:
            raise UserError(
                f"lost the Dask scheduler at {address} ({type(error).__name__}); what is finished stays: run "
                f"the command again"
            ) from error


def _knock(address: str) -> None:
    """OSError at once where nobody listens; a client would go on trying."""
    from distributed.comm import parse_address
    from distributed.comm.addressing import parse_host_port

    scheme, place = parse_address(address)
    if scheme in ("tcp", "tls"):
        host, port = parse_host_port(place, 8786)
        socket.create_connection((host, port), ANSWER_WITHIN).close()
    elif scheme != "inproc":
        raise ValueError(f"unknown scheme {scheme}")


@contextlib.contextmanager
def _local(address: str) -> Iterator[str]:
    """A cluster of processes here, each with its share of the cores."""
    from distributed import LocalCluster

    number = address.removeprefix("local:")
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        raise UserError(f"--dask {address}: expected local:N with N processes, for example local:2")
    threads = str(max(1, cores() // int(number)))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    import dask

    with (
        dask.config.set({f"distributed.nanny.pre-spawn-environ.{name}": threads for name in names}),
        # Training has its own threads; and Dask's guess of a memory limit would stop what fits.
        LocalCluster(
            n_workers=int(number),
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster.scheduler_address


def worker_device(device: str) -> str:
    """`cuda:N` of worker N where the device is open and the machine has several GPUs."""
    import torch
    from distributed import get_worker

    gpus, name = torch.cuda.device_count(), str(get_worker().name)
    if device in ("auto", "cuda") and gpus > 1 and name.isdigit():
        return f"cuda:{int(name) % gpus}"
    return device

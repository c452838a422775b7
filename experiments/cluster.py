"""Jobs and scan workers on a Dask distributed cluster, whose machines share the experiment's folder."""

from __future__ import annotations

import contextlib
import logging
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from recsys.errors import UserError
from recsys.experiments.bench.config import Job
from recsys.experiments.bench.jobs import DEATHS, Outcome, finished, record_failure, run_job
from recsys.experiments.processes import cores
from recsys.optional_imports import require

if TYPE_CHECKING:
    from distributed import Client

    from recsys.experiments.tune.config import ScanPlan

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


def on_dask(jobs: Sequence[Job], address: str) -> Iterator[tuple[Job, Outcome]]:
    """Run the jobs on the cluster. A job whose worker dies is given to another, at most DEATHS times in all.

    Raises:
        UserError: as `connected`; a worker cannot write its files, or writes them where this process sees none.
    """
    with connected(address) as client:
        from distributed import KilledWorker, as_completed

        futures = {
            client.submit(_job, job, key=f"{job.folder.name}-{uuid.uuid4().hex}", pure=False): job
            for job in jobs
        }
        for future in as_completed(futures):
            job = futures[future]
            try:
                outcome = future.result()
            except KilledWorker:
                line = f"its worker died {DEATHS} times; out of memory?"
                outcome = Outcome(record_failure(job, line), 0.0)
            if not outcome.error and not finished(job.folder):
                raise UserError(
                    f"a worker finished {job.name}, and {job.folder} is not here: give --out a folder that all "
                    f"machines share"
                )
            yield job, outcome


def _job(job: Job) -> Outcome:
    return run_job(_on_own_gpu(job))


def _on_own_gpu(job: Job) -> Job:
    """The job on this worker's own GPU where a machine has several and the workers are numbered."""
    from dataclasses import replace

    return replace(job, config=job.config.model_copy(update={"device": worker_device(job.config.device)}))


def worker_device(device: str) -> str:
    """`cuda:N` of worker N where the device is open and the machine has several GPUs."""
    import torch
    from distributed import get_worker

    gpus, name = torch.cuda.device_count(), str(get_worker().name)
    if device in ("auto", "cuda") and gpus > 1 and name.isdigit():
        return f"cuda:{int(name) % gpus}"
    return device


def scan_on_dask(plan: ScanPlan, address: str, tell: Callable[[], None]) -> None:
    """Be one scan worker on each of the cluster's workers until the budget is spent."""
    with connected(address) as client:
        client.wait_for_workers(1, timeout=ANSWER_WITHIN)
        from distributed import KilledWorker, wait

        futures: list[Any] = [
            client.submit(_scan_worker, plan, key=f"scan-{uuid.uuid4().hex}", pure=False)
            for _ in client.scheduler_info(n_workers=-1)["workers"]
        ]
        while futures:
            with contextlib.suppress(TimeoutError):
                wait(futures, timeout=1.0)
            tell()
            for future in [f for f in futures if f.done()]:
                futures.remove(future)
                try:
                    error = future.result()
                except KilledWorker:
                    error = f"a worker died {DEATHS} times; finished trials stay: run the command again"
                if error:
                    raise UserError(error)


def _scan_worker(plan: ScanPlan) -> str:

    from recsys.experiments.tune.scan import work

    try:
        work(plan.on_device(worker_device(plan.scan.run.device)))
    except UserError as error:
        return str(error)
    return ""

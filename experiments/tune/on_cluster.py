"""Workers of a scan on a Dask cluster."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from typing import Any

from recsys.errors import UserError
from recsys.experiments.cluster import ANSWER_WITHIN, connected, worker_device
from recsys.experiments.processes import DEATHS
from recsys.experiments.tune.config import ScanPlan


def scan_on_dask(
    plan: ScanPlan, work: Callable[[ScanPlan], object], address: str, after_poll: Callable[[], None]
) -> None:
    """Call `work` on each of the cluster's workers until the budget is spent; `after_poll` is called once a second.

    Raises:
        UserError: as `connected`; a worker died too often, or `work` raised one.
    """
    with connected(address) as client:
        client.wait_for_workers(1, timeout=ANSWER_WITHIN)
        from distributed import KilledWorker, wait

        futures: list[Any] = [
            client.submit(_scan_worker, plan, work, key=f"scan-{uuid.uuid4().hex}", pure=False)
            for _ in client.scheduler_info(n_workers=-1)["workers"]
        ]
        while futures:
            with contextlib.suppress(TimeoutError):
                wait(futures, timeout=1.0)
            after_poll()
            for future in [f for f in futures if f.done()]:
                futures.remove(future)
                try:
                    error = future.result()
                except KilledWorker:
                    error = f"a worker died {DEATHS} times; finished trials stay: run the command again"
                if error:
                    raise UserError(error)


def _scan_worker(plan: ScanPlan, work: Callable[[ScanPlan], object]) -> str:
    try:
        work(plan.on_device(worker_device(plan.scan.run.device)))
    except UserError as error:
        return str(error)
    return ""

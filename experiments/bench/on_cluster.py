"""Jobs of an experiment on a Dask cluster."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace

from recsys.errors import UserError
from recsys.experiments.bench.config import Job
from recsys.experiments.bench.jobs import Outcome, finished, record_failure, run_job
from recsys.experiments.cluster import connected, worker_device
from recsys.experiments.processes import DEATHS


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
    return replace(job, config=job.config.model_copy(update={"device": worker_device(job.config.device)}))

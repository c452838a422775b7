"""Damaged files against the command line: each command ends well and right, or in one line and with exit status 2.

`python -m recsys.experiments.benchmarks.fuzz --cases 5000 --seed 0` makes small valid samples of every registered
reader's files, of cards, trained runs, experiments, scans, settings and of new items and users, draws a damage for each
case, runs a command on the damaged copy in a process of its own, and prints how each kind of file fared. `--only CASE`
repeats one case and shows its output; `--keep DIR` keeps what failed. Exit status 1 where a case failed.

A case is right where, within the time limit,

* the status is 2, the terminal shows at most three lines and 500 bytes and no traceback, and what the command was to
  write is not there, or whole; or
* the status is 0 (or, of `rerun`, 1: the figures differ), and the answer is right: of a damage that leaves the meaning
  whole, that of the whole file; of a data set, what a plain reading of the damaged files says (`fuzzing.reading` tells
  what that knows); of a run, the lists, vectors and figures of the whole run; of a report, the figures of metrics.json;
  of new items and users, a ranking for the ids that the damaged file holds; of an experiment, the rows that it names.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.experiments.benchmarks.fuzzing.cases import Answer, Plan, files_in, outputs, run_command
from recsys.experiments.benchmarks.fuzzing.samples import other_samples, reader_samples
from recsys.experiments.benchmarks.fuzzing.targets import preload, targets_of

LINES, BYTES = 3, 500
BUSY = 6
"""So many times as long as its processor time may be, a command may take by the clock on a busy machine."""
MEMORY = 8 * 2**30
"""Bytes that a command may map beyond what its parent has."""


@dataclass
class Ended:
    """How a case ended: the exit status (-1 at the time limit, -N by signal N), what the terminal shows, and the
    processor's seconds."""

    status: int
    out: str
    err: str
    seconds: float


@dataclass
class Result:
    """A case, what became of it, and what is wrong; "" where nothing."""

    case: int
    kind: str
    title: str
    outcome: str
    fault: str
    ended: Ended


def in_child(body: Callable[[], None], folder: Path, limit: float) -> Ended:
    """Run `body()` in a fork whose standard streams are files in `folder`.

    A child's exit status is that of SystemExit, 70 of another exception; its memory is limited, and its processor time
    to `limit` seconds.
    """
    pid = os.fork()
    if not pid:
        status = 70
        try:
            status = _as_program(body, folder)
        finally:
            os._exit(status)
    with contextlib.closing(os.fdopen(os.pidfd_open(pid))) as handle:
        ready, _, _ = select.select([handle], [], [], limit * BUSY)
    if not ready:
        os.kill(pid, signal.SIGKILL)
    _, raw, used = os.wait4(pid, 0)
    seconds = used.ru_utime + used.ru_stime
    status = os.waitstatus_to_exitcode(raw) if ready and seconds <= limit else -1
    read = [(folder / name).read_bytes().decode("utf-8", "replace") for name in ("stdout", "stderr")]
    return Ended(status, read[0], read[1], seconds)


def _as_program(body: Callable[[], None], folder: Path) -> int:
    """Run `body` as an interpreter runs a program: its streams, its tracebacks, its exit status."""
    import traceback

    for number, name in ((1, "stdout"), (2, "stderr")):
        opened = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    os.environ |= {"COLUMNS": "200", "RECSYS_CACHE": str(folder / "cache")}
    os.environ.pop("RECSYS_DATA", None)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, resource.RLIM_INFINITY))
    try:
        body()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        status = 70
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return 120
    return status


class Fuzzer:
    """The samples, and the cases that are drawn of them.

    Args:
        root: a folder for samples and copies.
        seed: of all cases.
        limit: seconds of a processor that a command may take.
    """

    def __init__(self, root: Path, seed: int = 0, limit: float = 10.0):
        self.root, self.seed, self.limit = root, seed, limit
        preload()
        samples = root / "samples"
        reader_samples(samples / "data")
        other_samples(samples)
        self.targets = targets_of(samples, self._answer)

    def _answer(self, run: Path, arguments: tuple[str, ...]) -> Answer:
        """A command's answer on a whole run."""
        folder = Path(tempfile.mkdtemp(dir=self.root))
        shutil.copytree(run, folder / "run")
        ended = in_child(lambda: run_command(folder, arguments), folder, 60)
        if ended.status:
            raise RuntimeError(f"{' '.join(arguments)}: {ended.err}")
        return Answer(ended.out, files_in(folder / "out"))

    def run(self, case: int) -> Result:
        """Draw, damage, run and judge one case."""
        rng = np.random.default_rng([self.seed, case])
        target = self.targets[case % len(self.targets)]
        folder = self.root / "cases" / str(case)
        folder.mkdir(parents=True)
        plan = target.plan(folder, rng)
        ended = in_child(plan.body, folder, self.limit)
        fault = self._fault(plan, ended, folder)
        outcome = {0: "right", 1: "right", 2: "refused"}.get(ended.status, "")
        return Result(case, target.kind, plan.title, "fault" if fault else outcome, fault, ended)

    def _fault(self, plan: Plan, ended: Ended, folder: Path) -> str:
        shown = ended.out + ended.err
        if ended.status == -1:
            return f"no end within {self.limit:g} s"
        if "Traceback" in shown or ended.status not in (0, *plan.also, 2):
            return f"exit status {ended.status}: {shown.strip().splitlines()[-1] if shown.strip() else ''}"
        if ended.status == 2:
            if plan.must_succeed:
                return f"refused what is whole: {ended.err.strip()}"
            shown = ended.err if plan.prints_first else shown
            if (
                shown.count("\n") > LINES
                or len(shown.encode()) > BYTES
                or not ended.err.startswith("recsys: ")
            ):
                return f"{shown.count(chr(10))} lines and {len(shown.encode())} bytes for one line"
            if not any(map(os.path.lexists, outputs(folder))):
                return ""
        (folder / "judge").mkdir()
        verdict = in_child(lambda: plan.judge(ended), folder / "judge", 60)
        said = verdict.out if verdict.status == 0 else f"the judge: {verdict.err.strip()[-200:]}"
        return " ".join(said.split())


def table(results: list[Result]) -> str:
    """Counts by kind of file and outcome."""
    kinds = sorted({r.kind for r in results})
    counts = Counter((r.kind, r.outcome) for r in results)
    columns = ("right", "refused", "fault")
    lines = [f"{'file':<24}" + "".join(f"{c:>10}" for c in ("cases", *columns))]
    for kind in [*kinds, "all"]:
        of = [sum(n for (k, o), n in counts.items() if kind in (k, "all") and o == c) for c in columns]
        lines.append(f"{kind:<24}" + "".join(f"{n:>10,}" for n in (sum(of), *of)))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run one case and show what it printed")
    parser.add_argument("--keep", type=Path, help="folder that keeps the files of failed cases")
    parser.add_argument("--limit", type=float, default=10.0, help="processor seconds of a command")
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as made:
        fuzzer = Fuzzer(Path(made), arguments.seed, arguments.limit)
        only = arguments.only
        cases = [only] if only is not None else range(arguments.first, arguments.first + arguments.cases)
        with contextlib.suppress(KeyboardInterrupt):  # what was found until then is told
            for case in cases:
                result = fuzzer.run(case)
                results.append(result)
                folder = Path(made) / "cases" / str(case)
                if result.fault or only is not None:
                    line = f"case {case}, {result.kind}: {result.title}: {result.fault or result.outcome}"
                    print(line[:500], flush=True)
                    if arguments.keep:
                        arguments.keep.mkdir(parents=True, exist_ok=True)
                        subprocess.run(["cp", "-a", folder, arguments.keep])
                if only is not None:
                    print(f"status {result.ended.status} in {result.ended.seconds:.1f} s")
                    print(result.ended.out + result.ended.err)
                shutil.rmtree(folder, ignore_errors=True)
    print(table(results))
    faults = sum(bool(r.fault) for r in results)
    print(f"{len(results):,} cases of seed {arguments.seed}, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())

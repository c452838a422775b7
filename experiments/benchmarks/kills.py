"""Whether commands survive SIGKILL: killed at random moments, looked at, finished, and compared with a run left alone.

    python -m recsys.experiments.benchmarks.kills [--commands train,bench,scan,report,convert,export,package,flagship]
        [--kills 20] [--seed 0] [--times 1] [--at moments]

Each command runs on toy data in a process of its own, forked from one that has imported everything, so that the moments
fall into its work and not into its imports. First it is left alone and measured; then it is killed in a new folder, at
a moment drawn evenly over its processor time (`--at moments`; on Linux), or just before one of the changes that it
makes to files, drawn evenly among them (`--at changes`; the same in every run). `flagship` is `train` with Confluence,
killed inside the training of a component; `package` writes over an older bundle. After each kill

* every file with its final name must be whole, and one that is written once must hold what it holds in the end;
  hidden files and folders, whose names begin with a dot, are temporary and may be anything;
* what a command replaces must be there, all of the old or all of the new;
* the command, with `--resume` where it has that, must end well, and leave the files that the run left alone has left,
  but for clocks;
* what was finished must not be made again: runs with metrics.json, and components before the one that was killed.

Besides, the run left alone must not open any file for writing under its final name. Exit status 1 where one of this
does not hold.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recsys.experiments.benchmarks.killed_command import check, run_command
from recsys.experiments.benchmarks.whole_files import content, temporary_files
from recsys.runs.artifacts import BUNDLE_FOLDER

OUT = "out"
GROWING = re.compile(r"(model\.safetensors|last\.ckpt|history\.csv|environment\.json|journal\.log)$")
"""Files that a command writes more than once."""
TRAINING = {"max_epochs": 12, "patience": 12, "batch_size": 64}
DRAWS = 5
"""So many moments are drawn for a kill at most; a command may be faster than the run left alone was."""


@dataclass(frozen=True)
class Case:
    """A command to kill.

    Attributes:
        arguments: of `recsys`, which writes below `out` in its working folder.
        again: further arguments to go on with; None where what is there is whole, and the command refuses it.
        components: folders of what it trains one after another; kills are to fall into one of their trainings.
        over: a folder that `out` holds beforehand and the command replaces.
        own: pattern of paths whose content may be another after a kill: seconds in texts, numbers of trials.
    """

    arguments: tuple[str, ...]
    again: tuple[str, ...] | None = ()
    components: tuple[str, ...] = ()
    over: Path | None = None
    own: str = r"^$"

    def begin(self, folder: Path) -> None:
        """Make the working folder."""
        folder.mkdir()
        if self.over is not None:
            shutil.copytree(self.over, folder / OUT)

    def replaced(self) -> dict[str, Any]:
        """Path -> content of what `out` holds beforehand."""
        held = {} if self.over is None else content(self.over)[0]
        return {f"{OUT}/{name}": value for name, value in held.items()}


@dataclass
class Whole:
    """A run left alone.

    Attributes:
        files: path -> content.
        window: seconds of processor time between which it is to be killed.
        changes: to files, that it made.
    """

    files: dict[str, Any]
    window: tuple[float, float]
    changes: int
    in_place: list[str]


@dataclass
class Outcome:
    """What kills of one command led to: each list holds a line for each fault."""

    kills: int = 0
    temporary: int = 0
    half_written: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    made_again: list[str] = field(default_factory=list)
    inside: dict[str, int] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        return [*self.half_written, *self.differing, *self.made_again]


def cases(place: Path) -> dict[str, Case]:
    """The commands, on what `prepare` left in `place`."""
    assignments = [part for key, value in TRAINING.items() for part in ("--set", f"{key}={value}")]
    train = ("--dataset", "toy", "--split", "random", "--device", "cpu", "--out", OUT, *assignments)
    return {
        "train": Case(("train", "--model", "lightgcn", *train), ("--resume",)),
        "bench": Case(
            ("bench", str(place / "bench.yaml"), "--device", "cpu", "--out", OUT), own=r"table\.md$"
        ),
        "scan": Case(
            ("scan", str(place / "scan.yaml"), "--device", "cpu", "--out", OUT),
            own=r"(\.svg|/workers/.*|trials/.*/(model\.safetensors|last\.ckpt))$",
        ),
        "report": Case(("report", str(place / "bench"), "--out", OUT)),
        "convert": Case(("data", "convert", "toy", OUT), again=None),
        "export": Case(("export", "--run", str(place / "run"), "--output", OUT)),
        "package": Case(("package", "--run", str(place / "run"), "--out", OUT), over=place / "older"),
        "flagship": Case(("train", "--model", "confluence", *train), ("--resume",), ("cm3", "mmhcl")),
    }


def prepare(place: Path) -> None:
    """Leave in `place` what the commands read: data, an experiment, a scan, and runs to report on and to export."""
    from recsys.datasets.convert import convert
    from recsys.datasets.toy import toy_data

    convert(toy_data(), place / "data" / "toy")
    small = {"width": 4, **TRAINING}
    models = {"pop": None, "lightgcn": {"settings": small}}
    bench = {"models": models, "datasets": ["toy"], "splits": ["random"], "seeds": [0, 1]}
    run = {"model": "lightgcn", "dataset": "toy", "split": "random", "settings": TRAINING}
    scan = {"run": run, "search": {"width": [4, 8, 16], "learning_rate": None}, "trials": 4}
    for name, values in (("bench", bench), ("scan", scan)):
        (place / f"{name}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    commands = cases(place)
    train, bench = (commands[name].arguments for name in ("train", "bench"))
    for arguments, out in ((train, "run"), (bench, "bench"), ((*train, "--seed", "1"), "other")):
        made = place / f"{out}-made"
        check(run_command(arguments, made, place), made)
        (made / OUT).rename(place / out)
    (place / "other" / BUNDLE_FOLDER).rename(place / "older")
    shutil.rmtree(place / "other")


def left_alone(case: Case, folder: Path, place: Path) -> Whole:
    """Run a command to its end in `folder`.

    Raises:
        RuntimeError: it fails, or leaves a damaged file.
    """
    case.begin(folder)
    ended = run_command(case.arguments, folder, place)
    check(ended, folder)
    files, damaged = content(folder)
    if damaged:
        raise RuntimeError(f"left alone: {damaged[0]}")
    window = (0.0, ended.seconds)
    if case.components:
        first, last = (f"{OUT}/{case.components[number]}/" for number in (0, -1))
        begun = min(at for at, path in ended.changes if path.startswith(first))
        # Each history is written to a temporary file first, the last one in the component's last epoch.
        over = max(at for at, path in ended.changes if path.startswith(f"{last}.history.csv"))
        window = (begun, over)
    return Whole(files, window, len(ended.changes), ended.in_place)


def differences(found: Mapping[str, Any], whole: Mapping[str, Any], case: Case) -> list[str]:
    """Paths whose content is not that of the run left alone. A resume file that is left over is no difference."""
    paths = [p for p in found.keys() | whole.keys() if not re.search(case.own, p)]
    paths = [p for p in paths if not p.endswith("last.ckpt")]
    return sorted(p for p in paths if p not in found or p not in whole or found[p] != whole[p])


def finished(folder: Path, case: Case) -> dict[Path, int]:
    """What a killed command had finished -> when it was written: runs, and all components but the last begun."""
    paths = list(folder.rglob("metrics.json"))
    begun = [name for name in case.components if (folder / OUT / name).is_dir()]
    done = begun if (folder / OUT / "model.safetensors").exists() else begun[:-1]
    paths += [folder / OUT / name / file for name in done for file in ("model.safetensors", "history.csv")]
    return {path: path.stat().st_mtime_ns for path in paths}


def training_of(folder: Path, case: Case) -> str:
    """The component whose training was under way when a command was killed; empty where none was."""
    begun = [name for name in case.components if (folder / OUT / name).is_dir()]
    if not begun or (folder / OUT / "model.safetensors").exists():
        return ""
    history = folder / OUT / begun[-1] / "history.csv"
    over = history.exists() and len(history.read_text().splitlines()) > TRAINING["max_epochs"]
    return "" if over else begun[-1]


def kill_and_finish(
    case: Case, folder: Path, place: Path, whole: Whole, whens: Sequence[dict[str, Any]], outcome: Outcome
) -> bool:
    """Kill a command at each of `whens` in turn, finish it and add to `outcome` what was wrong.

    Returns:
        False, and nothing is added, where it ended before the first kill, or was not in a component's training.
    """
    again: tuple[str, ...] = ()
    case.begin(folder)
    for number, when in enumerate(whens):
        ended = run_command((*case.arguments, *again), folder, place, **when)
        alive = ended.status == -signal.SIGKILL
        inside = training_of(folder, case)
        if not number and (not alive or (case.components and "moment" in when and not inside)):
            return False
        if not alive:
            check(ended, folder)
            break
        outcome.kills += 1
        if case.components:
            outcome.inside[inside or "none"] = outcome.inside.get(inside or "none", 0) + 1
        where = f"{folder.name}, {next(iter(when))} {next(iter(when.values())):.4g}"
        files, damaged = content(folder)
        written = {p: v for p, v in files.items() if not GROWING.search(p)}
        known = whole.files if case.over else {p: v for p, v in whole.files.items() if p in written}
        early = differences(written, known, case) if not case.over or written != case.replaced() else []
        outcome.half_written += [f"{where}: {line}" for line in [*damaged, *early]]
        outcome.temporary += bool(temporary_files(folder))
        kept = finished(folder, case)
        again = case.again or ()
    if case.again is not None or not (folder / OUT).exists():
        ended = run_command((*case.arguments, *again), folder, place)
        try:
            check(ended, folder)
        except RuntimeError as error:
            outcome.differing.append(f"{where}: {error}")
            return True
    files, damaged = content(folder)
    outcome.differing += [f"{where}: {n}" for n in [*damaged, *differences(files, whole.files, case)]]
    again_made = [p for p, stamp in kept.items() if not p.exists() or p.stat().st_mtime_ns != stamp]
    outcome.made_again += [f"{where}: {path.relative_to(folder)}" for path in again_made]
    return True


def kill_often(
    case: Case, folder: Path, place: Path, kills: int, seed: int, *, times: int = 1, at: str = "moments"
) -> tuple[Whole, Outcome]:
    """Kill a command `kills` times, each in a folder of its own below `folder`.

    Args:
        times: kills in a row before it is left to finish.
        at: "moments" or "changes".

    Raises:
        RuntimeError: it fails when left alone, or is over before it can be killed.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir()
    whole, outcome = left_alone(case, folder / "whole", place), Outcome()
    draw: Callable[[], dict[str, Any]] = (
        (lambda: {"moment": float(rng.uniform(*whole.window))})
        if at == "moments"
        else (lambda: {"change": int(rng.integers(whole.changes))})
    )
    for number in range(kills):
        for attempt in range(DRAWS):
            whens = [draw() for _ in range(times)]
            where = folder / f"{number}-{attempt}"
            if kill_and_finish(case, where, place, whole, whens, outcome):
                break
        else:
            raise RuntimeError(f"the command was over before it could be killed, {DRAWS} times")
    return whole, outcome


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commands", default="train,bench,scan,report,convert,export,package,flagship")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=int, default=1, help="kills in a row before a command may finish")
    parser.add_argument("--at", choices=["moments", "changes"], default="moments")
    options = parser.parse_args(arguments)
    wrong = []
    heads = ("seconds", "changes", "in place", "kills", "temporary", "half-written", "differ", "again")
    print(f"{'command':10s}" + "".join(f"{head:>13s}" for head in heads))
    with tempfile.TemporaryDirectory(prefix="recsys-kills-") as place:
        prepare(Path(place))
        for name in options.commands.split(","):
            case = cases(Path(place))[name]
            folder = Path(place) / f"kills-{name}"
            how = {"times": options.times, "at": options.at}
            whole, outcome = kill_often(case, folder, Path(place), options.kills, options.seed, **how)
            numbers = [whole.changes, len(whole.in_place), outcome.kills, outcome.temporary]
            numbers += [len(lines) for lines in (outcome.half_written, outcome.differing, outcome.made_again)]
            inside = "".join(f"  {count} in {where}" for where, count in outcome.inside.items())
            seconds = whole.window[1] - whole.window[0]
            print(f"{name:10s}{seconds:13.2f}" + "".join(f"{n:13d}" for n in numbers) + inside, flush=True)
            wrong += [f"{name}: written in place: {path}" for path in whole.in_place]
            wrong += [f"{name}: {line}" for line in outcome.faults]
    print("\n".join(wrong) or "every file whole, every end equal, nothing made again")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

"""One worker of a scan: takes trials from the study until the budget is spent, whoever else works on it.

Any number of workers share a study, and none knows of the others. What keeps the budget exact:

* A trial stands if fewer than `trials` trials with a lower number have not failed, and, in a grid, none of
  them has its point; otherwise its worker withdraws it. Numbers are given out once, so no two workers can
  take the last place.
* A running trial whose worker is dead is failed by whoever sees it first, and put back in the queue with its settings
  and its place; the next worker that takes it goes on from the last checkpoint. All that is drawn for a trial follows
  from its place, so that those after it are the same as if nobody had died.
* A worker on this machine is dead when the lock on its file in `workers/` is free: the kernel takes a killed
  process's lock back at once. One elsewhere is dead when its heartbeat has not moved for GRACE seconds.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from recsys.errors import UserError
from recsys.experiments.tune.space import Space
from recsys.experiments.tune.storage import StoredStudy
from recsys.experiments.tune.tuning import Tuning
from recsys.files import write_text

GRACE, BEAT, POLL = 120.0, 15.0, 0.5
UNCLAIMED_GRACE = 10.0
"""For a trial that nobody signed: its worker died in the moment after taking it."""
DEATHS = 5
"""A trial whose worker died this often is given up."""
HOPELESS = 5
"""So many errors without any success end the scan."""


@dataclass(frozen=True)
class Budget:
    """How much a worker may do: trials of the whole scan, seconds of this worker; None for no bound."""

    trials: int | None
    seconds: float | None


def ended(trial: FrozenTrial) -> bool:
    """Whether a trial counts against the budget: finished, pruned, or failed by its own fault."""
    if trial.state is TrialState.FAIL:
        return "error" in trial.user_attrs
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)


def stands(trial: FrozenTrial, trials: Sequence[FrozenTrial], budget: int | None, in_grid: bool) -> bool:
    """Whether `trial` is within the budget and, in a grid, the first with its point."""
    before = [t for t in trials if t.number < trial.number]
    before = [t for t in before if ended(t) or t.state in (TrialState.RUNNING, TrialState.WAITING)]
    if budget is not None and len(before) >= budget:
        return False
    point = _point(trial)
    return not in_grid or (point is not None and all(_point(t) != point for t in before))


def place_of(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """The number that a trial would have if no worker had died: what is run again has the place that it had."""
    again = sum("place" in t.user_attrs for t in trials if t.number < trial.number)
    return int(trial.user_attrs.get("place", trial.number - again))


def _point(trial: FrozenTrial) -> Any:
    return trial.user_attrs.get("point")


class Worker:
    """Runs trials of `study`.

    Args:
        tuning: trains with given settings and returns the validation value.
        space: what to vary.
        points: all combinations of a grid; None where a sampler chooses.
        sampler: makes the sampler of a trial from its seed.
        folder: of the scan.
        after_trial: called after each trial.
    """

    def __init__(
        self,
        study: StoredStudy,
        tuning: Tuning,
        space: Space,
        folder: Path,
        *,
        points: list[dict[str, Any]] | None,
        sampler: Callable[[int], Any],
        after_trial: Callable[[], None] = lambda: None,
    ):
        self.study, self.tuning, self.space, self.folder = study, tuning, space, folder
        self.points, self.sampler, self.after_trial = points, sampler, after_trial
        self.id, self.host = uuid.uuid4().hex, socket.gethostname()
        self._beats: dict[int, tuple[Any, float]] = {}

    def run(self, budget: Budget) -> None:
        """Take trials until the budget is spent.

        Raises:
            UserError: no trial succeeds, or files cannot be written.
        """
        deadline = time.monotonic() + budget.seconds if budget.seconds is not None else None
        (self.folder / "workers").mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock_file(self.id)):
            while deadline is None or time.monotonic() < deadline:
                trials = self.study.get_trials(deepcopy=False)
                if self._fail_dead(trials):
                    continue
                done = [t for t in trials if ended(t)]
                self._check_hope(done)
                running = sum(t.state is TrialState.RUNNING for t in trials)
                if budget.trials is not None and len(done) >= budget.trials:
                    break
                if budget.trials is not None and len(done) + running >= budget.trials:
                    time.sleep(POLL)
                elif (trial := self._claim(budget.trials)) is not None:
                    self._attempt(trial)
                    self.after_trial()
        self._lock_file(self.id).unlink(missing_ok=True)

    def _lock_file(self, worker: str) -> Path:
        return self.folder / "workers" / f"{worker}.lock"

    def _check_hope(self, done: Sequence[FrozenTrial]) -> None:
        errors = [t.user_attrs["error"] for t in done if "error" in t.user_attrs]
        if len(errors) >= HOPELESS and len(errors) == len(done):
            raise UserError(f"the first {len(errors)} trials all failed, the last with: {errors[-1]}")

    def _fail_dead(self, trials: Sequence[FrozenTrial]) -> bool:
        """Fail running trials whose worker is dead, and queue their settings again."""
        dead = [t for t in trials if t.state is TrialState.RUNNING and self._is_dead(t)]
        for trial in dead:
            deaths = trial.user_attrs.get("deaths", 0) + 1
            if deaths >= DEATHS:
                line = f"its worker died {deaths} times; out of memory?"
                self.study.record_error(trial.number, line)
            if self._tell(trial.number, state=TrialState.FAIL) and deaths < DEATHS:
                self._again(trial, trials, deaths)
        return bool(dead)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        host, signed = trial.user_attrs.get("worker", (None, None))
        if signed == self.id:
            return False
        if host == self.host and self._lock_file(signed).exists():
            try:
                with FileLock(self._lock_file(signed), blocking=False):
                    return True
            except Timeout:
                return False
        beat, now = trial.user_attrs.get("beat"), time.monotonic()
        last, since = self._beats.setdefault(trial.number, (beat, now))
        if last != beat:
            self._beats[trial.number] = (beat, now)
            return False
        return now - since > (GRACE if signed else UNCLAIMED_GRACE)

    def _again(self, trial: FrozenTrial, trials: Sequence[FrozenTrial], deaths: int) -> None:
        drawn = trial.params.keys() == self.space.keys()
        params = trial.params if drawn else trial.system_attrs.get("fixed_params", {})
        attrs = {"deaths": deaths, "place": place_of(trial, trials)}
        attrs |= {"point": _point(trial)} if self.points is not None else {}
        self.study.enqueue_trial(params, user_attrs=attrs)

    def _tell(self, trial: Any, value: float | None = None, state: TrialState | None = None) -> bool:
        """Finish a trial; False where another worker, who took its worker for dead, did so before."""
        try:
            self.study.tell(trial, value, state)
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        except ValueError as error:
            if str(error).startswith("Cannot tell a "):
                return False
            raise
        return True

    def _claim(self, budget: int | None) -> optuna.Trial | None:
        """Take the next trial; None where it turned out not to stand."""
        if self.points is not None:
            self._queue_next_point()
        trial = self.study.ask()
        trial.set_user_attr("worker", [self.host, self.id])
        # Everything random in a trial follows from the scan's seed and the trial's place, so that workers do
        # not repeat each other and a scan that was killed goes on as it would have.
        self.study.sampler = self.sampler(self._place(trial))
        for name, distribution in self.space.items():
            suggest(trial, name, distribution)
        trials = self.study.get_trials(deepcopy=False)
        own = next(t for t in trials if t.number == trial.number)
        if stands(own, trials, budget, self.points is not None):
            return trial
        self._tell(trial, state=TrialState.FAIL)
        return None

    def _place(self, trial: optuna.Trial) -> int:
        trials = self.study.get_trials(deepcopy=False)
        return place_of(next(t for t in trials if t.number == trial.number), trials)

    def _queue_next_point(self) -> None:
        trials = self.study.get_trials(deepcopy=False)
        if any(t.state is TrialState.WAITING for t in trials):
            return
        taken = [_point(t) for t in trials if ended(t) or t.state is TrialState.RUNNING]
        point = next((p for p in self.points or () if p not in taken), None)
        if point is not None:
            self.study.enqueue_trial(point, user_attrs={"point": point})

    def _attempt(self, trial: optuna.Trial) -> None:
        folder = self.folder / "trials" / f"{self._place(trial):04d}"
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "settings.json", json.dumps(trial.params, indent=2) + "\n")
        try:
            with self._heartbeat(trial):
                value = self.tuning.value(trial.params, folder, (pruning_callback(trial),))
            if not math.isfinite(value):
                raise UserError(f"the validation value is {value}")
            self._tell(trial, value)
        except optuna.TrialPruned:
            self._tell(trial, state=TrialState.PRUNED)
        except (KeyboardInterrupt, optuna.exceptions.StorageInternalError):
            self._give_back(trial)
            raise
        except Exception as error:
            if isinstance(error.__cause__, OSError):  # no room for files: not this trial's fault
                self._give_back(trial)
                raise
            self._failed(trial, error, folder)
        from recsys.training.filenames import MODEL_FILE, resume_files

        for path in (folder / MODEL_FILE, *resume_files(folder)):
            path.unlink(missing_ok=True)

    def _give_back(self, trial: optuna.Trial) -> None:
        """Put a trial back in the queue where the storage still allows it; its heartbeat's end does otherwise."""
        with contextlib.suppress(Exception):
            if self._tell(trial, state=TrialState.FAIL):
                trials = self.study.get_trials(deepcopy=False)
                own = next(t for t in trials if t.number == trial.number)
                self._again(own, trials, own.user_attrs.get("deaths", 0))

    def _failed(self, trial: optuna.Trial, error: Exception, folder: Path) -> None:
        """Record an error as what it is: no score."""
        line = " ".join(str(error).split())
        line = line if isinstance(error, UserError) else f"{type(error).__name__}: {line}"
        write_text(folder / "error.log", "".join(traceback.format_exception(error)))
        with contextlib.suppress(RuntimeError):
            trial.set_user_attr("error", line)
        self._tell(trial, state=TrialState.FAIL)

    @contextlib.contextmanager
    def _heartbeat(self, trial: optuna.Trial) -> Iterator[None]:
        stop = threading.Event()

        def beat() -> None:
            count = 0
            while not stop.wait(BEAT):
                count += 1
                # A lost storage is the training's to report: it writes there too.
                with contextlib.suppress(Exception):
                    trial.set_user_attr("beat", count)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def suggest(trial: optuna.Trial, name: str, distribution: Any) -> None:
    """Draw one setting of a trial."""
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
        return
    kind = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    kind(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def pruning_callback(trial: optuna.Trial) -> Any:
    """A pytorch-lightning callback that reports each validation to `trial`, and raises TrialPruned when the pruner
    says so."""
    import pytorch_lightning as pl

    class Prune(pl.Callback):
        """Reports before the next epoch begins, by when the validation of the last one is known."""

        reported = 0

        def _report(self, trainer: pl.Trainer, module: Any) -> None:
            callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning's connector sets it
            keeper = next(callback for callback in callbacks if hasattr(callback, "best_epoch"))
            for row in keeper.history[self.reported :]:
                if module.settings.monitor in row:
                    trial.report(row[module.settings.monitor], row["epoch"] + 1)
            self.reported = len(keeper.history)

        def on_train_epoch_start(self, trainer: pl.Trainer, module: Any) -> None:
            before = self.reported
            self._report(trainer, module)
            if self.reported > before and trial.should_prune():
                raise optuna.TrialPruned

        def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
            self._report(trainer, module)

    return Prune()

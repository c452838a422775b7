"""What a person sees while a model trains."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from recsys.terminal import visible

BAR_WIDTH = 8


class Title(ProgressColumn):
    """What is trained, cut short where the line is too narrow for it: the figures go before it."""

    def render(self, task: Task) -> Text:
        return Text(visible(task.description), no_wrap=True, overflow="ellipsis")


class EpochBar(pl.Callback):
    """One line: epochs done, the time left at most, the last loss, and the best validation so far."""

    def __init__(self, title: str, console: Console):
        self._title, self._console = title, console
        self._bar: Progress | None = None
        self._task: Any = None

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        columns = (
            BarColumn(BAR_WIDTH, table_column=Column(no_wrap=True)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[news]}", markup=False, table_column=Column(no_wrap=True)),
        )
        self._bar = Progress(Title(), *columns, console=self._console, transient=True)
        self._task = self._bar.add_task(
            self._title, total=trainer.max_epochs, completed=trainer.current_epoch, news=""
        )
        self._bar.start()

    def show(self, epoch: int, news: str) -> None:
        """Move the bar to `epoch` and print `news` beside it."""
        if self._bar:
            self._bar.update(self._task, completed=epoch, news=news)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        loss = sum(module.mean_terms().values())
        callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning's connector sets it
        best = next((c for c in callbacks if hasattr(c, "best_epoch")), None)
        news = f"loss {loss:.4f}"
        if best is not None and best.best_epoch >= 0:
            news += f", {module.settings.monitor} {best.best:.4f} at epoch {best.best_epoch}"
        self.show(trainer.current_epoch + 1, news)

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        self.close()

    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        self.close()

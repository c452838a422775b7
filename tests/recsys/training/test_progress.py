"""The bar beside a training: one line, as wide as the terminal at most, whatever the names."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from recsys.training.progress import EpochBar

LONG = "confluence-with-a-long-name [all] on a-data-set-whose-name-is-longer-than-a-line-of-a-terminal"


def lines(title, width, monitor="ndcg@20"):
    """What a terminal shows after an epoch."""
    settings = SimpleNamespace(monitor=monitor)
    module = SimpleNamespace(mean_terms=lambda: {"bpr": 0.5, "contrastive": 0.25}, settings=settings)
    stopper = SimpleNamespace(best_epoch=999, best=0.1717)
    trainer = SimpleNamespace(max_epochs=1000, current_epoch=0, callbacks=[stopper])
    bar = EpochBar(title, Console(file=io.StringIO(), width=width, force_terminal=True))
    bar.on_train_start(trainer, module)
    trainer.current_epoch = 998
    bar.on_train_epoch_end(trainer, module)
    console = Console(file=io.StringIO(), width=width)
    console.print(bar._bar.get_renderable())
    bar.close()
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("monitor", ["ndcg@20", "cold_pool:recall@20"])
@pytest.mark.parametrize("title", ["pop on toy", LONG])
def test_the_bar_fits_80_columns_with_all_its_figures(title, monitor):
    (line,) = lines(title, 80, monitor)
    assert len(line) <= 80 and " 999/1000 " in line
    assert line.rstrip().endswith(f"loss 0.7500, {monitor} 0.1717 at epoch 999")
    if monitor == "ndcg@20":
        assert line.startswith("pop on toy " if title != LONG else LONG[:10])


def test_a_narrow_terminal_still_has_one_line():
    (line,) = lines(LONG, 40)
    assert len(line) <= 40


def test_a_name_is_shown_as_it_is():
    (line,) = lines(LONG, 200)
    assert line.startswith(f"{LONG} ")

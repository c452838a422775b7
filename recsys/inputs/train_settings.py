"""How a model is trained: settings of the loop that a model's author and an experiment may both name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from recsys.settings import Settings, setting

RATE_POWER, RATE_MOST = 0.75, 8.0
"""How the learning rate grows with the batch, and how many times at most."""
AS_PUBLISHED: Mapping[str, int] = MappingProxyType({"max_steps": 0, "plateau": 1, "smooth": 1})
"""What no authors do: larger batches on larger data, more patience where popularity stands, a mean of validations."""


class TrainSettings(Settings):
    """How a model is trained; a model may have its own defaults (`train_defaults`).

    The protocol is one for all models, and not any authors': weight decay is decoupled (they add it to Adam's
    gradient), ID tables start Xavier-normal (most of theirs Xavier-uniform, LightGCN's N(0, 0.1^2)), NDCG@20 chooses
    the epoch (theirs: Recall@20) with one patience, longer as long as a model is no better than popularity, batches are
    larger on larger data, and the test masks what a user has in the validation part (theirs do not). `--published`
    takes a model's own metric, patience, batches and masks (`Model.published`).
    """

    max_epochs: int = setting(1000, "largest number of epochs", low=1)
    batch_size: int = setting(2048, "positive pairs in a batch", low=1, search=[512, 1024, 2048, 4096])
    max_steps: int = setting(
        32,
        "steps of an epoch at most, of a model each step of which costs the whole graph: on larger data batches are "
        "larger, and the learning rate with them; 0: as many as batch_size makes",
        low=0,
    )
    learning_rate: float = setting(1e-3, "Adam's step size", low=0, high=10, search=(5e-4, 5e-3), log=True)
    decay: float = setting(1.0, "factor that multiplies the learning rate after each epoch", low=0.01, high=1)
    weight_average: float = setting(
        0.0,
        "decay of a moving average of the weights over steps, which is what is validated and kept; 0: the weights "
        "themselves",
        low=0,
        high=0.9999,
        search=[0.0, 0.98, 0.995],
    )
    weight_decay: float = setting(0.0, "AdamW's decoupled weight decay of all parameters", low=0)
    negatives: int = setting(1, "negatives for each positive", low=1, high=4096)
    sample_by: Literal["pairs", "users", "rows"] = setting(
        "pairs", "what an epoch visits: all pairs; users, drawn for as many batches; or each user's row once"
    )
    eval_every: int = setting(1, "epochs between validations", low=1)
    patience: int = setting(40, "validations without improvement before training stops", low=1)
    smooth: int = setting(
        3,
        "validations whose mean chooses the epoch and runs out patience; the last of them is the one that is kept",
        low=1,
        high=100,
    )
    plateau: int = setting(
        5,
        "how many times as long patience is as long as the best validation is less than 1.1 times that of popularity, "
        "which many models learn first",
        low=1,
        high=1000,
    )
    monitor: str = setting("ndcg@20", "validation metric that chooses the epoch")
    logger: Literal["csv", "tensorboard", "mlflow"] = setting(
        "csv", "where training curves are logged besides history.csv"
    )
    diagnostics: bool = setting(
        False, "whether each validation records alignment, uniformity, effective rank and modality gaps"
    )

    def at_scale(self, visited: int) -> TrainSettings:
        """The settings with batches so large that an epoch takes at most `max_steps` steps.

        A step that propagates over the whole graph costs the same whatever its batch, so that an epoch in batches of
        one size costs the square of the interactions; in a bounded number of steps it costs as much as they are many.
        The learning rate grows with the batch to the power RATE_POWER, RATE_MOST times at most;
        `python -m recsys.experiments.benchmarks.scale accuracy` measures what that reaches.

        Args:
            visited: what an epoch visits: pairs, or rows.
        """
        batch = -(-visited // self.max_steps) if self.max_steps else 0
        if batch <= self.batch_size:
            return self
        rate = min((batch / self.batch_size) ** RATE_POWER, RATE_MOST)
        return self.model_copy(update={"batch_size": batch, "learning_rate": self.learning_rate * rate})

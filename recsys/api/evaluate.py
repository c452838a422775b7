"""The test's figures of recommendations that were made elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsys.api.figures import RunMetrics
from recsys.api.train import dataset_of, place_of
from recsys.api.trained_run import keep_data
from recsys.datasets.cards import load_dataset
from recsys.datasets.checks import need_columns, place, positions, to_tokens
from recsys.datasets.dataset import Dataset
from recsys.datasets.frames import to_pandas
from recsys.datasets.splits import Split, default_protocol, make_split
from recsys.errors import DataError, UserError, nearest
from recsys.evaluation.recommendations import MatrixScorer, TableScorer, table_of_lists
from recsys.evaluation.scorers import Scorer
from recsys.files import atomic
from recsys.inputs.training_data import TrainingData
from recsys.runs.artifacts import (
    ENVIRONMENT_FILE,
    MASK,
    METRICS_FILE,
    USERS_FILE,
    Environment,
    Metrics,
    make_folder,
    write_json,
)
from recsys.runs.config import RunConfig, config_checksum, save_config
from recsys.runs.lists_files import read_lists
from recsys.runs.record import environment
from recsys.runs.run import make_evaluator, reported_figures, with_ids
from recsys.runs.tasks import TASKS
from recsys.settings import build

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame


@dataclass(frozen=True, eq=False)
class Evaluated:
    """How well lists or scores do on a test; `recsys.compare` takes it as a row beside models.

    Attributes:
        config: the test: data set, task, split and metrics; `model` is the name.
        metrics: as of a trained run.
        per_user: each tested user's figures: columns `user` (raw id), `number`, `group` and one for each metric.
        notes: what should be known of the lists.

    Stability: stable.

    Example:
        >>> import numpy as np, recsys
        >>> data = recsys.toy_data()
        >>> noise = np.random.default_rng(0).random((data.n_users, data.n_items))
        >>> row = recsys.evaluate(noise, data, split="random", name="noise")
        >>> row.name, len(row.per_user.query("group == 'overall'")) == row.metrics.users["test"]
        ('noise', True)
    """

    config: RunConfig
    metrics: RunMetrics
    per_user: pd.DataFrame
    notes: tuple[str, ...]
    _tested: tuple[Dataset, Split]

    @property
    def name(self) -> str:
        """The row that it is in a table."""
        return self.config.model

    def save(self, folder: str | Path) -> Path:
        """Write what a run's folder holds, but for a model, so that `recsys report` puts it beside trained runs: in the
        same table, slices and verdicts.

        Raises:
            UserError: the folder is not empty, or cannot be written.

        Example:
            >>> import numpy as np, recsys, tempfile
            >>> data = recsys.toy_data()
            >>> row = recsys.evaluate(np.ones((data.n_users, data.n_items)), data, split="random", name="alike")
            >>> sorted(path.name for path in row.save(tempfile.mkdtemp() + "/alike").iterdir())[:3]
            ['config.yaml', 'data', 'environment.json']
        """
        target, (dataset, split) = Path(folder), self._tested
        make_folder(target)
        config = self.config
        if dataset.whole.origin is None:
            config = config.model_copy(update={"dataset": keep_data(dataset.whole, target)})
        save_config(config, target)
        about = environment(dataset, split) | {"config_sha256": config_checksum(config.model_dump())}
        write_json(Environment(**about), target / ENVIRONMENT_FILE)
        with atomic(target / USERS_FILE) as temporary:
            self.per_user.to_parquet(temporary, index=False)
        write_json(self.metrics.values, target / METRICS_FILE)
        return target


def evaluate(
    recommendations: IntoDataFrame | np.ndarray | sp.sparray | Any,
    data: Dataset | str,
    *,
    split: str = "",
    split_options: Mapping[str, Any] | None = None,
    split_seed: int = 0,
    task: str = "recommend",
    metrics: Iterable[str] = (),
    mask: str = MASK,
    name: str = "given lists",
) -> Evaluated:
    """Rank by lists or scores made by anything, and measure as a trained model is measured: on the same test part, with
    what a user is known to have left out of the ranking.

    Args:
        recommendations: a frame with a row for each recommendation: user, item (raw ids) and `score`, or `rank` from 1;
            items that a user's rows do not name rank below, tied. Or an (n_users, n_items) matrix of scores, rows and
            columns in the order of `data.user_ids` and `data.item_ids`: a NumPy array, a torch tensor, or a sparse
            matrix of SciPy whose unstored entries rank lowest.
        data, split, split_options, split_seed, task, metrics, mask: as in `recsys.train`.
        name: the row that it is in a table.

    Raises:
        DataError: a column that is missing, a user or item that the data set does not have, a matrix of another shape.
        UserError: a score that is no number, a pair that occurs twice, an unknown metric.

    Stability: stable.

    Example:
        >>> import numpy as np, recsys
        >>> data = recsys.toy_data()
        >>> scores = np.zeros((data.n_users, data.n_items), dtype=np.float32)
        >>> evaluated = recsys.evaluate(scores, data, split="random")
        >>> evaluated.metrics.test["ndcg@20"] == evaluated.metrics.chance.test["ndcg@20"]
        True
    """
    dataset = dataset_of(data)
    values = {
        "model": name,
        **place_of(dataset),
        "task": task,
        "split": split,
        "split_options": dict(split_options or {}),
        "split_seed": split_seed,
        "metrics": list(metrics),
        "mask": mask,
    }
    config: RunConfig = build(RunConfig, values, "evaluate")
    view = TASKS[config.task].view(dataset)
    return evaluate_config(config, view, _scorer(recommendations, view, "recommendations"))


def evaluate_file(path: Path, config: RunConfig) -> Evaluated:
    """Measure the recommendations of a file (see `recsys.runs.lists_files.read_lists`), as `recsys evaluate` does.

    Args:
        config: the test; `model` is the row's name.

    Raises:
        UserError, DataError: as `evaluate`, with the file and the line.
    """
    view = TASKS[config.task].view(load_dataset(config.dataset, config.data_root))
    return evaluate_config(config, view, _scorer(read_lists(path, view), view, str(path)))


def evaluate_config(config: RunConfig, view: Dataset, scorer: Scorer) -> Evaluated:
    """What `evaluate` makes of a test and what ranks in it.

    Args:
        view: the data set as the task sees it.
    """
    start = time.perf_counter()
    config = config.model_copy(update={"split": config.split or default_protocol(view)})
    split = make_split(view, config.split, config.split_seed, **config.split_options)
    evaluator = make_evaluator(
        view,
        split,
        TrainingData.of(view, split),
        "test",
        metrics=config.wanted_metrics(),
        mask=config.mask,
    )
    evaluation = evaluator.evaluate(scorer)
    names = {
        "model": config.model,
        "dataset": view.name,
        "task": config.task,
        "split": config.split,
        "seed": 0,
        "split_seed": config.split_seed,
        "mask": config.mask,
    }
    seconds = time.perf_counter() - start
    timing = {"evaluate": seconds, "total": seconds}
    reported = Metrics.model_validate({**names, "timing": timing, **reported_figures(evaluation)}).dump()
    per_user, notes = with_ids(evaluation.per_user, view), _notes(scorer, view, split)
    return Evaluated(config, RunMetrics(reported), per_user, notes, (view, split))


def _notes(scorer: Scorer, view: Dataset, split: Split) -> tuple[str, ...]:
    """What should be known of lists: tested users who have none."""
    if not isinstance(scorer, TableScorer):
        return ()
    tested = np.unique(view.interactions["user"].to_numpy()[split.test])
    without = int((np.diff(scorer.table.indptr)[tested] == 0).sum())
    if not without:
        return ()
    return (f"{without:,} of {len(tested):,} tested users have no list: they count as a random order does",)


def _scorer(given: Any, dataset: Dataset, source: str) -> Scorer:
    shape = dataset.n_users, dataset.n_items
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    if not isinstance(given, np.ndarray) and not sp.issparse(given):
        table = given if isinstance(given, pd.DataFrame) and given.index.name else to_pandas(given, source)
        return TableScorer(table_of_lists(_numbered(table, dataset, source), shape, source))
    if given.shape != shape or given.dtype.kind not in "fiub":
        raise DataError(
            f"scores: expected a matrix of {shape[0]:,} users x {shape[1]:,} items, in the order of data.user_ids and "
            f"data.item_ids, got {given.dtype} of shape {given.shape}"
        )
    if not sp.issparse(given):
        return MatrixScorer(given)
    entries = given.tocoo()
    rows, columns = entries.coords
    frame = pd.DataFrame({"user": rows, "item": columns, "score": entries.data})
    return TableScorer(table_of_lists(frame.astype({"user": np.int64, "item": np.int64}), shape))


def _numbered(table: pd.DataFrame, dataset: Dataset, source: str) -> pd.DataFrame:
    """Lists with raw ids as lists with the data set's numbers."""
    table = pd.DataFrame(dataset.with_own_names(dict(table.items()), "", "user", "item"))
    by = "score" if "score" in table or "rank" not in table else "rank"
    need_columns(table, ["user", "item", by], source)
    made = pd.DataFrame({"score": table[by] if by == "score" else -table[by]})
    for noun, ids in (("user", dataset.user_ids), ("item", dataset.item_ids)):
        tokens = to_tokens(table[noun], source)
        made[noun] = positions(ids, tokens)
        if (bad := (made[noun] < 0).to_numpy()).any():
            unknown = tokens[int(np.argmax(bad))]
            where = f"{source}: {place(table.index, bad)}"
            raise DataError(f"{where}: '{dataset.name}' has no {noun} '{unknown}'{nearest(unknown, ids)}")
    if not pd.api.types.is_numeric_dtype(made["score"]):
        raise UserError(f"{source}: column '{by}' is {table[by].dtype}, expected numbers")
    return made

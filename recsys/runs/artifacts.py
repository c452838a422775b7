"""A run's folder: the names of its files and groups, and the schemas of metrics.json and environment.json."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.datasets.cards import CARD_FILE
from recsys.datasets.dataset import Provenance
from recsys.errors import UserError
from recsys.files import cannot_write, check_regular, parse_json, write_text
from recsys.training.filenames import HISTORY_FILE, MODEL_FILE, RESUME_FILE

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BUNDLE_FOLDER",
    "CONFIG_FILE",
    "DATA_FOLDER",
    "ENVIRONMENT_FILE",
    "GROUPS",
    "GROUP_NAMES",
    "HISTORY_FILE",
    "METRICS_FILE",
    "MODEL_FILE",
    "RESUME_FILE",
    "USERS_FILE",
    "Environment",
    "Metrics",
    "make_folder",
    "new_folder",
    "own_card",
    "read_environment",
    "read_metrics",
    "test_key",
    "write_json",
]

CONFIG_FILE, METRICS_FILE, USERS_FILE = "config.yaml", "metrics.json", "per_user.parquet"
ENVIRONMENT_FILE = "environment.json"
BUNDLE_FOLDER = "serving"
"""Where a run keeps the bundle that `recsys recommend --run` answers from."""
DATA_FOLDER = "data"
"""Where a run keeps its data set, if that was made in memory: a folder of its name with a card."""

GROUPS = {
    "overall": "all",
    "warm": "warm items",
    "cold": "cold items",
    "cold_pool": "cold among cold",
    "head": "head items",
    "tail": "tail items",
    "warm_users": "warm users",
    "cold_users": "cold users",
}
"""Groups of the test's answers, as tables name them. "cold_pool": cold items ranked among cold items alone."""


def test_key(group: str) -> str:
    """Where metrics.json keeps a group's figures: "test" for all answers, "test_warm" and so on for the others."""
    return "test" if group == "overall" else f"test_{group}"


MASK = "train+valid"
"""Parts whose items a test leaves out of a user's ranking, unless a run says otherwise."""
GROUP_NAMES = {test_key(group): label for group, label in GROUPS.items()}
Values = dict[str, float]


class Timing(BaseModel):
    """Seconds that a run took."""

    model_config = ConfigDict(extra="allow")

    graph: float = 0.0
    train_epoch_median: float = 0.0
    evaluate: float = 0.0
    total: float


class Metrics(BaseModel):
    """What metrics.json holds: the run's names, its figures by group, and what chance gives beside them.

    Attributes:
        drawn: users whom the test was drawn from, where it does not take all; `standard_error` then tells by group how
            far the figures may be from those of all.
        mask: whose items the test left out of a user's ranking.
        rerank: the re-ranking step of the lists and its settings; None where there was none.
        test, test_warm, ...: metric -> mean over the group's users (see `GROUPS`); None where nobody is in it, and
            no figure at all where nothing was held out.
        chance: group -> metric -> the expected value of a random order.
        users: group -> users averaged.
        test_opened: how often the test part was evaluated.
        batch_size, learning_rate: of the training, where the settings' own were scaled to large data.
        best, best_epoch: the validation value that chose the weights, and its epoch; of a closed-form model none.
        leak_audit: graphs, samplers and tables that were checked for cold users and items.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    dataset: str
    task: str = "recommend"
    split: str
    seed: int
    split_seed: int = 0
    mask: str = MASK
    rerank: str | None = None
    drawn: int | None = None
    ranks_cold_items: bool = True
    test: Values = {}
    test_warm: Values | None = None
    test_cold: Values | None = None
    test_cold_pool: Values | None = None
    test_head: Values | None = None
    test_tail: Values | None = None
    test_warm_users: Values | None = None
    test_cold_users: Values | None = None
    chance: dict[str, Values] = {}
    standard_error: dict[str, Values] = {}
    users: dict[str, int] = {}
    test_opened: int = 1
    epochs: int = 1
    batch_size: int | None = None
    learning_rate: float | None = None
    best_epoch: int | None = None
    best: float | None = None
    timing: Timing
    leak_audit: int = 0

    def dump(self) -> dict[str, Any]:
        """As metrics.json holds it: groups without users are left out."""
        return self.model_dump(exclude_none=True)


class Environment(BaseModel):
    """What environment.json holds: what a run's figures rest on besides its configuration, and what it took.

    Attributes:
        notes: what should be known of the data, the split and the graphs.
        content: modality -> how it came about.
        data_sha256, split_sha256, config_sha256: checksums of the data set, of the split's row numbers, and of what
            config.yaml says but for places; the last is empty of runs that did not record it.
        usage: wall and CPU seconds, and peak memory in MiB.
        forecast: what a run on large data was forecast to take; see `recsys.runs.forecast.Forecast`.
        warm_start: what a training that started from another run's weights took over; see
            `recsys.runs.warm_start.start`.
    """

    model_config = ConfigDict(extra="allow")

    python: str
    packages: dict[str, str]
    commit: str | None = None
    hardware: dict[str, Any]
    threads: int
    data_sha256: str
    split_sha256: str
    config_sha256: str = ""
    processes: int = 1
    notes: list[str] = []
    content: dict[str, Provenance] = {}
    usage: dict[str, float | None] = {}
    forecast: dict[str, Any] | None = None
    warm_start: dict[str, Any] | None = None


def write_json(values: BaseModel | dict[str, Any], path: Path) -> dict[str, Any]:
    """Write a record, whole or not at all, and return what was written."""
    content = values.model_dump(exclude_none=True) if isinstance(values, BaseModel) else values
    write_text(path, json.dumps(content, indent=2) + "\n")
    return content


def read_metrics(folder: Path) -> dict[str, Any] | None:
    """What the finished run in `folder` reported, None where it has not finished.

    Raises:
        UserError: its metrics.json is damaged.
    """
    path = folder / METRICS_FILE
    if not path.exists():
        return None
    try:
        return Metrics.model_validate(parse_json(path)).dump()
    except (OSError, ValueError) as error:
        reason = f"{first_fault(error)}; " if isinstance(error, ValidationError) else ""
        raise UserError(
            f"{path} is not from a finished run ({reason}delete the folder and run again)"
        ) from None


def read_history(folder: Path) -> pd.DataFrame | None:
    """A row for each epoch of the run in `folder`, with numbers and, where it was trained in stages, text in `stage`;
    None where it leaves no history.

    Raises:
        UserError: its history.csv is damaged.
    """
    import pandas as pd

    path = folder / HISTORY_FILE
    if not path.exists():
        return None
    check_regular(path)
    try:
        frame = pd.read_csv(path)
        numbers = [name for name in frame if name != "stage"]
        return frame.assign(**frame[numbers].apply(pd.to_numeric))
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is not readable ({reason}); delete the folder and run again") from None


def read_environment(folder: Path) -> dict[str, Any]:
    """What environment.json holds; empty where there is none yet.

    Raises:
        UserError: it is damaged.
    """
    path = folder / ENVIRONMENT_FILE
    if not path.exists():
        return {}
    try:
        return Environment.model_validate(parse_json(path)).model_dump()
    except (OSError, ValueError) as error:
        reason = f"{first_fault(error)}; " if isinstance(error, ValidationError) else ""
        raise UserError(f"{path} is not a run's ({reason}delete the folder and run again)") from None


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong, in a few words."""
    fault = error.errors()[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"


def new_folder(parent: Path, name: str) -> Path:
    """`parent`/`name`, or with -2, -3, … behind it where that is taken."""
    folder, number = parent / name, 2
    while folder.exists():
        folder, number = parent / f"{name}-{number}", number + 1
    return folder


def own_card(folder: Path) -> Path | None:
    """The card of the data set that a run's folder holds; None where it holds none."""
    return next(iter(sorted((folder / DATA_FOLDER).glob(f"*/{CARD_FILE}"))), None)


def make_folder(folder: Path, resume: bool = False) -> None:
    """Make the run's folder, or raise a UserError: it cannot be written, or holds another run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not resume:
            raise UserError(
                f"{folder} is not empty; go on with --resume, or choose another folder with --out"
            )
    except OSError as error:
        raise cannot_write(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {folder}: permission denied; choose another folder with --out")


def kept_bundle(folder: Path) -> Path | None:
    """The bundle that a run keeps in its folder; None where it keeps none of its weights and configuration."""
    from recsys.serving.arrays import MANIFEST, read_manifest

    kept = folder / BUNDLE_FOLDER
    if not (kept / MANIFEST).is_file():
        return None
    return kept if read_manifest(kept)["about"].get("run") == fingerprint(folder) else None


def fingerprint(folder: Path) -> str:
    """SHA-256 of what a run's weights and configuration are known by: config.yaml and the head of the weights' file,
    which holds the checksum of all of it. Empty where there is no run.
    """
    try:
        check_regular(folder / MODEL_FILE)
        check_regular(folder / CONFIG_FILE)
        with open(folder / MODEL_FILE, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            head = file.read(min(size, 2**24))
        digest = hashlib.sha256(head + (folder / CONFIG_FILE).read_bytes())
    except (OSError, UserError):
        return ""
    return digest.hexdigest()

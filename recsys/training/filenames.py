"""The files that training leaves in a run's folder."""

from collections.abc import Iterable
from pathlib import Path

MODEL_FILE, RESUME_FILE, HISTORY_FILE = "model.safetensors", "last.ckpt", "history.csv"
ONLY_STAGE = "model"
"""What the only stage of a model that is trained as one is called."""


def resume_files(folder: Path) -> Iterable[Path]:
    """The resume files of a run and of its stages: whoever has written down what came of `folder` removes them, and not
    before, for a killed run without them would train anew."""
    return [folder / RESUME_FILE, *folder.glob(f"*/{RESUME_FILE}")]

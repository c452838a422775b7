"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: RECSYS_DATA, or `../shared/data` beside the checkout."""
    root = Path(os.environ.get("RECSYS_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no real data sets at {root}; set RECSYS_DATA to the folder that holds them")
    return root


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny tensors gain nothing from a second thread, and wait for it where the machine is busy."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Graphs that the tests build stay out of the user's cache."""
    os.environ["RECSYS_CACHE"] = str(tmp_path_factory.mktemp("cache"))

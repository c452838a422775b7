"""Fixtures that all tests share: real data, a toy data set whose right answer is known, and the command line."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys.datasets.cards import Card
from recsys.datasets.convert import convert
from recsys.datasets.dataset import Dataset, Modality

COMMUNITIES, USERS, ITEMS = 3, 16, 12


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


@pytest.fixture(scope="session")
def toy() -> Dataset:
    """48 users and 36 items in three communities that never mix; each user takes 8 of its community's 12 items.

    Two modalities: `image` (dense) tells the community up to small noise; `tags` (one-hot community) is
    missing for every fifth item. A held-out item of the user's community is the only sensible answer.
    """
    rng = np.random.default_rng(7)
    rows = [
        (c * USERS + u, c * ITEMS + i)
        for c in range(COMMUNITIES)
        for u in range(USERS)
        for i in rng.permutation(ITEMS)[:8]
    ]
    frame = pd.DataFrame(rows, columns=["user", "item"], dtype=np.int64)
    frame["timestamp"] = rng.permutation(len(frame)).astype(np.float64)
    community = np.repeat(np.arange(COMMUNITIES), ITEMS)
    one_hot = np.eye(COMMUNITIES, dtype=np.float32)[community]
    noise = rng.normal(0, 0.05, (len(community), 8))
    image = (np.tile(one_hot, 3)[:, :8] + noise).astype(np.float32)
    present = np.arange(len(community)) % 5 > 0
    return Dataset(
        name="toy",
        interactions=frame.sort_values(["user", "item"], ignore_index=True),
        user_ids=np.array([f"u{n}" for n in range(COMMUNITIES * USERS)]),
        item_ids=np.array([f"i{n}" for n in range(COMMUNITIES * ITEMS)]),
        modalities={
            "image": Modality(image, np.ones(len(image), dtype=bool)),
            "tags": Modality(one_hot * present[:, None], present),
        },
        item_attributes=pd.DataFrame({"title": [f"Item {n}" for n in range(len(community))]}),
    )


@pytest.fixture(scope="session")
def root(toy, tmp_path_factory):
    """A data root with the data set `toy`."""
    folder = tmp_path_factory.mktemp("data")
    convert(toy, folder / "toy", like=Card(name="toy", reader="table", public=True))
    return folder


@pytest.fixture
def recsys(root, capsys, monkeypatch, tmp_path):
    """Runs a command in an empty folder: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSYS_DATA", str(root))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        from recsys.cli.app import main

        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run

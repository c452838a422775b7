"""Bundles of toy runs, and a service in this process."""

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys.runs.config import RunConfig
from recsys.runs.package import package
from recsys.runs.run import execute, prepare


@pytest.fixture(scope="session")
def shop():
    """A small shop: titles, genres and years, a text that is encoded, and numbers."""
    rng = np.random.default_rng(3)
    clicks = pd.DataFrame(
        [(f"u{u}", f"i{i}") for u in range(40) for i in rng.permutation(15)[:6] + 15 * (u % 2)],
        columns=["user", "item"],
    )
    kinds = ["tea", "pan"]
    items = pd.DataFrame(
        {
            "item": [f"i{n}" for n in range(30)],
            "title": [f"{kinds[n // 15]} {'<b>bold</b>' if n == 1 else n}" for n in range(30)],
            "about": [f"a {kinds[n // 15]} of kind {n % 5}" for n in range(30)],
            "genres": ["green|black" if n % 2 else "black" for n in range(30)],
            "year": [1990 + n for n in range(30)],
        }
    )
    return recsys.Dataset.from_frame(clicks, items=items, content={"about": "text"}, name="shop")


def make_bundle(data, folder, model="ease", seed=0, **settings):
    run = prepare(RunConfig(model=model, dataset="shop", split="none", seed=seed, settings=settings), data)
    execute(run, folder.with_name(f"{folder.name}-run-{seed}-{model}"))
    run.model.eval()
    return run, package(run, folder)


@pytest.fixture(scope="session")
def bundles(shop, tmp_path_factory):
    """Model name -> its run and bundle; not to be written to."""
    root = tmp_path_factory.mktemp("bundles")
    settings = {
        "ease": {"content": 1.0},
        "lightgcn": {"max_epochs": 60, "width": 8, "batch_size": 64, "learning_rate": 0.02},
        "vbpr": {"max_epochs": 3},
    }
    return {name: make_bundle(shop, root / name, name, **own) for name, own in settings.items()}

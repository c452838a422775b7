"""The pages in docs/ are run as they are printed, and the README's promises are held to the code."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```(\w+)(?: file=(\S+))?\n(.*?)```", re.DOTALL)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A shop's files in a folder, the current folder, for the pages to work on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop").mkdir()
    rng = np.random.default_rng(0)
    rows = [(f"c{u}", f"p{i}", t) for u in range(12) for t, i in enumerate(rng.permutation(9)[:6])]
    pd.DataFrame(rows, columns=["customer", "product", "at"]).to_csv("shop/clicks.csv", index=False)
    products = pd.DataFrame({"sku": [f"p{i}" for i in range(9)], "name": [f"Product {i}" for i in range(9)]})
    products.to_csv("shop/products.csv", index=False)
    np.save("shop/photos.npy", rng.normal(size=(9, 4)).astype(np.float32))
    return tmp_path


def blocks(page):
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def write_files(folder, page):
    for _, name, text in blocks(page):
        if name:
            (folder / name).write_text(text, encoding="utf-8")


def run_python(page, **names):
    for language, name, text in blocks(page):
        if language == "python" and not name:
            exec(compile(text, page, "exec"), names)


def test_add_a_data_set(shop):
    write_files(shop, "docs/add-a-data-set.md")
    run_python("docs/add-a-data-set.md", data_root=shop)


def test_add_a_model(shop, monkeypatch):
    from recsys import models, runs
    from recsys.datasets.cards import load_dataset
    from recsys.registry import Registry

    write_files(shop, "docs/add-a-data-set.md")
    write_files(shop, "docs/add-a-model.md")
    fresh = Registry("model", None, {})
    for module in (models, runs):
        monkeypatch.setattr(module, "MODELS", fresh)
    monkeypatch.setattr(runs, "load_dataset", lambda name, root: load_dataset(name, shop))
    run_python("docs/add-a-model.md", folder=shop / "run")
    sys.modules.pop("damped")


def test_the_readme_example_runs(capsys):
    pytest.importorskip("recbole", reason="the embedded data set comes inside the recbole wheel")
    run_python("README.md")
    assert 0.1 < float(capsys.readouterr().out) < 1


def test_the_readme_names_commands_that_exist():
    from recsys.experiments.cli import app

    known = {c.name or c.callback.__name__ for c in app.registered_commands} | {"data"}
    named = set(re.findall(r"`recsys (\w+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named <= known | {"COMMAND"}, named - known

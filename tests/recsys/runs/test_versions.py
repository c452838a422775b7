"""What a result rests on: every part of the data, and the code that made it but nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.datasets.dataset import Modality
from recsys.runs import versions
from recsys.runs.versions import code_version, data_checksum


def test_the_data_checksum_sees_every_part(toy):
    attributes = toy.item_attributes.assign(title="x")
    mask = {**toy.modalities, "image": Modality(toy.modalities["image"].features, np.zeros(36, bool))}
    changed = [
        replace(toy, interactions=toy.interactions.iloc[:-1]),
        replace(toy, interactions=toy.interactions.assign(timestamp=0.0)),
        replace(toy, item_attributes=attributes),
        replace(toy, modalities=mask),
        replace(toy, item_ids=toy.item_ids[::-1].copy()),
    ]
    sums = {data_checksum(dataset) for dataset in [toy, *changed]}
    assert len(sums) == 6 and data_checksum(replace(toy, name="other")) in sums


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose module `a` imports `b`, which names `c` as a string; `d` stands apart."""
    folder = tmp_path / "pkg"
    folder.mkdir()
    sources = {"__init__": "", "a": "from pkg import b", "b": 'X = "pkg.c:Y"', "c": "Y = 1", "d": "Z = 1"}
    for name, text in sources.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    def version(**changes):
        for name, text in changes.items():
            (folder / f"{name}.py").write_text(text)
        code_version.cache_clear()
        versions._module.cache_clear()
        return code_version("pkg.a")

    yield version
    code_version.cache_clear()
    versions._module.cache_clear()


def test_the_code_version_follows_imports_and_ignores_comments(package):
    first = package()
    assert package(d="Z = 2") == first
    assert package(c='"""Doc."""\n# note\nY   = 1') == first
    assert package(c="Y = 2") != first
    assert package(c="Y = 1", b='X = "pkg.d:Z"') != first


def test_a_model_s_code_does_not_depend_on_other_models():
    modules = {}
    real = versions._module

    def note(name):
        modules[name] = real(name)
        return modules[name]

    versions._module = note
    try:
        code_version.__wrapped__("recsys.runs.run", "recsys.models.closed_form.pop")
    finally:
        versions._module = real
    assert {"recsys.training.loop", "recsys.evaluation.metrics", "recsys.models.base"} <= modules.keys()
    assert (
        not {"recsys.models.collaborative.lightgcn", "recsys.cli", "recsys.experiments.bench.jobs"}
        & modules.keys()
    )

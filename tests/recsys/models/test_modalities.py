"""What graph models read may come in any number of modalities, with holes, in any order and under any names."""

import dataclasses

import numpy as np
import pytest
import torch

from recsys.datasets.dataset import Modality
from recsys.datasets.splits import make_split
from recsys.inputs.training_data import TrainingData
from recsys.models import MODELS
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare

GRAPH_MODELS = ("mmhcl", "cm3", "lattice", "freedom", "bm3", "mgcn", "sige")
READERS = (*GRAPH_MODELS, "vbpr", "dropoutnet", "clcrec", "hyperwalk", "contentknn")
TRAINING = {"max_epochs": 2, "batch_size": 64, "learning_rate": 0.01}


def holes(toy):
    """30% of the items lack each modality, some of them both."""
    rng = np.random.default_rng(4)
    for name, modality in toy.modalities.items():
        mask = modality.mask & (rng.permutation(toy.n_items) >= 0.3 * toy.n_items)
        yield name, Modality(modality.features * mask[:, None], mask)


def one(toy):
    yield "image", toy.modalities["image"]


def three(toy):
    yield from toy.modalities.items()
    sound = np.random.default_rng(5).normal(size=(toy.n_items, 6)).astype(np.float32)
    yield "sound", Modality(sound, np.ones(toy.n_items, dtype=bool))


@pytest.mark.parametrize("kind", [one, three, holes])
@pytest.mark.parametrize("name", [*READERS, "confluence"])
def test_any_modalities_train_and_evaluate(name, kind, toy, tmp_path):
    seen = dataclasses.replace(toy, modalities=dict(kind(toy)))
    settings = {} if MODELS.get(name).closed_form else dict(TRAINING)
    if name in READERS and settings:
        settings["width"] = 8
    if name == "confluence":
        settings |= {f"components.{part}.settings.width": 8 for part in ("cm3", "mmhcl")}
    run = prepare(RunConfig(model=name, dataset="toy", split="cold-item", settings=settings), seen)
    metrics = execute(run, tmp_path / "run")
    assert torch.isfinite(run.model.scorer()(np.arange(toy.n_users))).all()
    assert metrics["test_cold_pool"]["recall@20"] >= 0 and metrics["ranks_cold_items"]


@pytest.mark.parametrize("name", [*GRAPH_MODELS, "lightgcn"])
def test_renaming_users_and_items_renames_the_scores(name, toy):
    """The graphs are built anew under other numbers; tables move with the ids that own their rows. Content has no
    ties, which numbers would decide, and no tied co-occurrence is cut off."""
    rng = np.random.default_rng(3)
    noise = {k: rng.normal(0, 0.05, m.features.shape).astype(np.float32) for k, m in toy.modalities.items()}
    toy = dataclasses.replace(
        toy,
        modalities={
            k: Modality((m.features + noise[k]) * m.mask[:, None], m.mask) for k, m in toy.modalities.items()
        },
    )
    data = TrainingData.of(toy, make_split(toy, "random"))
    users, items = rng.permutation(toy.n_users), rng.permutation(toy.n_items)
    modalities = {k: type(m)(m.features[items], m.mask[items]) for k, m in toy.modalities.items()}
    renamed = TrainingData(data.interactions[users][:, items].tocsr(), modalities)
    renamed.interactions.sort_indices()
    whole = {"k_collaborative": toy.n_items} if name == "sige" else {}
    settings = MODELS.get(name).Settings(width=8, **whole)
    first, second = (MODELS.get(name)(settings, part, 0).eval() for part in (data, renamed))
    moved = {"users": torch.from_numpy(users), "items": torch.from_numpy(items)}
    arrays = first.arrays()
    for key, (_, noun) in first.id_tables().items():
        arrays[key] = arrays[key][moved[noun]]
    second.load_arrays(arrays)
    scores = [model.scorer()(np.arange(toy.n_users)).numpy() for model in (first, second)]
    np.testing.assert_allclose(scores[1], scores[0][users][:, items], atol=2e-5)


@pytest.mark.parametrize("name", ["mmhcl", "cm3"])
def test_the_order_of_the_file_s_lines_changes_nothing(name, toy):
    config = RunConfig(model=name, dataset="toy", split="leave-one-out", settings=TRAINING | {"width": 8})
    order = np.random.default_rng(6).permutation(len(toy.interactions))
    shuffled = dataclasses.replace(toy, interactions=toy.interactions.iloc[order].reset_index(drop=True))
    models = [prepare(config, dataset).model for dataset in (toy, shuffled)]
    scores = [model.scorer()(np.arange(toy.n_users)) for model in models]
    torch.testing.assert_close(scores[1], scores[0], atol=1e-6, rtol=0)

"""Vectors that rank as a trained teacher does."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import recsys
from recsys.datasets.dataset import Modality
from recsys.errors import UserError
from recsys.inputs.requests import NewItems
from recsys.models import student

TEACHER = {"teacher": "mmhcl", "teacher_settings": {"width": 8, "learning_rate": 0.03}, "max_epochs": 3}


def train(split="random", folder=None, **settings):
    return recsys.train("student", recsys.toy_data(), split=split, folder=folder, **TEACHER | settings)


def warm_items_by_score(run):
    """The warm items of each warm user, best first."""
    data = run.model.data
    scores = run.model.scorer()(np.flatnonzero(data.warm_users))[:, torch.from_numpy(data.warm_items)]
    return scores.double().argsort(dim=1, descending=True, stable=True)


def test_vectors_of_full_width_rank_warm_items_as_the_teacher_does():
    learned = train(width=60)
    teacher = recsys.train(
        "mmhcl", recsys.toy_data(), split="random", width=8, learning_rate=0.03, max_epochs=3
    )
    assert (
        warm_items_by_score(learned) == warm_items_by_score(teacher)
    ).double().mean() > 0.999  # but for near ties


def test_it_is_the_truncated_singular_value_decomposition_of_the_standardised_scores():
    made = train(width=10, passes=20).model
    data, teacher = made.data, made.teacher()
    warm = np.flatnonzero(data.warm_users)
    scores = teacher.scorer()(warm).double()
    among = scores[:, torch.from_numpy(data.warm_items)]
    scores = (scores - among.mean(1, keepdim=True)) / among.std(1, keepdim=True, correction=0)
    u, s, v = torch.linalg.svd(scores, full_matrices=False)
    expected = u[:, :10] * s[:10] @ v[:10]
    found = (made.users[torch.from_numpy(warm)] @ made.items.T).double()
    kept = torch.from_numpy(data.warm_items)
    torch.testing.assert_close(found[:, kept], expected[:, kept], atol=1e-3, rtol=1e-3)


def test_blocks_do_not_change_the_vectors(monkeypatch):
    whole = train(width=6)
    monkeypatch.setattr(student, "BLOCK_CELLS", 60 * 17)
    parts = train(width=6)
    pairs = [run.model.users @ run.model.items.T for run in (whole, parts)]
    torch.testing.assert_close(*pairs, atol=1e-4, rtol=1e-3)


def test_a_cold_item_of_the_catalogue_is_placed_as_a_new_one_is():
    made = train("cold-item", width=16).model
    cold = np.flatnonzero(~made.data.warm_items)
    content = {n: type(m)(m.features[cold], m.mask[cold]) for n, m in made.data.modalities.items()}
    new = NewItems(cold.astype(str), content, made.data.item_attributes.iloc[cold])
    scores = made.scorer(new_items=new)(np.arange(10))
    torch.testing.assert_close(scores[:, made.data.n_items :], scores[:, cold], atol=1e-5, rtol=1e-4)


def test_only_vectors_and_maps_are_kept(tmp_path):
    run = train("cold-item", folder=tmp_path / "run", width=8)
    assert set(run.model.arrays()) == {
        *("users", "items", "centres", "weights", "linear", "mean", "sharpness", "reads_fields")
    }
    again = recsys.load_run(tmp_path / "run")
    users = list(recsys.toy_data().user_ids[:5])
    assert again.recommend(users).equals(run.recommend(users))


def test_what_the_teacher_calibrated_is_kept_for_a_refit():
    components = {"mmhcl": {"settings": {"width": 4}}, "pop": {}}
    run = train(teacher="confluence", teacher_settings={"components": components}, max_epochs=2, width=8)
    kept = run.model.calibration()
    assert set(kept) == {"weights", "cold_weights", "cold_offset"}
    assert "calibrated_weights" in run.model.arrays()
    again = run.refit()
    torch.testing.assert_close(again.model.calibration()["weights"], kept["weights"])


def test_a_teacher_in_closed_form_teaches_too():
    learned = train(teacher="ease", teacher_settings={"regularisation": 5.0}, width=60)
    teacher = recsys.train("ease", recsys.toy_data(), split="random", regularisation=5.0)
    assert (
        warm_items_by_score(learned) == warm_items_by_score(teacher)
    ).double().mean() > 0.999  # but for near ties


def test_a_student_teaches_nobody():
    with pytest.raises(UserError, match="a student teaches nobody"):
        train(teacher="student", teacher_settings={})


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    recsys.train(
        "mmhcl",
        recsys.toy_data(),
        split="cold-item",
        split_seed=3,
        folder=folder,
        **TEACHER["teacher_settings"] | {"max_epochs": 3},
    )
    return folder


def test_a_student_of_a_run_is_the_student_that_trains_its_teacher_itself(taught, tmp_path):
    run = recsys.train("student", recsys.toy_data(), teacher_run=taught, width=12, folder=tmp_path / "run")
    itself = recsys.train("student", recsys.toy_data(), split="cold-item", split_seed=3, width=12, **TEACHER)
    assert (run.config.split, run.config.split_seed) == ("cold-item", 3)
    torch.testing.assert_close(run.model.arrays(), itself.model.arrays())
    assert run.metrics.test == itself.metrics.test


def test_a_trained_student_of_a_run_needs_the_run_no_more(taught, tmp_path):
    teacher = tmp_path / "teacher"
    shutil.copytree(taught, teacher)
    run = recsys.train("student", recsys.toy_data(), teacher_run=teacher, width=12, folder=tmp_path / "run")
    shutil.rmtree(teacher)
    users = list(recsys.toy_data().user_ids[:5])
    assert recsys.load_run(tmp_path / "run").recommend(users).equals(run.recommend(users))


def test_a_teacher_that_may_have_seen_the_test_is_refused(taught, tmp_path):
    with pytest.raises(UserError, match="split cold-item, split seed 3, and may have seen"):
        recsys.train(
            "student", recsys.toy_data(), split="random", teacher_run=taught, folder=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_data_is_refused(taught, tmp_path):
    data = recsys.toy_data()
    fewer = data.interactions.iloc[:-1]
    other = recsys.Dataset.from_frame(
        fewer.assign(user=data.user_ids[fewer.user], item=data.item_ids[fewer.item]), user="user", item="item"
    )
    with pytest.raises(UserError, match="trained on other data or another split"):
        recsys.train("student", other, teacher_run=taught)


def test_another_model_learns_from_no_run(taught):
    with pytest.raises(UserError, match="ease learns from no run"):
        recsys.train("ease", recsys.toy_data(), teacher_run=taught)


def shop(seed=0):
    """Items of 6 kinds, told by an attribute alone; their pictures are noise. Each user takes items of one kind."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(90) % 6
    pairs = [
        (f"u{u}", f"i{i}") for u in range(60) for i in rng.choice(np.flatnonzero(kinds == u % 6), 6, False)
    ]
    frame = pd.DataFrame(pairs, columns=["user", "item"])
    items = pd.DataFrame({"item": [f"i{i}" for i in range(90)], "kind": [f"kind{k}" for k in kinds]})
    items["image"] = list(rng.normal(size=(90, 8)).astype(np.float32))
    return recsys.Dataset.from_frame(frame, items=items, content={"image": "vector"})


def test_attributes_count_where_they_say_more_of_the_teacher_than_content():
    data = shop()
    settings = {
        "teacher": "aff",
        "teacher_settings": {"max_epochs": 15, "batch_size": 64, "learning_rate": 0.02},
    }
    model = recsys.train("student", data, split="cold-item", width=12, **settings).model
    assert bool(model.reads_fields)
    pictures = np.random.default_rng(5).normal(size=(6, 8)).astype(np.float32)
    new = {"image": Modality(pictures, np.ones(6, dtype=bool))}
    kinds = pd.DataFrame({"kind": [f"kind{n}" for n in range(6)]})
    assert not torch.allclose(model.encode_items(new, kinds), model.encode_items(new, kinds[::-1]), atol=1e-2)
    again = recsys.train("student", data, split="cold-item", width=12, **settings).model
    torch.testing.assert_close(model.arrays(), again.arrays(), rtol=0, atol=0)


def test_content_is_mapped_by_kernel_ridge_regression_around_the_mean():
    model = train("cold-item", width=8).model
    kernel, cold = model.content_map(), np.flatnonzero(~model.data.warm_items)
    expected = []
    for item in cold:
        total = model.mean.double().numpy().copy()
        for place, centre in enumerate(model.centres.tolist()):
            near = 0.0
            for m in model.modalities.values():
                if m.mask[item] and m.mask[centre]:
                    x, y = (np.asarray(m.features[row], dtype=np.float64).ravel() for row in (item, centre))
                    cosine = x @ y / (np.linalg.norm(x) * np.linalg.norm(y))
                    near += np.exp(kernel.sharpness * (cosine - 1))
            total += near * model.weights[place].double().numpy()
        expected.append(total)
    np.testing.assert_allclose(model.items[cold].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("ridge", [0.1, 3.0])
def test_conjugate_gradients_find_the_ridge_regression(ridge):
    rng = np.random.default_rng(3)
    rows, targets = rng.normal(size=(40, 25)) * (rng.random((40, 25)) < 0.2), rng.normal(size=(40, 3))
    expected = np.linalg.solve(rows.T @ rows + ridge * np.eye(25), rows.T @ targets)
    found = student.ridge_regression(sp.csr_array(rows), torch.from_numpy(targets), ridge)
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert not student.ridge_regression(sp.csr_array(rows), torch.from_numpy(targets), 0.0).any()


def test_sparse_content_has_a_linear_map_too():
    """Items' tags lead to what people take; ten reference items share few of an item's tags."""
    rng = np.random.default_rng(0)
    tags = np.zeros((240, 80), dtype=np.float32)
    tags[np.arange(240).repeat(3), rng.integers(0, 80, 720)] = 1
    taste = rng.normal(size=(80, 60))
    best = np.argsort(-(tags @ taste), axis=0)[:20]
    frame = pd.DataFrame({"user": np.tile(np.arange(60), 20), "item": best.ravel()})
    frame["user"], frame["item"] = "u" + frame["user"].astype(str), "i" + frame["item"].astype(str)
    data = recsys.Dataset.from_frame(frame)
    numbers = np.array([int(item[1:]) for item in data.item_ids])
    words = Modality(sp.csr_array(tags[numbers]), np.ones(len(numbers), dtype=bool))
    data = replace(data, modalities={"words": words})
    settings = {"teacher": "ease", "teacher_settings": {"content": 1.0}, "width": 12, "references": 10}
    model = recsys.train("student", data, split="cold-item", **settings).model
    assert model.linear.shape == (80, 12)
    kernel, cold = model.content_map(), np.flatnonzero(~model.data.warm_items)
    rows = words.features.toarray() / np.sqrt((words.features.toarray() ** 2).sum(1, keepdims=True))
    near = np.exp(kernel.sharpness * (rows[cold] @ rows[model.centres.numpy()].T - 1))
    expected = kernel.mean + near @ kernel.weights + rows[cold] @ kernel.linear
    np.testing.assert_allclose(model.items[cold].numpy(), expected, atol=1e-4)

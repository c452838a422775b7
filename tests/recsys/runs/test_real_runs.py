"""Figures on real data that somebody else has published or that have a closed form."""

import numpy as np
import pytest

from recsys.runs.config import RunConfig
from recsys.runs.run import execute, prepare


def run(shared_data, folder, **config):
    return execute(prepare(RunConfig(data_root=str(shared_data), **config)), folder)


@pytest.mark.parametrize(("model", "recall", "ndcg"), [("pop", 0.0597, 0.0255), ("ease", 0.0884, 0.0398)])
def test_closed_forms_on_tiktok(shared_data, tmp_path, model, recall, ndcg):
    """Known values over all 6,130 test users; EASE at its default regularisation of 50."""
    metrics = run(shared_data, tmp_path / "run", model=model, dataset="tiktok")
    assert metrics["users"]["test"] == 6130
    assert metrics["test"]["recall@20"] == pytest.approx(recall, abs=5e-4)
    assert metrics["test"]["ndcg@20"] == pytest.approx(ndcg, abs=5e-4)
    assert metrics["users"]["test_cold"] == 449
    assert metrics["chance"]["test_cold_pool"]["recall@20"] == pytest.approx(20 / 465, abs=1e-4)


@pytest.mark.parametrize("dataset", ["tiktok", "citeulike-a"])
def test_content_ranks_cold_items_above_chance(shared_data, tmp_path, dataset):
    metrics = run(shared_data, tmp_path / "run", model="contentknn", dataset=dataset, split="cold-item")
    cold, chance = metrics["test_cold_pool"]["recall@20"], metrics["chance"]["test_cold_pool"]["recall@20"]
    assert cold > {"tiktok": 1.5, "citeulike-a": 20}[dataset] * chance


def test_the_demos_models_beat_popularity_on_ml_100k(tmp_path):
    pytest.importorskip("recbole", reason="the embedded data set comes inside the recbole wheel")
    ndcg = {
        model: execute(prepare(RunConfig(model=model, dataset="ml-100k")), tmp_path / model)["test"][
            "ndcg@20"
        ]
        for model in ("pop", "itemknn", "ease")
    }
    assert ndcg["pop"] < ndcg["itemknn"] < ndcg["ease"]
    assert np.isfinite(list(ndcg.values())).all()

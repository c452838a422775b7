"""The comparison of cold items by the length of their vectors."""

import pytest

from recsys.experiments.benchmarks.cold_reach import FACTORS, by_factor, reach
from recsys.runs.config import RunConfig
from recsys.runs.run import execute, load_run, prepare


def test_factor_one_is_the_model_and_longer_cold_vectors_bring_cold_items_up(root, tmp_path):
    settings = {"width": 8, "max_epochs": 3, "batch_size": 64, "learning_rate": 0.01}
    config = RunConfig(
        model="mmhcl", dataset="toy", split="cold-item", settings=settings, data_root=str(root)
    )
    metrics = execute(prepare(config), tmp_path / "run")
    run = load_run(tmp_path / "run")
    table = by_factor(run).set_index("factor")
    assert tuple(table.index) == FACTORS
    for group in ("warm", "cold", "cold_pool"):
        assert table.loc[1.0, f"test {group}"] == pytest.approx(metrics[f"test_{group}"]["ndcg@20"], abs=1e-6)
    assert table["test cold_pool"].nunique() == 1, "a factor is the same for all cold items"
    assert table["test cold"].is_monotonic_increasing
    assert "lengths" in reach(run)

"""Batches that grow with the data, so that an epoch costs as much as the interactions."""

import pytest

import recsys as package
from recsys.inputs.train_settings import RATE_MOST, TrainSettings


def test_small_data_keep_their_batches_and_rate():
    settings = TrainSettings()
    assert settings.at_scale(32 * 2048) is settings
    assert TrainSettings(max_steps=0).at_scale(10**9).batch_size == 2048


def test_large_data_have_at_most_so_many_steps():
    scaled = TrainSettings().at_scale(32 * 2048 * 16)
    assert scaled.batch_size == 16 * 2048
    assert scaled.learning_rate == pytest.approx(1e-3 * 16**0.75)
    assert TrainSettings().at_scale(10**9).learning_rate == pytest.approx(1e-3 * RATE_MOST)
    odd = TrainSettings().at_scale(10**6 + 1)
    assert -(-(10**6 + 1) // odd.batch_size) == 32, "the last batch is not a step more"


def test_only_models_that_pay_the_whole_graph_take_larger_batches(toy):
    small = {"batch_size": 8, "max_epochs": 1, "max_steps": 4, "width": 4}
    run = package.train("lightgcn", toy, split="random", **small)
    pairs = len(run.split.train)
    assert run.metrics.values["batch_size"] == -(-pairs // 4)
    assert run.metrics.values["learning_rate"] > 1e-3
    other = package.train("clcrec", toy, split="random", **small)
    assert other.metrics.values["batch_size"] == 8
    assert "learning_rate" in run.config.settings and run.config.settings["batch_size"] == 8, (
        "as it was asked for"
    )

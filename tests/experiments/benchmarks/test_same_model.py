"""A model is not called better than itself: on made-up runs, and on trained models."""

import numpy as np
import pytest

from recsys.experiments.benchmarks.same_model import SEEDS, WAYS, claims, main, table, two_groups
from recsys.experiments.stats import statistics
from recsys.experiments.stats.statistics import SeedNoise
from recsys.experiments.stats.verdicts import Rules

FAST = Rules(resamples=500)


def lucky_runs(splits=8, trainings=6, users=80):
    """(splits, trainings, users) values; each split and each training is lucky or not for all users together."""
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.05, (splits, 1, 1)) + rng.normal(0, 0.05, (splits, trainings, 1))
    return rng.beta(1, 4, users) + luck + rng.normal(0, 0.1, (splits, trainings, users))


def test_groups_have_no_run_in_common_and_differ_as_they_should():
    splits, trainings = np.mgrid[:8, :6]
    pool = np.stack([splits, trainings], axis=-1).astype(
        float
    )  # a run's "users" are its split and its training
    rng = np.random.default_rng(0)
    for _ in range(20):
        for way in WAYS:
            one, other = two_groups(pool, way, 3, rng)
            assert len({tuple(run) for run in np.concatenate([one, other])}) == 6
            seen = {split for split, _ in [*one, *other]}
            assert len(seen) == {"training": 1, "both": 3, "split": 6}[way]
            assert way != "both" or (one[:, 0] == other[:, 0]).all()


def test_made_up_runs_of_one_model_do_not_differ():
    found = table({"lucky": lucky_runs()}, 40, np.random.default_rng(1), FAST)
    assert found.keys() == {(way, seeds) for way in WAYS for seeds in SEEDS}
    for (_, seeds), row in found.items():
        assert claims(row["lucky"]) <= (5 if seeds > 1 else 0)
        assert seeds > 1 or set(row["lucky"]) == {"one seed each"}


def test_a_model_without_randomness_is_equivalent_to_itself():
    pool = np.repeat(lucky_runs(trainings=1), 6, axis=1)
    found = table({"pop": pool}, 10, np.random.default_rng(2), FAST, seeds=(2, 3))
    assert all(set(found[way, seeds]["pop"]) == {"equivalent"} for way in WAYS[:2] for seeds in (2, 3))


def test_verdicts_that_forget_the_seeds_would_be_seen(monkeypatch):
    monkeypatch.setattr(statistics, "pooled_seed_noise", lambda means, per_seed: SeedNoise(0.0, 0))
    found = table({"lucky": lucky_runs()}, 40, np.random.default_rng(1), FAST, seeds=(3,))
    assert all(claims(row["lucky"]) > 10 for row in found.values())


@pytest.mark.slow
def test_trained_models_do_not_differ_from_themselves(capsys):
    pytest.importorskip("recbole", reason="ml-100k comes inside the recbole wheel")
    assert main([]) == 0, capsys.readouterr().out

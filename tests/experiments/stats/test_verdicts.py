"""Verdicts: simulated copies of one model, SciPy, missing values, degenerate and bad input."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from recsys.errors import UserError
from recsys.experiments.stats.statistics import holm
from recsys.experiments.stats.verdicts import Rules, best_of, compare, estimates, verdict

FAST = Rules(resamples=500)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


NOISE = {  # standard deviations of what differs between two trainings: single cells, and whole seeds
    "cells": (0.2, 0.0),
    "seeds": (0.1, 0.05),
    "both": (0.1, 0.01),
}


def copies(generator, n_models, n_seeds, noise, n_users=100):
    """Values of one model trained again and again: the same for each user but for the luck of training."""
    cells, seeds = NOISE[noise]
    users = generator.beta(1, 4, n_users)
    shape = (n_seeds, n_users)
    return {
        f"copy{i}": users + generator.normal(0, cells, shape) + generator.normal(0, seeds, (n_seeds, 1))
        for i in range(n_models)
    }


def quiet_share(n_models, n_seeds, noise, runs):
    """Share of simulated tables of copies in which no verdict claims a difference."""
    generator = rng(100)
    quiet = 0
    for _ in range(runs):
        verdicts = compare(copies(generator, n_models, n_seeds, noise), generator, FAST)
        quiet += all(v.label in ("no difference", "equivalent") for v in verdicts)
    return quiet / runs


@pytest.mark.parametrize(
    ("n_models", "n_seeds", "noise"), [(2, 3, "cells"), (2, 3, "both"), (2, 5, "both"), (4, 3, "cells")]
)
def test_copies_of_one_model_do_not_differ(n_models, n_seeds, noise):
    assert quiet_share(n_models, n_seeds, noise, runs=100) >= 0.94


@pytest.mark.parametrize(("n_models", "n_seeds", "noise"), [(2, 3, "seeds"), (3, 3, "seeds")])
def test_false_claims_keep_to_alpha_where_one_kind_of_noise_rules(n_models, n_seeds, noise):
    # Here the bootstrap has nothing to spare, and alpha = 0.05 is met exactly: three standard errors of room.
    assert quiet_share(n_models, n_seeds, noise, runs=300) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize("noise", NOISE)
def test_a_real_difference_is_seen_as_often_as_promised(noise):
    generator = rng(101)
    size = np.median(
        [compare(copies(generator, 3, 5, noise), generator, FAST)[0].smallest_detectable for _ in range(10)]
    )
    seen = 0
    for _ in range(40):
        table = copies(generator, 3, 5, noise)
        table["copy0"] = table["copy0"] + 1.5 * size
        verdicts = compare(table, generator, FAST)
        seen += best_of(verdicts) == ("copy0",)
    assert seen >= 32


@pytest.mark.parametrize("noise", NOISE)
def test_intervals_cover_the_truth(noise):
    generator = rng(102)
    covered = 0
    for _ in range(100):
        low, high = estimates(copies(generator, 1, 3, noise), generator, FAST)["copy0"].interval
        covered += low <= 0.2 <= high  # the mean of beta(1, 4) is 1 / 5
    assert covered >= 90


def test_verdict_agrees_with_scipy_and_reads_from_a():
    generator = rng(12)
    b = generator.random((4, 80))
    a = b + generator.normal(0.05, 0.1, (4, 80))
    v = verdict(a, b, rng(13))
    d = (a - b).mean(axis=0)
    assert v.difference == pytest.approx(d.mean())
    assert (v.mean_model, v.mean_reference) == pytest.approx((a.mean(), b.mean()))
    assert v.p_t == v.p_holm == pytest.approx(stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).pvalue)
    assert v.p_wilcoxon == pytest.approx(stats.wilcoxon(a.mean(axis=0), b.mean(axis=0)).pvalue)
    assert v.d_z == pytest.approx(d.mean() / d.std(ddof=1))
    assert v.margin == pytest.approx(0.01 * a.mean())
    assert v.label == "better" and v.interval[0] > 0
    back = verdict(b, a, rng(13))
    assert back.label == "worse" and back.difference == pytest.approx(-v.difference)


def test_shifts_below_the_margin_are_equivalent():
    generator = rng(14)
    a = generator.uniform(0.4, 0.6, (3, 2000))
    v = verdict(a + generator.normal(0, 0.005, a.shape), a, rng(15))
    assert v.label == "equivalent" and v.p_equivalence <= 0.05
    # the same difference against a margin that it does not fit into
    strict = verdict(a + generator.normal(0, 0.005, a.shape), a, rng(15), Rules(margin=1e-6))
    assert strict.label == "no difference"


def test_small_p_of_users_is_not_enough_where_seeds_disagree():
    generator = rng(16)
    b = generator.random((3, 500))
    a = b + generator.normal(0, 0.05, b.shape) + np.array([[0.12], [-0.05], [0.0]])
    v = verdict(a, b, rng(17))
    assert v.p_holm < 1e-3 and v.label == "no difference" and v.interval[0] < 0 < v.interval[1]


def test_family_is_all_pairs_unless_the_reference_was_chosen_before():
    generator = rng(18)
    table = copies(generator, 5, 3, "cells")
    for reference, family in ((None, 10), ("copy2", 4)):
        verdicts = compare(table, rng(19), FAST, reference=reference)
        assert [v.p_holm for v in verdicts] == list(holm([v.p_t for v in verdicts], family))
        for raw in ("p_wilcoxon", "p_bootstrap", "p_equivalence"):
            corrected = [getattr(v, f"{raw}_holm") for v in verdicts]
            assert corrected == list(holm([getattr(v, raw) for v in verdicts], family))
        assert min(v.level for v in verdicts) >= 0.95
        assert max(v.level for v in verdicts) <= 1 - 0.05 / family + 1e-12


def test_five_seeds_of_a_declared_comparison_need_no_other_model():
    """A model that holds another's training shares its luck; a third, noisy one tells nothing of the two."""
    generator = rng(30)
    table = copies(generator, 3, 5, "cells", n_users=400)
    luck = generator.normal(0, 0.05, (5, 1))
    table = {"base": table["copy0"] + luck, "more": table["copy1"] + luck + 0.04, "noisy": table["copy2"]}
    table["noisy"] = table["noisy"] + generator.normal(0, 0.2, (5, 1))
    (base, noisy), (pooled, _) = (compare(table, rng(31), FAST, reference=r) for r in ("more", None))
    assert base.label == "worse" and noisy.label == "no difference" and pooled.label == "no difference"
    few = {name: values[:4] for name, values in table.items()}
    assert compare(few, rng(31), FAST, reference="more")[0].label == "no difference"


@pytest.mark.parametrize("noise", ["seeds", "both"])
def test_false_claims_keep_to_alpha_for_a_declared_reference(noise):
    generator, claims = rng(32), 0
    for _ in range(100):
        table = copies(generator, 4, 5, noise)
        table["copy3"] = table["copy3"] + generator.normal(0, 0.3, (5, 1))
        verdicts = compare(table, generator, FAST, reference="copy0")
        claims += any(v.label in ("better", "worse") for v in verdicts)
    assert claims <= 6


def test_intervals_say_what_the_corrected_p_says():
    generator = rng(20)
    table = copies(generator, 6, 4, "cells")
    table = {name: values + 0.02 * i for i, (name, values) in enumerate(table.items())}
    verdicts = compare(table, rng(21), FAST)
    excluded = [not v.interval[0] <= 0 <= v.interval[1] for v in verdicts]
    assert excluded == [v.p_bootstrap_holm <= 0.05 for v in verdicts]
    assert any(excluded) and not all(excluded)


def test_best_of_names_one_model_only_where_all_others_are_worse():
    generator = rng(22)
    table = copies(generator, 3, 5, "cells")
    table["copy1"] = table["copy1"] + 0.5
    verdicts = compare(table, rng(23), FAST)
    assert [(v.model, v.reference) for v in verdicts] == [("copy0", "copy1"), ("copy2", "copy1")]
    assert best_of(verdicts) == ("copy1",)
    table["twin"] = table["copy1"]
    assert best_of(compare(table, rng(23), FAST)) == ("copy1", "twin")
    assert best_of(compare(table, rng(23), FAST, reference="copy0")) == ("copy1", "copy2", "twin")


def test_users_that_one_model_lacks_are_left_out():
    nan = np.nan
    a = np.array([[0.5, 0.1, nan, 0.4, nan], [0.7, 0.3, nan, nan, nan]])
    b = np.array([[0.1, 0.1, 0.9, 0.2, nan], [0.1, nan, 0.9, 0.2, nan]])
    v = verdict(a, b, rng(24), FAST)
    # users 0, 1, 3: differences (0.4 + 0.6) / 2, 0 from the first seed alone, 0.2 from the first seed alone
    assert v.n_users == 3 and v.n_seeds == 2
    assert v.difference == pytest.approx((0.5 + 0 + 0.2) / 3)
    assert (v.mean_model, v.mean_reference) == pytest.approx(((0.6 + 0.1 + 0.4) / 3, (0.1 + 0.1 + 0.2) / 3))


def test_uncounted_users_and_failed_seeds_change_nothing():
    generator = rng(25)
    table = copies(generator, 3, 3, "both")
    wide = {name: np.full((4, 200), np.nan) for name in table}
    for name, values in table.items():
        wide[name][:3, 20:120] = values
    assert compare(wide, rng(26), FAST) == compare(table, rng(26), FAST)
    assert estimates(wide, rng(26), FAST) == estimates(table, rng(26), FAST)


def test_models_with_different_users_are_compared_each_on_its_own():
    generator = rng(27)
    table = copies(generator, 3, 2, "cells")
    table["copy0"] = table["copy0"] + 1
    table["copy1"][:, :60] = np.nan
    verdicts = {v.model: v for v in compare(table, rng(28), FAST)}
    assert (verdicts["copy1"].n_users, verdicts["copy2"].n_users) == (40, 100)
    d = (table["copy1"] - table["copy0"])[:, 60:]
    assert verdicts["copy1"].difference == pytest.approx(d.mean())


# Degenerate and bad input


@pytest.mark.parametrize("shape", [(30,), (1, 30), (3, 30), (2, 2)])
def test_identical_values_are_equivalent(shape):
    values = rng(29).random(shape)
    v = verdict(values, values.copy(), rng(30), FAST)
    assert v.label == ("equivalent" if v.n_seeds > 1 else "one seed each")
    assert (v.difference, v.interval, v.p_t, v.p_wilcoxon, v.p_bootstrap) == (0, (0, 0), 1, 1, 1)
    assert (v.d_z, v.rank_biserial, v.smallest_detectable) == (0, 0, 0)


def test_all_zero_values_do_not_differ():
    v = verdict(np.zeros((2, 9)), np.zeros((2, 9)), rng(31), FAST)
    assert v.label == "no difference" and v.p_t == 1


def test_the_same_gain_for_every_user_is_no_rounding_noise():
    b = rng(32).random((2, 40))
    v = verdict(b + 0.1, b, rng(33), FAST)
    assert v.label == "better" and v.p_t == 0 and v.d_z == math.inf
    assert v.interval == pytest.approx((0.1, 0.1))
    assert verdict(b, b + 0.1, rng(33), FAST).d_z == -math.inf


def test_seeds_that_cancel_leave_zero_differences():
    d = np.array([[0.1], [0.2], [-0.3]]).repeat(20, axis=1)
    v = verdict(0.5 + d, np.full_like(d, 0.5), rng(34), FAST)
    assert v.p_wilcoxon == 1 and v.p_t == 1 and v.label == "no difference"


def test_two_users_are_compared_without_a_verdict():
    assert verdict([[0.1, 0.3]] * 2, [[0.0, 0.1]] * 2, rng(35), FAST).label == "no difference"


def test_nobody_is_called_better_by_one_seed():
    """However large the difference: how much the seeds differ is not known."""
    b = rng(36).random((1, 400))
    assert verdict(b + 0.5, b, rng(37), FAST).label == "one seed each"
    table = {"a": b + 0.5, "b": b, "c": b - 0.2}
    assert set(best_of(compare(table, rng(38), FAST))) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": [[0.1]], "b": [[0.2]]}, "model 'a': 1 user"),
        (
            {"a": [[0.1, 0.2, np.nan]], "b": [[np.nan, 0.2, 0.3]]},
            "models 'b' and 'a' together: 1 user|'a' and 'b'",
        ),
        ({"a": [[np.nan, np.nan]], "b": [[0.1, 0.2]]}, "model 'a': 0 user"),
        (
            {"a": [[0.1, 0.2]], "b": [[0.1, 0.2], [0.1, 0.2]]},
            r"'b' have shape \(2, 2\), those of 'a' \(1, 2\)",
        ),
        ({"a": [[0.1, 0.2]], "b": [[0.1, np.inf]]}, "'b' hold infinity"),
        ({"a": [[0.1, 0.2]]}, "1 model"),
    ],
)
def test_bad_tables_end_in_one_line(table, message):
    with pytest.raises(UserError, match=message) as error:
        compare(table, rng(), FAST)
    assert "\n" not in str(error.value)


def test_an_unknown_reference_is_named_with_its_neighbour():
    table = {"lightgcn": [[0.1, 0.2]], "mmhcl": [[0.3, 0.1]]}
    with pytest.raises(UserError, match="'lightgnc' is not in the table; did you mean 'lightgcn'"):
        compare(table, rng(), FAST, reference="lightgnc")


@pytest.mark.parametrize(
    "bad",
    [{"alpha": 0}, {"alpha": 0.5}, {"power": 1}, {"margin": -1}, {"margin": math.nan}, {"resamples": 10}],
)
def test_rules_out_of_range_are_refused(bad):
    with pytest.raises(UserError, match=next(iter(bad))):
        Rules(**bad)

"""Verdicts: is one model better than another, the same, or can the data not tell?

Values come as float arrays (n_seeds, n_users), or (n_users,) for one seed, NaN where a user was not
counted; higher is better. Two models are compared on the users and seeds that both have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.errors import UserError, nearest
from recsys.experiments.stats import statistics as st
from recsys.experiments.stats.statistics import Sample, SeedNoise

ENOUGH_SEEDS = 5
"""For a comparison declared beforehand to rest on its own seed noise, which asks of no model to be as noisy as the
others of the table, and knows what two models share under a seed."""
ONE_SEED = "one seed each"
_TAIL = 5  # resamples that each tail of the strictest interval holds at least


@dataclass(frozen=True)
class Rules:
    """What a verdict is judged by, declared before looking.

    Attributes:
        alpha: chance, over the whole family of comparisons, to call a difference that is none.
        margin: differences below this share of the better mean count as none (equivalence test).
        power: chance to see a difference as large as `smallest_detectable`.
        resamples: of the bootstrap; raised where a large family needs more for its strictest interval.
        reference: the model that all others are compared with; None for whichever has the highest mean, which
            takes a family of all pairs.

    Raises:
        UserError: a value outside its range.
    """

    alpha: float = 0.05
    margin: float = 0.01
    power: float = 0.8
    resamples: int = 10_000
    reference: str | None = None

    def __post_init__(self) -> None:
        for key, low, high in (("alpha", 0, 0.5), ("margin", 0, math.inf), ("power", 0.5, 1)):
            value = getattr(self, key)
            if not low < value < high:
                raise UserError(f"verdict rule {key}={value}: expected a number between {low} and {high}")
        if self.resamples < 100:
            raise UserError(f"verdict rule resamples={self.resamples}: expected at least 100")

    def resamples_for(self, family: int) -> int:
        """Return how many resamples a family of that many comparisons needs."""
        return max(self.resamples, math.ceil(2 * _TAIL * family / self.alpha))


@dataclass(frozen=True)
class Estimate:
    """A model's mean with its bootstrap interval over users and, from two seeds on, over seeds."""

    mean: float
    interval: tuple[float, float]
    level: float
    n_users: int
    n_seeds: int


@dataclass(frozen=True)
class Verdict:
    """How `model` compares with `reference`; difference = mean_model - mean_reference on shared users.

    Attributes:
        interval, level: bootstrap interval of the difference at the level that Holm's procedure gives to this
            comparison, so that it excludes zero exactly where p_bootstrap_holm <= alpha.
        p_t, p_wilcoxon: paired tests over users, two-sided, on differences averaged over seeds.
        p_bootstrap: two-sided, over users and seeds.
        p_equivalence: two one-sided tests, the larger of the t and the bootstrap version.
        p_holm, p_wilcoxon_holm, p_bootstrap_holm, p_equivalence_holm: corrected over the family; p_holm is
            that of the t test.
        d_z, rank_biserial: effect sizes; infinite d_z where all users differ by the same amount.
        smallest_detectable: difference seen with the chosen power at `level`, over users and seeds.
        margin: the equivalence margin in units of the metric.
        label: "one seed each" where only one was run: how much the seeds differ is not known, and nobody is called
            better. Otherwise "better" or "worse" where both p_holm and the interval say so; "equivalent" where the
            difference is shown to lie within the margin; else "no difference": none was shown.
    """

    model: str
    reference: str
    mean_model: float
    mean_reference: float
    difference: float
    interval: tuple[float, float]
    level: float
    p_t: float
    p_wilcoxon: float
    p_bootstrap: float
    p_equivalence: float
    p_holm: float
    p_wilcoxon_holm: float
    p_bootstrap_holm: float
    p_equivalence_holm: float
    d_z: float
    rank_biserial: float
    smallest_detectable: float
    margin: float
    n_users: int
    n_seeds: int
    label: str


def estimates(
    table: Mapping[str, np.ndarray], rng: np.random.Generator, rules: Rules | None = None
) -> dict[str, Estimate]:
    """Return each model's mean with its own interval at 1 - alpha, not corrected for the number of models.

    Raises:
        UserError: shapes differ, a value is infinite, or a model has fewer than two users.
    """
    rules = rules or Rules()
    samples = {name: Sample.of(v, _scale(v), f"model '{name}'") for name, v in _checked(table, 1).items()}
    noises = [st.seed_noise(sample.per_seed) for sample in samples.values()]
    draws = st.bootstrap(list(samples.values()), noises, rng, rules.resamples_for(1))
    return {
        name: Estimate(
            mean=float(sample.per_user.mean()),
            interval=st.interval(row, rules.alpha),
            level=1 - rules.alpha,
            n_users=len(sample.per_user),
            n_seeds=len(sample.per_seed),
        )
        for (name, sample), row in zip(samples.items(), draws, strict=True)
    }


def verdict(a: np.ndarray, b: np.ndarray, rng: np.random.Generator, rules: Rules | None = None) -> Verdict:
    """Return how a compares with b, (n_seeds, n_users) each; a family of one. Raises as `compare`."""
    return compare({"a": a, "b": b}, rng, rules, reference="b")[0]


def compare(
    table: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    rules: Rules | None = None,
    reference: str | None = None,
) -> list[Verdict]:
    """Return how each other model compares with the reference, in the table's order.

    Args:
        table: values of each model, (n_seeds, n_users) of one shape, seeds and users in the same order.
        reference: a model chosen beforehand (family: the other models); None for the best by mean. Whoever is
            best was found by looking at all pairs, so the family is then all pairs.

    Raises:
        UserError: fewer than two models, shapes differ, a value is infinite, the reference is unknown, or two
            models share fewer than two users.
    """
    rules = rules or Rules()
    models = _checked(table, 2)
    declared = reference is not None
    family = len(models) - 1 if declared else math.comb(len(models), 2)
    own = {name: Sample.of(v, _scale(v), f"model '{name}'") for name, v in models.items()}
    if reference is None:
        reference = max(own, key=lambda name: own[name].per_user.mean())
    elif reference not in models:
        raise UserError(f"reference model '{reference}' is not in the table{nearest(reference, models)}")

    base = models[reference]
    seed_means = np.stack([_seed_means(values) for values in models.values()])
    rivals = {name: values for name, values in models.items() if name != reference}
    samples = [
        Sample.of(values - base, _scale(values, base), f"models '{name}' and '{reference}' together")
        for name, values in rivals.items()
    ]
    noises = [
        st.seed_noise(sample.per_seed)
        if declared and len(sample.per_seed) >= ENOUGH_SEEDS
        else st.pooled_seed_noise(seed_means, sample.per_seed)
        for sample in samples
    ]
    draws = st.bootstrap(samples, noises, rng, rules.resamples_for(family))
    rows = [
        {"model": name, "reference": reference, **_uncorrected(values, base, sample, drawn, rules)}
        for (name, values), sample, drawn in zip(rivals.items(), samples, draws, strict=True)
    ]
    _correct(rows, samples, noises, draws, family, rules)
    return [Verdict(**row) for row in rows]


def best_of(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """Return the models that may be best: the reference of `compare`, and all not shown to be worse than it.

    One name means that this model is shown to be best. A reference that another beats is not among them.
    """
    rivals = tuple(v.model for v in verdicts if v.label != "worse")
    beaten = any(v.label == "better" for v in verdicts)
    return rivals if beaten else (verdicts[0].reference, *rivals)


def _checked(table: Mapping[str, np.ndarray], least: int) -> dict[str, np.ndarray]:
    """Return the table as float64 (n_seeds, n_users) arrays of one shape, or say which model does not fit."""
    if len(table) < least:
        raise UserError(f"{len(table)} model(s) given: expected at least {least}")
    checked = {name: np.atleast_2d(np.asarray(v, dtype=np.float64)) for name, v in table.items()}
    first, expected = next((name, array.shape) for name, array in checked.items())
    for name, array in checked.items():
        if array.ndim != 2 or array.shape != expected:
            raise UserError(
                f"values of model '{name}' have shape {array.shape}, those of '{first}' {expected}: "
                "expected the same (n_seeds, n_users); keep the seeds that all models finished"
            )
        if np.isinf(array).any():
            raise UserError(
                f"values of model '{name}' hold infinity: expected numbers, NaN where not counted"
            )
    return checked


def _scale(*arrays: np.ndarray) -> float:
    """Return the largest magnitude among the values, or 1 where there is none."""
    return max(float(np.abs(a[~np.isnan(a)]).max(initial=0.0)) for a in arrays) or 1.0


def _seed_means(values: np.ndarray) -> np.ndarray:
    """Return (n_seeds,) means over counted users, NaN for a seed without any."""
    counts = (~np.isnan(values)).sum(axis=1)
    return np.where(counts > 0, np.nansum(values, axis=1) / np.maximum(counts, 1), np.nan)


def _uncorrected(a: np.ndarray, b: np.ndarray, sample: Sample, drawn: np.ndarray, rules: Rules) -> dict:
    """Return the fields of a verdict that do not depend on the family."""
    d = sample.per_user
    unshared = np.isnan(a) | np.isnan(b)
    mean_a, mean_b = (
        float(np.nanmean(np.where(unshared, np.nan, x)[:, sample.counted], axis=0).mean()) for x in (a, b)
    )
    margin = rules.margin * max(abs(mean_a), abs(mean_b))
    return {
        "mean_model": mean_a,
        "mean_reference": mean_b,
        "difference": float(d.mean()),
        "p_t": st.t_test(d),
        "p_wilcoxon": st.wilcoxon_test(d),
        "p_bootstrap": st.p_zero(drawn),
        "p_equivalence": max(st.equivalence_test(d, margin), st.p_outside(drawn, margin)),
        "d_z": st.cohen_d_z(d),
        "rank_biserial": st.rank_biserial(d),
        "margin": margin,
        "n_users": len(d),
        "n_seeds": len(sample.per_seed),
    }


def _correct(
    rows: list[dict],
    samples: Sequence[Sample],
    noises: Sequence[SeedNoise],
    draws: np.ndarray,
    family: int,
    rules: Rules,
) -> None:
    """Add to each row what depends on the family: corrected p-values, interval, detectable size, label."""
    tests = {"p_t": "p_holm"} | {p: f"{p}_holm" for p in ("p_wilcoxon", "p_bootstrap", "p_equivalence")}
    for raw, corrected in tests.items():
        for row, p in zip(rows, st.holm([r[raw] for r in rows], family), strict=True):
            row[corrected] = float(p)
    alphas = st.holm_alphas([r["p_bootstrap"] for r in rows], family, rules.alpha)
    for row, sample, noise, drawn, alpha in zip(rows, samples, noises, draws, alphas.tolist(), strict=True):
        row["level"], row["interval"] = 1 - alpha, st.interval(drawn, alpha)
        row["smallest_detectable"] = _detectable(sample, noise, alpha, rules.power)
        row["label"] = _label(row, rules.alpha) if row["n_seeds"] > 1 else ONE_SEED


def _detectable(sample: Sample, noise: SeedNoise, alpha: float, power: float) -> float:
    """Add what users and seeds hide in quadrature, as their variances add in the bootstrap."""
    users = st.smallest_detectable(sample.user_se, len(sample.per_user) - 1, alpha, power)
    seeds = st.smallest_detectable(noise.se, noise.df, alpha, power) if noise.df else 0.0
    return math.hypot(users, seeds)


def _label(row: Mapping, alpha: float) -> str:
    low, high = row["interval"]
    if row["p_holm"] <= alpha and not low <= 0 <= high:
        return "better" if low > 0 else "worse"
    return "equivalent" if row["p_equivalence_holm"] <= alpha else "no difference"

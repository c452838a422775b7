"""Why cold items reach the top of a list, or do not: `python -m recsys.experiments.benchmarks.cold_reach RUN ...`.

Of each run, whose model has vectors: how long warm and cold items' vectors are, how much scores of them vary, and how
far a user's best cold item lies below the 20th place. Then what NDCG@20 is on validation and test where cold items'
vectors are multiplied by one factor after another: of all answers, of warm and of cold ones among all items, and of
cold ones among themselves, which no factor changes. What cold items gain stands beside what warm ones lose.
"""

from __future__ import annotations

import pandas as pd
import torch

from recsys.errors import UserError
from recsys.evaluation.scorers import VectorScorer
from recsys.experiments.benchmarks.runs import given_runs
from recsys.runs.run import Run, make_evaluator

FACTORS = (1.0, 1.1, 1.25, 1.5, 2.0)
METRIC, PLACES = "ndcg@20", 20
GROUPS = ("overall", "warm", "cold", "cold_pool")
DRAWN = 2000
"""Users whose scores are looked at."""


def reach(run: Run) -> str:
    """Lengths, scores and the distance from the top, in words."""
    users, items = run.model.embed(run.data.query_users(run.support("valid")))
    warm = torch.from_numpy(run.data.warm_items)
    drawn = torch.randperm(len(users), generator=torch.Generator().manual_seed(0))[:DRAWN]
    scores = users[drawn] @ items.T
    top = scores.topk(PLACES, 1).values[:, -1].mean()
    best = scores[:, ~warm].max(1).values.mean()
    lengths = items.norm(dim=1)
    return (
        f"lengths {lengths[warm].mean():.3f} warm, {lengths[~warm].mean():.3f} cold; scores vary by "
        f"{scores[:, warm].std():.3f} and {scores[:, ~warm].std():.3f}; place {PLACES} has {top:.3f}, a user's best "
        f"cold item {best:.3f}"
    )


def by_factor(run: Run) -> pd.DataFrame:
    """A row for each factor: NDCG@20 by part and group."""
    cold = torch.from_numpy(~run.data.warm_items)
    rows: list[dict[str, float]] = [{"factor": factor} for factor in FACTORS]
    for part in ("valid", "test"):
        users, items = run.model.embed(run.data.query_users(run.support(part)))
        evaluator = make_evaluator(run.dataset, run.split, run.data, part, metrics=(METRIC,))
        for row in rows:
            scaled = torch.where(cold[:, None], items * row["factor"], items)
            figures = evaluator.evaluate(VectorScorer(users, scaled)).metrics
            row |= {f"{part} {group}": figures[group][METRIC] for group in GROUPS}
    return pd.DataFrame(rows)


@torch.no_grad()
def main() -> None:
    for name, run in given_runs(__doc__):
        if not run.model.exports_vectors:
            raise UserError(f"{name}: {run.config.model} has no vectors")
        print(f"{name}: {reach(run)}")
        print(by_factor(run).round(4).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()

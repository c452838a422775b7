"""What a trained model gains by its items' lengths alone: `python -m recsys.experiments.benchmarks.norms RUN`.

    python -m recsys.experiments.benchmarks.norms RUN [RUN ...] --data-root DIR

An ensemble has popularity from one part and taste from another; a single model's vectors hold both at once. Each RUN is
of a model with vectors, or a Confluence, of whose parts those with vectors are looked at one by one. With u and i their
users' and items' vectors, and c the items' interactions in training, two families of scores are tried,

    u . (i / |i|) |i|^p (c + 1)^q    and    (u / |u|) . (i / |i|) |i|^p + q m log(1 + c),

m the median of |i|^p. Validation's NDCG@20 chooses among them, and the test's is printed beside that of the model as it
was trained.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.evaluation.evaluator import OVERALL, Evaluator
from recsys.evaluation.scorers import LowestScorer, VectorScorer
from recsys.experiments.benchmarks.runs import given_runs
from recsys.models.base import Model
from recsys.models.confluence import Confluence
from recsys.runs.run import make_evaluator

METRIC = "ndcg@20"
LENGTHS, FACTORS, TERMS = (0.0, 0.5, 1.0), (0.0, 0.1, 0.2, 0.3, 0.5), (0.02, 0.05, 0.1, 0.2)
"""p, and q as a factor and as a term."""


def multiplied(users: Tensor, items: Tensor, counts: Tensor, p: float, q: float) -> VectorScorer:
    """Scores of the first family."""
    lengths = items.norm(dim=1, keepdim=True) ** p * (counts[:, None] + 1) ** q
    return VectorScorer(users, normalize(items) * lengths)


def added(users: Tensor, items: Tensor, counts: Tensor, p: float, q: float) -> VectorScorer:
    """Scores of the second family."""
    lengths = items.norm(dim=1, keepdim=True) ** p
    term = q * lengths.median() * torch.log1p(counts)[:, None]
    own = torch.cat([normalize(users), torch.ones(len(users), 1)], 1)
    return VectorScorer(own, torch.cat([normalize(items) * lengths, term], 1))


def figure(evaluator: Evaluator, model: Model, scorer: VectorScorer) -> float:
    """NDCG@20 of scores in the place of a model's own, items that it cannot score below all others."""
    found = evaluator.evaluate(LowestScorer(scorer, model.cannot_score()), metrics=(METRIC,), groups=())
    return found.metrics[OVERALL][METRIC]


@torch.no_grad()
def main() -> None:
    tried = [("times", multiplied, *pq) for pq in itertools.product(LENGTHS, FACTORS)]
    tried += [("plus", added, *pq) for pq in itertools.product(LENGTHS, TERMS)]
    for folder, run in given_runs(__doc__):
        parts: dict[str, Model] = {run.config.model: run.model}
        if isinstance(run.model, Confluence):
            parts = {name: models[0] for name, models in run.model.components.items()}
        counts = torch.from_numpy(run.data.item_counts()).float()
        valid, test = (make_evaluator(run.dataset, run.split, run.data, part) for part in ("valid", "test"))
        users = [run.data.query_users(run.support(part)) for part in ("valid", "test")]
        for name, model in parts.items():
            if not (model.exports_vectors and model.personal):
                continue
            of_valid, of_test = (model.embed(each) for each in users)
            found = [figure(valid, model, form(*of_valid, counts, p, q)) for _, form, p, q in tried]
            best = max(found)
            way, form, p, q = tried[found.index(best)]
            before = [
                figure(valid, model, VectorScorer(*of_valid)),
                figure(test, model, VectorScorer(*of_test)),
            ]
            after = figure(test, model, form(*of_test, counts, p, q))
            print(
                f"{folder} {name}: validation {before[0]:.4f} to {best:.4f}, test {before[1]:.4f} to {after:.4f} "
                f"(p {p:g}, {way} popularity, q {q:g})",
                flush=True,
            )


if __name__ == "__main__":
    main()

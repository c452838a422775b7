"""What embeddings look like: alignment, uniformity, effective rank and modality gap, for the log."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.objectives.alignment.alignment import alignment
from recsys.objectives.alignment.uniformity import uniformity


@torch.no_grad()
def embedding_diagnostics(
    users: Tensor,
    items: Tensor,
    pairs: tuple[Tensor, Tensor],
    modalities: Mapping[str, Tensor] | None = None,
    rows: tuple[Tensor, Tensor] | None = None,
) -> dict[str, float]:
    """Figures of one epoch's vectors.

    Args:
        users, items: (n_users, d) and (n_items, d) vectors.
        pairs: user and item indices (m,) of interactions, for the alignment.
        modalities: name -> (n_items, d') vectors; every two of one width give a gap. Rows of zeros (items
            without the modality) are left out.
        rows: numbers of the users and of the items that all but the alignment looks at; None for all.

    Returns:
        alignment, uniformity_users, uniformity_items, effective_rank_users, effective_rank_items, and
        modality_gap_A_B for modalities A and B.
    """
    aligned = alignment(users[pairs[0]], items[pairs[1]])
    modalities = modalities or {}
    if rows is not None:
        users, items = users[rows[0]], items[rows[1]]
        modalities = {name: vectors[rows[1]] for name, vectors in modalities.items()}
    figures = {
        "alignment": aligned,
        "uniformity_users": uniformity(users),
        "uniformity_items": uniformity(items),
        "effective_rank_users": effective_rank(users),
        "effective_rank_items": effective_rank(items),
    }
    names = sorted(modalities)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            if modalities[a].shape[1] == modalities[b].shape[1]:
                figures[f"modality_gap_{a}_{b}"] = modality_gap(modalities[a], modalities[b])
    return {name: float(value) for name, value in figures.items()}


def sample(
    pairs: tuple[Tensor, Tensor], limit: int, generator: torch.Generator
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """At most `limit` of the pairs, and of the users and of the items that occur in them: (pairs, rows), for
    figures whose cost is bounded. The same for the same generator state."""

    def some(ids: Tensor) -> Tensor:
        return ids[torch.randperm(len(ids), generator=generator)[:limit].sort().values]

    chosen = some(torch.arange(len(pairs[0])))
    return (pairs[0][chosen], pairs[1][chosen]), (some(pairs[0].unique()), some(pairs[1].unique()))


def effective_rank(x: Tensor) -> Tensor:
    """exp(-sum_k p_k log p_k), p_k = sigma_k / sum sigma, of x (n, d); 0 for a matrix of zeros.

    "The Effective Rank: A Measure of Effective Dimensionality", Roy and Vetterli, EUSIPCO 2007. The singular
    values are roots of the eigenvalues of x^T x, (d, d), in float64.
    """
    x = x.double()
    sigma = torch.linalg.eigvalsh(x.t() @ x).clamp_min(0).sqrt()
    if not sigma.any():
        return sigma.sum()
    p = sigma / sigma.sum()
    return torch.special.entr(p).sum().exp()


def modality_gap(x: Tensor, y: Tensor) -> Tensor:
    """||mean_i norm(x_i) - mean_i norm(y_i)|| over rows that are not zero.

    "Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation Learning", Liang
    et al., NeurIPS 2022, arXiv 2203.02053.
    """
    centres = [normalize(v[v.any(1)], dim=1).mean(0) for v in (x, y)]
    return torch.linalg.vector_norm(centres[0] - centres[1])

"""Items' content made ready for models: rows of unit length, modalities side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp

from recsys.datasets.dataset import Modality
from recsys.errors import UserError, nearest


def choose(modalities: Mapping[str, Modality], names: Sequence[str], model: str) -> dict[str, Modality]:
    """The modalities called `names`, or all of them where `names` is empty.

    Raises:
        UserError: a name that the data set does not have, or a data set without any modality.
    """
    if not modalities:
        raise UserError(f"{model} needs item features, and this data set has none; use another model or data")
    for name in names:
        if name not in modalities:
            raise UserError(f"the data set has no modality '{name}'{nearest(name, modalities)}")
    return {name: modalities[name] for name in names or modalities}


def without_content(modalities: Mapping[str, Modality], n: int) -> np.ndarray:
    """(n,) bool: True where an item has none of the modalities."""
    return ~np.any([*(modality.mask for modality in modalities.values()), np.zeros(n, dtype=bool)], axis=0)


def all_weights(
    modalities: Mapping[str, Modality], weights: Mapping[str, float], model: str
) -> dict[str, float]:
    """Each modality's weight, 1 where `weights` does not name it.

    Raises:
        UserError: a weight of no modality in use, a negative one, or none above 0.
    """
    for name, weight in weights.items():
        if name not in modalities:
            raise UserError(f"weights of {model}: no modality '{name}' in use{nearest(name, modalities)}")
        if weight < 0:
            raise UserError(f"weights of {model}: '{name}' has {weight}; expected 0 or more")
    complete = {name: weights.get(name, 1.0) for name in modalities}
    if not sum(complete.values()) > 0:
        raise UserError(f"weights of {model} are all 0; give a modality a weight above 0")
    return complete


def shares(modalities: Mapping[str, Modality], weights: Mapping[str, float], model: str) -> dict[str, float]:
    """`all_weights`, divided by their sum."""
    complete = all_weights(modalities, weights, model)
    total = sum(complete.values())
    return {name: weight / total for name, weight in complete.items()}


def below(upper: np.ndarray | sp.csr_array, lower: np.ndarray | sp.csr_array) -> np.ndarray | sp.csr_array:
    """The rows of two matrices of one kind and width, one above the other."""
    return sp.csr_array(sp.vstack([upper, lower])) if sp.issparse(upper) else np.concatenate([upper, lower])


def stacked(upper: Modality, lower: Modality) -> Modality:
    """The items of two modalities of one kind and width, one's below the other's."""
    return Modality(below(upper.features, lower.features), np.append(upper.mask, lower.mask))


def unit_rows(features: np.ndarray | sp.csr_array) -> np.ndarray | sp.csr_array:
    """The rows divided by their L2 norms (taken in float64); zero rows stay zero. Same kind, float32."""
    if not isinstance(features, np.ndarray):
        norms = np.sqrt(np.asarray(features.astype(np.float64).power(2).sum(axis=1)).ravel())
        scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        return sp.csr_array(sp.diags_array(scale) @ features).astype(np.float32)
    norms = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return np.divide(features, norms, out=np.zeros(features.shape), where=norms > 0).astype(np.float32)

"""Items' content corrupted on purpose: with parts missing, with holes filled, or replaced by an uninformative control.

Only what models see is corrupted; what is asked of them, and what people read of the data set, stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import scipy.sparse as sp

from recsys.datasets.dataset import Dataset, Modality
from recsys.datasets.splits import Split, head_items
from recsys.errors import UserError, nearest
from recsys.graphs.normalise import row_normalise
from recsys.settings import Settings, setting

NEIGHBOURS = 10
DENSE_WIDTH = 256
"""Noise in the place of a sparse modality is no wider than this."""
FILLED = 10**8
"""Entries that a filled sparse modality has at most."""

CONTROLS: dict[Literal["permuted", "gaussian", "ids"], str] = {
    "permuted": "permuted",
    "gaussian": "Gaussian",
    "ids": "ID only",
}
"""What a control does to content, and how it is named in tables."""


class ContentCorruption(Settings):
    """What is done to the content that models see."""

    missing: float = setting(
        0.0, "share of items, of those in the pattern, that lose a modality", low=0, high=1
    )
    pattern: Literal["random", "test", "tail", "modality"] = setting(
        "random",
        "which items lose it: any; those without training interactions; unpopular ones; any, but of one modality",
    )
    modality: str = setting("", "the modality that pattern 'modality' takes away")
    noise: float = setting(
        0.0,
        "Gaussian noise added to the features, in standard deviations of each modality's values; of sparse ones, to "
        "the values that are there",
        low=0,
    )
    fill: Literal["mask", "zero", "mean", "neighbours"] = setting(
        "mask", "what the model sees of a missing modality: that it is missing, or a filled-in value"
    )
    control: Literal["", "permuted", "gaussian", "ids"] = setting(
        "", "content permuted among items, replaced by noise, or removed"
    )

    @property
    def title(self) -> str:
        """What is done, but for the control; empty where nothing is."""
        parts = [f"noise of {self.noise:g}"] if self.noise else []
        if self.missing:
            patterns = {"random": "at random", "test": "at the test alone", "tail": "from the tail"}
            where = patterns.get(self.pattern, f"of {self.modality}")
            parts.append(f"{100 * self.missing:g}% missing {where}")
        if self.fill != "mask":
            parts.append(f"filled by {self.fill}")
        return ", ".join(parts)


def corrupt(dataset: Dataset, split: Split, content: ContentCorruption, seeds: tuple[int, int]) -> Dataset:
    """The data set as models see it. What is learned to fill holes is learned of training items alone.

    With the same seeds, what is missing at a rate is missing at every higher one, and noise is the same draw at every
    level.

    Raises:
        UserError: no such modality, a pattern that touches no item, or a filling that is too large.
    """
    if content == ContentCorruption():
        return dataset
    touched = check(dataset, split, content)
    modalities, train = dict(dataset.modalities), dataset.matrix(split.train)
    if content.noise:
        modalities = {
            name: _noisy(modality, content.noise, np.random.default_rng([*seeds, 2, number]))
            for number, (name, modality) in enumerate(modalities.items())
        }
    if content.missing:
        modalities = _remove(modalities, touched, content, seeds)
    if content.fill != "mask":
        modalities = {name: _fill(name, modalities, train, content.fill) for name in modalities}
    corrupted = replace(dataset, modalities=modalities)
    return _controlled(corrupted, content.control, np.random.default_rng([*seeds, 1]))


def _controlled(dataset: Dataset, control: str, generator: np.random.Generator) -> Dataset:
    """Modalities and attributes of items: dealt to other items, all by one deal; attributes dealt and modalities
    of standard normal noise; or neither."""
    modalities, attributes = dataset.modalities, dataset.item_attributes
    if not control:
        return dataset
    if control == "ids":
        none = {name: _masked(m, np.zeros_like(m.mask)) for name, m in modalities.items()}
        return replace(dataset, modalities=none, item_attributes=attributes[[]])
    deal = generator.permutation(dataset.n_items)
    dealt = {name: m.rows(deal) for name, m in modalities.items()}
    if control == "gaussian":
        dealt = {name: _noise(m, generator) for name, m in dealt.items()}
    attributes = attributes.iloc[deal].reset_index(drop=True) if len(attributes) else attributes
    return replace(dataset, modalities=dealt, item_attributes=attributes)


def check(dataset: Dataset, split: Split, content: ContentCorruption) -> np.ndarray:
    """(n_items,) bool, the items that can lose a modality; UserError where `corrupt` could not do it."""
    known = dataset.modalities
    if content != ContentCorruption() and not known:
        raise UserError(f"'{dataset.name}' has no item features to corrupt; leave out the content options")
    if (content.pattern == "modality") != bool(content.modality):
        raise UserError("content options: pattern=modality and modality=NAME go together")
    if content.modality and content.modality not in known:
        raise UserError(
            f"the data set has no modality '{content.modality}'{nearest(content.modality, known)}"
        )
    train = dataset.interactions["item"].to_numpy()[split.train]
    counts = np.bincount(train, minlength=dataset.n_items)
    if content.pattern == "test":
        touched = counts == 0
    elif content.pattern == "tail":
        touched = (counts > 0) & ~head_items(counts)
    else:
        touched = np.ones(dataset.n_items, dtype=bool)
    if content.missing and not touched.any():
        raise UserError(
            f"content option pattern={content.pattern}: split '{split.protocol}' has no such item; use another "
            f"split, for example cold-item"
        )
    return touched


def _noisy(modality: Modality, level: float, generator: np.random.Generator) -> Modality:
    """The modality with `level` standard deviations of its values added to each."""
    if modality.is_sparse:
        features = sp.csr_array(modality.features, copy=True)
        values = np.asarray(features.data)
        values += level * values.std() * generator.standard_normal(len(values), dtype=np.float32)
        return Modality(features, modality.mask)
    dense, known = modality.features, modality.mask
    deviation = level * dense[known].std() if known.any() else 0.0
    noise = deviation * generator.standard_normal(dense.shape, dtype=np.float32)
    return Modality(dense + noise * known[:, None], known)


def _remove(
    modalities: Mapping[str, Modality],
    touched: np.ndarray,
    content: ContentCorruption,
    seeds: tuple[int, int],
) -> dict[str, Modality]:
    left = dict(modalities)
    for number, (name, modality) in enumerate(modalities.items()):
        if content.modality not in ("", name):
            continue
        who = np.flatnonzero(touched & modality.mask)
        order = np.random.default_rng([*seeds, 0, number]).permutation(who)
        mask = modality.mask.copy()
        mask[order[: round(content.missing * len(who))]] = False
        left[name] = _masked(modality, mask)
    return left


def _masked(modality: Modality, mask: np.ndarray) -> Modality:
    kept = mask.astype(np.float32)
    if modality.is_sparse:
        features = sp.csr_array(sp.diags_array(kept) @ modality.features)
        features.eliminate_zeros()
    else:
        features = modality.features * kept[:, None]
    return Modality(features, mask)


def _noise(modality: Modality, generator: np.random.Generator) -> Modality:
    width = min(modality.width, DENSE_WIDTH) if modality.is_sparse else modality.width
    features = generator.standard_normal((len(modality.mask), width), dtype=np.float32)
    return _masked(Modality(features, modality.mask), modality.mask)


def _fill(name: str, modalities: Mapping[str, Modality], train: sp.csr_array, how: str) -> Modality:
    """The modality with every hole filled: with zeros, with the mean of the training items that have it, or with
    the mean of an item's 10 nearest of them, by its other modalities, else by who took it, else all of them."""
    modality = modalities[name]
    everybody, holes = np.ones_like(modality.mask), np.flatnonzero(~modality.mask)
    if how == "zero" or not len(holes):
        return Modality(modality.features, everybody)
    bank = modality.mask & (np.bincount(train.indices, minlength=len(modality.mask)) > 0)
    weights = sp.csr_matrix((len(holes), len(bank)), dtype=np.float32)
    if how == "neighbours":
        for other in (m for n, m in modalities.items() if n != name):
            weights = weights + _near(other.features, other.mask, holes, bank)
        alone = sp.diags((np.diff(weights.indptr) == 0).astype(np.float32))
        weights = sp.csr_matrix(weights + alone @ _near(sp.csr_array(train.T), everybody, holes, bank))
        weights.eliminate_zeros()
    left = np.flatnonzero(np.diff(weights.indptr) == 0)
    filled = row_normalise(weights) @ modality.features
    mean = row_normalise(sp.csr_matrix(bank[None].astype(np.float32))) @ modality.features
    if not modality.is_sparse:
        features = modality.features.copy()
        features[holes] = filled
        features[holes[left]] = mean
        return Modality(features, everybody)
    if filled.nnz + len(left) * mean.nnz > FILLED:
        raise UserError(f"content option fill={how}: '{name}' is sparse, and filled too large; use fill=zero")
    put = sp.csr_matrix((np.ones(len(holes)), (holes, np.arange(len(holes)))), (len(bank), len(holes)))
    flat = sp.csr_matrix((np.ones(len(left)), (holes[left], np.zeros(len(left), int))), (len(bank), 1))
    features = modality.features + put @ filled + flat @ mean
    return Modality(sp.csr_array(features, dtype=np.float32), everybody)


def _near(
    features: np.ndarray | sp.csr_array, mask: np.ndarray, holes: np.ndarray, bank: np.ndarray
) -> sp.csr_matrix:
    """(h, n_items) CSR of ones: for each hole its nearest items of the bank."""
    from recsys.graphs.knn import knn, neighbour_graph  # torch, which a reader of settings does not need

    neighbours, _ = knn(
        features[holes],
        features,
        NEIGHBOURS,
        query_mask=mask[holes],
        base_mask=bank & mask,
        positive_only=True,
    )
    return neighbour_graph(neighbours, None, len(bank))

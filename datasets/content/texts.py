"""Texts to item features: the built-in encoders of texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.datasets.assembly import make_modality
from recsys.datasets.content.encoder import encoder
from recsys.datasets.content.features import reduced
from recsys.datasets.content.weights import (
    Model,
    Revision,
    folder_of_package,
    local,
    model_revision,
    need,
    package_revision,
)
from recsys.datasets.dataset import Modality
from recsys.errors import DataError


@encoder(
    width="at most `width`; 0: the words themselves, sparse",
    revision="1",
    weights="none: the catalogue's words",
)
def tfidf(
    texts: Sequence[str], *, width: int, seed: int, source: str, fit_on: Sequence[str] | None = None
) -> Modality:
    """TF-IDF of the items' texts (rows of unit length), reduced to `width` columns by a truncated SVD; with width 0
    the sparse TF-IDF itself. Vocabulary and components are those of `fit_on`.

    Raises:
        DataError: no text holds a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer()
    try:
        fitted = sp.csr_array(vectorizer.fit_transform(texts if fit_on is None else fit_on))
    except ValueError:
        raise DataError(f"{source}: the items' texts hold no words to make a text modality of") from None
    weights = fitted if fit_on is None else sp.csr_array(vectorizer.transform(texts))
    return reduced(weights, width, seed, fitted) if width else make_modality(weights, source)[0]


@encoder(
    each=True,
    width="256",
    revision=lambda: package_revision("wordllama", first="0.4.0.post1"),
    licence="MIT (wordllama); its vectors come of Llama 3's embeddings, under Meta's licence",
    weights="inside the pip package wordllama",
)
def sentence(
    texts: Sequence[str], *, width: int, seed: int, source: str, fit_on: Sequence[str] | None = None
) -> Modality:
    """(n_items, 256) unit rows: the mean vector of a text's tokens, by a static sentence encoder; `width`, `seed` and
    `fit_on` are ignored.

    WordLlama, whose weights and tokeniser come inside its pip package: nothing is fetched. Items without a text
    are masked.

    Raises:
        DataError: the package is not installed.
    """
    table, tokenizer = _wordllama(source)
    features = np.zeros((len(texts), table.shape[1]), dtype=np.float32)
    for row, tokens in enumerate(tokenizer.encode_batch(list(texts), add_special_tokens=False)):
        if tokens.ids:
            mean = table[tokens.ids].astype(np.float32).mean(axis=0)
            features[row] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return Modality(features, np.asarray(features.any(axis=1)))


@lru_cache(maxsize=1)
def _wordllama(source: str) -> tuple[np.ndarray, Any]:
    """The table of vectors, and the tokeniser; the package itself, with all that it imports, is not imported."""
    loading, tokenizers = need("safetensors.numpy", "text", source), need("tokenizers", "text", source)
    package = folder_of_package("wordllama", "text", source)
    (table,) = loading.load_file(str(package / "weights/l2_supercat_256.safetensors")).values()
    return table, tokenizers.Tokenizer.from_file(
        str(package / "tokenizers/l2_supercat_tokenizer_config.json")
    )


@encoder(
    each=True,
    width="the model's",
    revision=model_revision,
    licence="the model's; see its page",
    weights="a folder, or a name on the Hugging Face hub such as minishlab/potion-base-8M",
)
def static(
    texts: Sequence[str],
    *,
    width: int,
    seed: int,
    source: str,
    fit_on: Sequence[str] | None = None,
    model: Model = "",
    revision: Revision = "main",
) -> Modality:
    """(n_items, the model's width): the mean of a text's static word vectors, by model2vec. `width`, `seed` and
    `fit_on` are ignored.

    Raises:
        DataError: the package is not installed, or the model is not there.
    """
    loaded = _static(model, revision, source)
    features = np.asarray(loaded.encode(list(texts), use_multiprocessing=False), dtype=np.float32)
    return Modality(np.ascontiguousarray(features), np.asarray(features.any(axis=1)))


@lru_cache(maxsize=1)
def _static(model: str, revision: str, source: str) -> Any:
    package = need("model2vec", "text", source)
    return package.StaticModel.from_pretrained(local(model, revision, source).folder)

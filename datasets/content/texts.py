"""Texts to item features: the built-in encoders of texts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import numpy as np
import scipy.sparse as sp

from recsys.datasets.checks import make_modality
from recsys.datasets.content.features import reduced
from recsys.datasets.dataset import Modality
from recsys.errors import DataError


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
    try:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        package = files("wordllama")
    except ModuleNotFoundError as error:
        raise DataError(
            f"{source}: vectors of sentences need a package: pip install recsys[text] ({error})"
        ) from None
    (table,) = load_file(str(package / "weights/l2_supercat_256.safetensors")).values()
    tokenizer = Tokenizer.from_file(str(package / "tokenizers/l2_supercat_tokenizer_config.json"))
    features = np.zeros((len(texts), table.shape[1]), dtype=np.float32)
    for row, tokens in enumerate(tokenizer.encode_batch(list(texts), add_special_tokens=False)):
        if tokens.ids:
            mean = table[tokens.ids].astype(np.float32).mean(axis=0)
            features[row] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return Modality(features, np.asarray(features.any(axis=1)))

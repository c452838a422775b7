"""Raw content to item features. Content encoders by name: `CONTENT`."""

from recsys.registry import Registry, is_function

CONTENT = Registry(
    "content encoder",
    "recsys.content",
    {
        "text": "recsys.datasets.content.texts:tfidf",
        "tfidf": "recsys.datasets.content.texts:tfidf",
        "sentence": "recsys.datasets.content.texts:sentence",
        "category": "recsys.datasets.content.columns:category",
        "number": "recsys.datasets.content.columns:number",
        "vector": "recsys.datasets.content.columns:vector",
        "image": "recsys.datasets.content.images:image",
    },
    accepts=is_function,
    expected="a function encoder(texts, *, width, seed, source, fit_on)",
)
"""An encoder is a function `encoder(texts, *, width, seed, source, fit_on=None) -> Modality`: a cell of each item as
text in ("" where there is none), their features out. What it must learn first, such as a vocabulary, it learns from the
texts `fit_on`, or from `texts` where that is None; so new items get the features that they would have had in the
catalogue. It looks at nothing else: an item without interactions is encoded like any other."""

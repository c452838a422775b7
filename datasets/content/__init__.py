"""Raw content to item features. Encoders of texts by name: `CONTENT`."""

from recsys.registry import Registry

CONTENT = Registry(
    "content encoder",
    "recsys.content",
    {
        "tfidf": "recsys.datasets.content.texts:tfidf",
        "sentence": "recsys.datasets.content.texts:sentence",
    },
)
"""An encoder is a function `encoder(texts, *, width, seed, source) -> Modality`: a text of each item in, their features
out. It must look at nothing else, so that an item without interactions is encoded like any other."""

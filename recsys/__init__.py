"""A multimodal recommender engine: graphs, hypergraphs and content, honest warm and cold-start rankings.

The names below are imported when they are first asked for, so that `import recsys` stays quick and needs no torch.
Every built-in model is a name too: `recsys.MMHCL(layers=3)`.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Large tables on huge pages, as NumPy has them by itself: a product with 20 million edges takes three quarters of the
# time, and a sum of two tables of a million rows under half. torch reads this when it first allocates.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.1.0"

_NAMES = {
    "Dataset": "recsys.datasets.dataset",
    "load_dataset": "recsys.datasets.cards",
    "toy_data": "recsys.datasets.toy",
    "train": "recsys.api.train",
    "TrainedRun": "recsys.api.trained_run",
    "load_run": "recsys.api.trained_run",
    "ServingBundle": "recsys.serving.bundle",
    "load_bundle": "recsys.serving.bundle",
    "evaluate": "recsys.api.evaluate",
    "Evaluated": "recsys.api.evaluate",
    "compare": "recsys.api.compare",
    "Comparison": "recsys.api.compare",
    "model": "recsys.api.models",
    "ModelSpec": "recsys.api.models",
    "RunConfig": "recsys.runs.config",
    "UserError": "recsys.errors",
    "DataError": "recsys.errors",
}
__all__ = [
    "Comparison",
    "DataError",
    "Dataset",
    "Evaluated",
    "ModelSpec",
    "RunConfig",
    "ServingBundle",
    "TrainedRun",
    "UserError",
    "__version__",
    "compare",
    "evaluate",
    "load_bundle",
    "load_dataset",
    "load_run",
    "model",
    "toy_data",
    "train",
]

if TYPE_CHECKING:
    from recsys.api.compare import Comparison, compare
    from recsys.api.evaluate import Evaluated, evaluate
    from recsys.api.models import ModelSpec, model
    from recsys.api.train import train
    from recsys.api.trained_run import TrainedRun, load_run
    from recsys.datasets.cards import load_dataset
    from recsys.datasets.dataset import Dataset
    from recsys.datasets.toy import toy_data
    from recsys.errors import DataError, UserError
    from recsys.runs.config import RunConfig
    from recsys.serving.bundle import ServingBundle, load_bundle


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(import_module(_NAMES[name]), name)
    elif name[:1].isupper():
        from recsys.api.models import ModelMaker, model_names

        names = model_names()
        if name not in names:
            raise AttributeError(f"module 'recsys' has no attribute '{name}'")
        value = ModelMaker(names[name])
    else:
        raise AttributeError(f"module 'recsys' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from recsys.api.models import model_names

    return sorted({*globals(), *_NAMES, *model_names()})

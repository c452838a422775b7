"""A trained model's arrays in a file, without anything of the trainer or its library."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from recsys.errors import UserError
from recsys.files import atomic, check_regular
from recsys.models.base import Model
from recsys.training.filenames import MODEL_FILE


def save_model(model: Model, folder: Path) -> None:
    """Write the model's arrays to `folder`/model.safetensors, whole or not at all."""
    save_arrays(model.arrays(), model, folder)


def save_arrays(arrays: Mapping[str, torch.Tensor], model: Model, folder: Path) -> None:
    """Write what were `model`'s arrays at some time to `folder`/model.safetensors, whole or not at all."""
    arrays = {name: tensor.cpu() for name, tensor in arrays.items()}
    about = {"model": type(model).__name__, "sha256": checksum(arrays)}
    with atomic(folder / MODEL_FILE) as temporary:
        # Serialised in memory first: safetensors reports a full disk as an error of its own.
        temporary.write_bytes(save(arrays, metadata=about))


def checksum(arrays: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of arrays with their names, types and shapes, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {tuple(array.shape)} ".encode())
        digest.update(array.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_model(model: Model, folder: Path) -> None:
    """Put the arrays of `folder`/model.safetensors into the model.

    Raises:
        UserError: as `read_arrays`, or they do not fit.
    """
    model.load_arrays(read_arrays(folder, type(model).__name__))


def read_arrays(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The arrays of `folder`/model.safetensors, which the model class `name` gave.

    Raises:
        UserError: the file is damaged, another model's, or holds what is no number.
    """
    path = folder / MODEL_FILE
    check_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} holds no whole weights ({reason:.120}); train the run again") from None
    if (written := about.get("model")) != name:
        raise UserError(f"{path} holds the weights of {written or 'another model'}, not of {name}")
    if about.get("sha256") != checksum(arrays):
        raise UserError(f"{path} has changed since it was written (SHA-256); train the run again")
    for key, array in arrays.items():
        if array.is_floating_point() and not torch.isfinite(array).all():
            raise UserError(f"{path}: '{key}' holds NaN or infinity; train the run again")
    return arrays

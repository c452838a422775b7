"""A trained model's arrays in a file, without anything of the trainer or its library."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from recsys.errors import UserError
from recsys.files import atomic, check_regular
from recsys.models.base import Model
from recsys.training.filenames import MODEL_FILE


def save_model(model: Model, folder: Path) -> None:
    """Write the model's arrays to `folder`/model.safetensors, whole or not at all."""
    with atomic(folder / MODEL_FILE) as temporary:
        arrays = {name: tensor.cpu() for name, tensor in model.arrays().items()}
        save_file(arrays, temporary, metadata={"model": type(model).__name__})


def load_model(model: Model, folder: Path) -> None:
    """Put the arrays of `folder`/model.safetensors into the model.

    Raises:
        UserError: the file is damaged, another model's, or holds what is no number.
    """
    path = folder / MODEL_FILE
    check_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get("model", "")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} holds no whole weights ({reason:.120}); train the run again") from None
    if written != type(model).__name__:
        raise UserError(
            f"{path} holds the weights of {written or 'another model'}, not of {type(model).__name__}"
        )
    for name, array in arrays.items():
        if array.is_floating_point() and not torch.isfinite(array).all():
            raise UserError(f"{path}: '{name}' holds NaN or infinity; train the run again")
    model.load_arrays(arrays)

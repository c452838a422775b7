"""Running the authors' code: imported from the folder that the user names, on the torch and scipy of today.

It is foreign code, run on purpose and with the rights of whoever starts the command.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.sparse as sp
import torch

from recsys.errors import UserError
from recsys.experiments.benchmarks.parity.compare import Source

COMMIT_FILE = ".commit"
"""Holds the commit of a folder that is no git checkout."""


def folder_of(source: Source, authors: Path) -> Path:
    """Where the source lies below `authors`.

    Raises:
        UserError: it does not.
    """
    for name in source.folders:
        if (authors / name).is_dir():
            return authors / name
    raise UserError(
        f"{authors} has no folder {' or '.join(source.folders)}; git clone https://github.com/{source.repository} "
        f"into it, or leave the model out with --models"
    )


def commit_of(folder: Path) -> str:
    """The commit of the code in `folder`; "unknown" where neither git nor a file `.commit` says it."""
    if (folder / COMMIT_FILE).is_file():
        return (folder / COMMIT_FILE).read_text(encoding="utf-8").strip()
    if not (folder / ".git").exists():
        return "unknown"
    command = ["git", "-C", os.fspath(folder), "rev-parse", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True)
    return answer.stdout.strip() or "unknown"


@contextlib.contextmanager
def foreign(folder: Path, *, arguments: Sequence[str] = (), stubs: Sequence[str] = ()) -> Iterator[Path]:
    """Modules of `folder` can be imported, by the names that they have there; gives a fresh current folder.

    What was imported is forgotten afterwards, since several authors have a `models` and a `utils`. Code from before
    torch 2 and for a GPU finds what it expects. What it prints is swallowed.

    Args:
        arguments: of the command line that the code parses when it is imported.
        stubs: modules that the code imports and that what we call does not need, made empty.
    """
    before, here = set(sys.modules), Path.cwd()
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parity-")))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(mock.patch.object(sys, "argv", ["parity", *arguments]))
        stack.enter_context(mock.patch.object(sys, "path", [os.fspath(folder), *sys.path]))
        stack.enter_context(mock.patch.object(sys, "dont_write_bytecode", True))
        for name in stubs:
            stack.enter_context(mock.patch.dict(sys.modules, {name: _stub(name)}))
        for patch in _old_habits():
            stack.enter_context(patch)
        os.chdir(work)
        try:
            yield work
        finally:
            os.chdir(here)
            for name in set(sys.modules) - before:
                if _lies_in(sys.modules[name], folder):
                    del sys.modules[name]


def load(path: Path) -> types.ModuleType:
    """One file as a module, without the package that it lies in; for use within `foreign`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"{path} is not there; use the commit that the page names")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _stub(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__getattr__ = lambda _: mock.MagicMock()  # type: ignore[method-assign]  # a module's own hook
    module.__path__ = []
    return module


def _lies_in(module: types.ModuleType, folder: Path) -> bool:
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(place and Path(place).is_relative_to(folder) for place in places)


def _old_habits() -> list[Any]:
    """Patches for what old code expects: tensors that go to a GPU, an old constructor, an inner function of scipy."""

    def sparse(indices: torch.Tensor, values: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        values = values.float() if values.dtype == torch.int64 else values
        return torch.sparse_coo_tensor(indices, values, shape)

    def update(self: Any, entries: dict[tuple[int, int], float]) -> None:
        self._dict.update({place: np.float32(value) for place, value in entries.items()})

    scatter = types.ModuleType("torch_scatter")
    scatter.scatter_add = _scatter_add  # type: ignore[attr-defined]
    return [
        mock.patch.dict(sys.modules, {"torch_scatter": scatter}),
        mock.patch.object(torch.Tensor, "cuda", lambda self, *_, **__: self),
        mock.patch.object(torch.nn.Module, "cuda", lambda self, *_, **__: self),
        mock.patch.object(torch.sparse, "FloatTensor", sparse),
        mock.patch.object(sp.dok_matrix, "_update", update, create=True),
    ]


def _scatter_add(values: torch.Tensor, index: torch.Tensor, dim: int, dim_size: int) -> torch.Tensor:
    """What torch_scatter, for which not every machine has a wheel, gives for vectors."""
    return values.new_zeros(dim_size).index_add(dim, index, values)


class Config(dict):
    """A configuration as MMRec reads it: what nobody set is None."""

    def __missing__(self, key: str) -> None:
        return None


def configuration(
    work: Path, features: Mapping[str, np.ndarray], width: int, batch: int, **settings: Any
) -> Config:
    """What every model of MMRec reads, with `settings` on top; two modalities' features are written below `work`."""
    names = ("first.npy", "second.npy")
    (work / "data").mkdir(exist_ok=True)
    for name, rows in zip(names, features.values(), strict=True):
        np.save(work / "data" / name, rows)
    config = Config(
        USER_ID_FIELD="user",
        ITEM_ID_FIELD="item",
        NEG_PREFIX="negative",
        train_batch_size=batch,
        device=torch.device("cpu"),
        end2end=False,
        is_multimodal_model=True,
        data_path=f"{work}/",
        dataset="data",
        vision_feature_file=names[0],
        text_feature_file=names[1],
        embedding_size=width,
        feat_embed_dim=width,
    )
    config.update(settings)
    return config


class Interactions:
    """The few calls that models of MMRec make of a data set."""

    def __init__(self, matrix: sp.csr_array):
        self.matrix, self.dataset = matrix, self

    def get_user_num(self) -> int:
        return self.matrix.shape[0]

    def get_item_num(self) -> int:
        return self.matrix.shape[1]

    def inter_matrix(self, form: str = "coo") -> sp.coo_matrix:
        return sp.coo_matrix(self.matrix).astype(np.float64)


@contextlib.contextmanager
def mmrec(
    source: Path, name: str, interactions: sp.csr_array, features: dict[str, np.ndarray], **settings: Any
) -> Iterator[Any]:
    """A model of MMRec, or of a repository laid out like it, in float64, on two modalities.

    Args:
        source: the repository's folder.
        name: of the model's class; its module is the same in small letters.
        settings: of the model, by their names there.
    """
    with foreign(source / "src") as work:
        module = importlib.import_module(f"models.{name.lower()}")
        config = configuration(work, features, 16, 64, knn_k=5, **settings)
        torch.manual_seed(0)
        np.random.seed(0)  # the authors' code draws from it
        yield widened(getattr(module, name)(config, Interactions(interactions)))


def widened(model: torch.nn.Module) -> torch.nn.Module:
    """The model with its parameters, and the tensors that are mere attributes, in float64."""
    model.double()
    for name, value in vars(model).items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            setattr(model, name, value.double())
    return model

"""What RecBole 1.2 needs to run beside today's NumPy, lent to it only while its code runs.

`recbole.quick_start` is never imported, and neither RecBole's Config nor its Trainer is used: they read the command
line, evaluate settings as Python, write log and checkpoint files where they stand, and set environment variables.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import random
import re
import warnings
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import scipy.sparse as sp
import yaml

from recsys.errors import UserError, nearest

FAMILIES = ("general_recommender", "context_aware_recommender")
REMOVED = {
    "int": int,
    "float": float,
    "complex": complex,
    "object": object,
    "str": str,
    "unicode": str,
    "float_": np.float64,
    "complex_": np.complex128,
    "bool8": np.bool_,
}
"""Names that NumPy 2 no longer has and RecBole reads."""


class Config(dict):
    """Settings as RecBole's models read them, as keys or as attributes: a name that is not there is None."""

    def __missing__(self, key: str) -> None:
        return None

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        return self[key]

    @property
    def final_config_dict(self) -> Config:
        return self


def _update(matrix: sp.dok_matrix, entries: dict[tuple[int, int], float]) -> None:
    matrix._dict.update(entries)


class Loan:
    """The names that NumPy and SciPy have removed, and the global generators that RecBole draws from, while its
    code runs.

    Outside of `with loan():` names and everybody's global generators are as they were, and nothing was printed;
    inside, the generators of numpy.random and random go on where they stood in the last `with`.
    """

    def __init__(self, seed: int):
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Set both generators."""
        self._numpy = np.random.RandomState(seed % 2**32).get_state()
        self._python = random.Random(seed).getstate()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        removed = {(np, name): value for name, value in REMOVED.items()} | {
            (sp.dok_matrix, "_update"): _update
        }
        lent = [(owner, name) for owner, name in removed if name not in vars(owner)]
        outside = np.random.get_state(), random.getstate(), logging.root.manager.disable
        for owner, name in lent:
            setattr(owner, name, removed[owner, name])
        np.random.set_state(self._numpy)
        random.setstate(self._python)
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(None):
                warnings.simplefilter("ignore")
                yield
        finally:
            self._numpy, self._python = np.random.get_state(), random.getstate()
            np.random.set_state(outside[0])
            random.setstate(outside[1])
            logging.disable(outside[2])
            for owner, name in lent:
                delattr(owner, name)


@functools.cache
def _places() -> dict[str, str]:
    """Model name -> module, of RecBole's general and context-aware models.

    Raises:
        UserError: RecBole is not installed.
    """
    try:
        with Loan(0)():
            for family in FAMILIES:
                importlib.import_module(f"recbole.model.{family}")
    except ImportError as error:
        raise UserError(
            f"models called recbole:… need a package: pip install 'recsys[recbole]' ({error})"
        ) from None
    stems = {}
    for family in FAMILIES:
        for path in files(f"recbole.model.{family}").iterdir():
            stems[path.name.removesuffix(".py")] = f"recbole.model.{family}.{path.name.removesuffix('.py')}"
    names = [p.name.removesuffix(".yaml") for p in files("recbole").joinpath("properties/model").iterdir()]
    names.append("Random")  # has no file of settings
    return {name: stems[name.lower()] for name in names if name.lower() in stems}


def find_model(name: str) -> type[Any]:
    """RecBole's class of that name.

    Raises:
        UserError: RecBole is not installed, or has no general or context-aware model of that name.
    """
    places = _places()
    if name not in places:
        raise UserError(
            f"RecBole has no general or context-aware model '{name}'{nearest(name, sorted(places))}"
        )
    return getattr(importlib.import_module(places[name]), name)


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-5 is a number, as in RecBole's own."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _read(*path: str) -> dict[str, Any]:
    file = files("recbole").joinpath("properties", *path)
    return (yaml.load(file.read_text(encoding="utf-8"), _Loader) or {}) if file.is_file() else {}


def model_defaults(name: str) -> dict[str, Any]:
    """The settings that a RecBole model declares for itself, with their defaults."""
    return _read("model", f"{name}.yaml")


def make_config(name: str, model: type[Any], settings: dict[str, Any]) -> Config:
    """What RecBole's models and data set read: its own defaults, then `settings`."""
    import torch

    config = Config(_read("overall.yaml") | _read("dataset", "sample.yaml") | model_defaults(name) | settings)
    kind = {"MODEL_TYPE": model.type, "MODEL_INPUT_TYPE": getattr(model, "input_type", None)}
    config.update(kind, model=name, dataset="recsys", device=torch.device("cpu"), numerical_features=[])
    return config

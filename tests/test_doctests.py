"""The examples in docstrings give what they show, and every public name has a docstring with one."""

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import recsys
from recsys.api.models import model_names

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules_with_examples():
    found = []
    for info in pkgutil.walk_packages(recsys.__path__, "recsys."):
        spec = info.module_finder.find_spec(info.name)
        if spec and spec.origin and ">>> " in Path(spec.origin).read_text(encoding="utf-8"):
            found.append(info.name)
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_give_what_they_show(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("name", [name for name in recsys.__all__ if name != "__version__"])
def test_public_names_are_documented(name):
    thing = getattr(recsys, name)
    text = inspect.getdoc(thing)
    if inspect.isclass(thing) and issubclass(thing, Exception):
        assert text
        return
    assert "Stability: stable." in text or "Stability: experimental." in text
    shown = text if inspect.isfunction(thing) else text + inspect.getdoc(getattr(thing, "from_frame", thing))
    assert ">>> " in shown
    if inspect.isfunction(thing):
        undocumented = [
            p for p in inspect.signature(thing).parameters if p not in text and f"**{p}" not in text
        ]
        assert not undocumented


def test_every_listed_name_is_there():
    assert set(recsys.__all__) <= set(dir(recsys))
    for name, registered in model_names().items():
        assert getattr(recsys, name).name == registered

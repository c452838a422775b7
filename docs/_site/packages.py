"""Lets the documentation find recsys.datasets and recsys.graphs, and lists modules and models where a page asks so.

The top-level folders are imported below `recsys` (setup.py says how). mkdocstrings reads files and imports nothing: it
gets a copy laid out as the packages are imported.
"""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from pathlib import Path

from mkdocs.plugins import event_priority

FOLDERS = {"recsys": "recsys", "datasets": "recsys/datasets", "graphs": "recsys/graphs"}
ASKED = re.compile(r"^<!-- (models|modules) in (recsys[\w.]*) -->$", re.MULTILINE)
REGISTERED = re.compile(r'"([\w-]+)": "(recsys\.models[\w.]*)\.(\w+):(\w+)"')


def on_startup(**_):
    """Make the folder for the copy."""
    global copy
    copy = Path(tempfile.mkdtemp(prefix="recsys-docs-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config):
    """Copy the packages and point mkdocstrings there."""
    root = Path(config.config_file_path).parent
    shutil.rmtree(copy, ignore_errors=True)
    for folder, place in FOLDERS.items():
        shutil.copytree(root / folder, copy / place, ignore=shutil.ignore_patterns("__pycache__", "*.yaml"))
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(copy)]
    return config


def on_page_markdown(markdown, **_):
    """`<!-- models in PACKAGE -->` is every model of a package, `<!-- modules in PACKAGE -->` every module."""
    return ASKED.sub(lambda asked: {"models": models, "modules": modules}[asked[1]](asked[2]), markdown)


def models(package: str) -> str:
    """Each registered model: its class, and its settings where it has its own."""
    found = REGISTERED.findall((copy / "recsys/models/__init__.py").read_text(encoding="utf-8"))
    return "\n\n".join(_model(*model) for model in found if model[1] == package)


def _model(name: str, package: str, module: str, model: str) -> str:
    parts = [
        f"### {name}",
        f"::: {package}.{module}.{model}\n    options: {{members: false, heading_level: 4}}",
    ]
    source = (copy / package.replace(".", "/") / f"{module}.py").read_text(encoding="utf-8")
    if f"class {model}Settings(" in source:
        parts.append(
            f"::: {package}.{module}.{model}Settings\n    options: {{members: false, heading_level: 4}}"
        )
    return "\n\n".join(parts)


def modules(package: str) -> str:
    """Each module of a package, those below it too."""
    folder = copy / package.replace(".", "/")
    paths = [path for path in sorted(folder.rglob("*.py")) if not path.stem.startswith("_")]
    names = [".".join(path.relative_to(copy).with_suffix("").parts) for path in paths]
    return "\n\n".join(f"::: {name}" for name in names)

"""Lets the documentation find recsys.datasets, recsys.graphs and recsys.experiments, whose folders stand at the top.

They are imported below `recsys` (setup.py says how). mkdocstrings reads files and imports nothing: this hook gives it
a copy laid out as the packages are imported.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from mkdocs.plugins import event_priority

FOLDERS = {"recsys": "recsys", "datasets": "recsys/datasets", "graphs": "recsys/graphs"}


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config):
    """Point mkdocstrings at the copy."""
    root, copy = Path(config.config_file_path).parent, Path(tempfile.mkdtemp(prefix="recsys-docs-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for folder, place in FOLDERS.items():
        shutil.copytree(root / folder, copy / place, ignore=shutil.ignore_patterns("__pycache__", "*.yaml"))
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(copy)]
    return config

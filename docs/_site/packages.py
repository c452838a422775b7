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

from mkdocs.plugins import event_priority, get_plugin_logger

log = get_plugin_logger("docs")
FOLDERS = {"recsys": "recsys", "datasets": "recsys/datasets", "graphs": "recsys/graphs"}
ASKED = re.compile(r"^<!-- (models|modules) in (recsys[\w.]*) -->$", re.MULTILINE)
FILE = re.compile(r"^(```\w+) file=(\S+)$", re.MULTILINE)
INDEX = re.compile(r"(`[^`]*`)|([_^])(?:(\w+)|\(((?:[^()]|\([^()]*\))*)\))")
"""Code, which stays as it is, or the sign of an index or exponent with one word, or more in parentheses."""
REGISTERED = re.compile(r'"([\w-]+)": "(recsys\.models[\w.]*)\.(\w+):(\w+)"')


def on_startup(**_):
    """Make the folder for the copy."""
    global copy
    copy = Path(tempfile.mkdtemp(prefix="recsys-docs-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config):
    """Copy the packages and point mkdocstrings there; list the result pages, which a command writes."""
    root = Path(config.config_file_path).parent
    shutil.rmtree(copy, ignore_errors=True)
    for folder, place in FOLDERS.items():
        shutil.copytree(root / folder, copy / place, ignore=shutil.ignore_patterns("__pycache__", "*.yaml"))
    results = sorted(f"results/{path.name}" for path in (root / "docs/results").glob("*.md"))
    results.sort(key=lambda page: not page.endswith("/index.md"))
    config.nav = [{"Results": results} if "Results" in entry else entry for entry in config.nav]
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(copy)]
    return config


def on_page_markdown(markdown, page, **_):
    """A block's `file=NAME`, which tests read, is its title; `<!-- models in PACKAGE -->` is every model of a package,
    `<!-- modules in PACKAGE -->` every module; formulas get indices."""
    markdown = FILE.sub(r'\1 title="\2"', markdown)
    if page.file.src_uri == "formulas.md":
        return INDEX.sub(set_index, markdown)
    return ASKED.sub(lambda asked: {"models": models, "modules": modules}[asked[1]](asked[2]), markdown)


def on_page_content(html, page, **_):
    """A block that was not understood fails the strict build."""
    if "```" in html:
        log.warning(
            "%s: a block of code is not closed, or its first line is not understood", page.file.src_uri
        )


def set_index(found: re.Match) -> str:
    """x_i and x^(l+1) with what follows the sign set lower or higher."""
    if found[1]:
        return found[1]
    tag = {"_": "sub", "^": "sup"}[found[2]]
    return f"<{tag}>{found[3] or found[4].replace('<', '&lt;')}</{tag}>"


def models(package: str) -> str:
    """Each registered model: its class, and its settings where it has its own."""
    found = REGISTERED.findall((copy / "recsys/models/__init__.py").read_text(encoding="utf-8"))
    return "\n\n".join(_model(*model) for model in found if model[1] == package)


def _model(name: str, package: str, module: str, model: str) -> str:
    parts = [_class(f"{package}.{module}.{model}", name, 3)]
    source = (copy / package.replace(".", "/") / f"{module}.py").read_text(encoding="utf-8")
    if f"class {model}Settings(" in source:
        parts.append(_class(f"{package}.{module}.{model}Settings", f"Settings of {name}", 4))
    return "\n\n".join(parts)


def _class(path: str, heading: str, level: int) -> str:
    options = f"heading: {heading}, toc_label: {heading}, heading_level: {level}, members: false"
    bare = "show_bases: false, separate_signature: false, show_signature: false"
    return f"::: {path}\n    options: {{{options}, {bare}}}"


def modules(package: str) -> str:
    """Each module of a package, those below it too."""
    folder = copy / package.replace(".", "/")
    paths = [path for path in sorted(folder.rglob("*.py")) if not path.stem.startswith("_")]
    names = [".".join(path.relative_to(copy).with_suffix("").parts) for path in paths]
    return "\n\n".join(f"::: {name}" for name in names)

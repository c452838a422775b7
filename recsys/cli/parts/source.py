"""What a part's source says of it, read without importing the part: for lists and shell completion, which must be quick
and must not fail where a package is broken."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

Definition = ast.FunctionDef | ast.ClassDef
FOLLOWED = 5
"""So many imports from module to module are followed."""


@cache
def file_of(module: str) -> Path | None:
    """The module's file; None where it has none or cannot be found."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


@cache
def _tree(module: str) -> ast.Module:
    file = file_of(module)
    try:
        return ast.parse(file.read_bytes()) if file else ast.Module([], [])
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def find(module: str, name: str, followed: int = 0) -> tuple[str, Definition] | None:
    """Where the function or class `name` of `module` is defined, through `from ... import`: the module and the node."""
    for node in _tree(module).body:
        if isinstance(node, Definition) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and followed < FOLLOWED:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find(_absolute(module, node), alias.name, followed + 1)
    return None


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    file = file_of(module)
    package = module if file and file.name == "__init__.py" else module.rpartition(".")[0]
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def first_line(target: str) -> str:
    """First sentence line of the docstring of "module:attribute"; of the module's where the attribute has none."""
    module, _, attribute = target.partition(":")
    definition = find(module, attribute)
    doc = ast.get_docstring(definition[1]) if definition else None
    doc = doc or ast.get_docstring(_tree(module)) or ""
    return " ".join(doc.partition("\n\n")[0].split())


def class_text(target: str, attribute: str) -> str:
    """The text that the class "module:Class", or one that it inherits from, gives its `attribute`; else ""."""
    module, _, name = target.partition(":")
    definition = find(module, name)
    if definition is None:
        return ""
    module, node = definition
    if not isinstance(node, ast.ClassDef):
        return ""
    for line in node.body:
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == attribute for t in targets):
            value = getattr(line, "value", None)
            return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
    return next((text for b in _bases(node) if (text := class_text(f"{module}:{b}", attribute))), "")


def setting_names(target: str) -> list[str]:
    """Names of the settings of the model "module:Class", its own and inherited; empty where they cannot be told."""
    module, _, name = target.partition(":")
    definition = find(module, name)
    if definition is None:
        return []
    module, model = definition
    if not isinstance(model, ast.ClassDef):
        return []
    for node in model.body:
        if isinstance(node, ast.ClassDef) and node.name == "Settings":
            return _fields(module, node)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        named = any(isinstance(t, ast.Name) and t.id == "Settings" for t in targets)
        if named and isinstance(getattr(node, "value", None), ast.Name):
            return field_names(f"{module}:{node.value.id}")  # type: ignore[attr-defined]
    return next((names for b in _bases(model) if (names := setting_names(f"{module}:{b}"))), [])


def field_names(target: str) -> list[str]:
    """Names of the annotated fields of the class "module:Class", its own and inherited."""
    module, _, name = target.partition(":")
    definition = find(module, name)
    return _fields(*definition) if definition and isinstance(definition[1], ast.ClassDef) else []


def _bases(node: ast.ClassDef) -> list[str]:
    return [base.id for base in node.bases if isinstance(base, ast.Name)]


def _fields(module: str, node: Definition) -> list[str]:
    if not isinstance(node, ast.ClassDef):
        return []
    names: list[str] = []
    for base in _bases(node):
        if base != node.name:
            names += field_names(f"{module}:{base}")
    names += [
        n.target.id
        for n in node.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name) and not _of_class(n.annotation)
    ]
    return list(dict.fromkeys(names))


def _of_class(annotation: ast.expr) -> bool:
    """Whether the annotation is `ClassVar`, alone or of a type: what belongs to the class is no field."""
    return ast.unparse(annotation).partition("[")[0].rpartition(".")[2] == "ClassVar"


def keyword_names(target: str) -> list[str]:
    """Names of the keyword-only arguments of the function "module:function"."""
    module, _, name = target.partition(":")
    definition = find(module, name)
    if definition is None or not isinstance(definition[1], ast.FunctionDef):
        return []
    return [argument.arg for argument in definition[1].args.kwonlyargs]

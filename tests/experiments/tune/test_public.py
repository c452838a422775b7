"""Scans use Optuna through its public interface alone."""

import ast
from pathlib import Path

from recsys.experiments import tune

OWN = {"self", "cls", "super"}


def private_attributes(path: Path) -> list[str]:
    """Attributes that begin with an underscore, of anything but the object itself."""
    return [
        f"{path.name}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in OWN)
    ]


def test_no_private_attribute_of_optuna(tmp_path):
    files = sorted(Path(tune.__file__).parent.glob("*.py"))
    assert len(files) >= 5
    assert [line for path in files for line in private_attributes(path)] == []
    (tmp_path / "bad.py").write_text("study._storage.x\nself._mine\n")
    assert private_attributes(tmp_path / "bad.py") == ["bad.py:1: study._storage"]

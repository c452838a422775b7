"""Names resolved once, at the edge: models, objectives, data sets and metrics found by name.

Third parties extend a registry through Python entry points in the group given to it, for example
`[project.entry-points."recsys.models"]` with `mymodel = "mypackage.mymodel:MyModel"`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from recsys.errors import UserError, nearest


class Registry:
    """Maps a name to an object that is imported only when it is asked for.

    Args:
        kind: what the names stand for, in the singular; used in messages.
        group: entry-point group that third parties fill; None where there is none.
        builtin: name -> "module:attribute".
        families: prefix -> "module:function"; `prefix:rest` is what the function makes of `rest`. These names
            are not listed: only the function knows them.
    """

    def __init__(
        self, kind: str, group: str | None, builtin: dict[str, str], families: dict[str, str] | None = None
    ):
        self.kind = kind
        self._families = families or {}
        self._group = group
        self._targets: dict[str, str] = {}
        self._objects: dict[str, Any] = {}
        self._scanned = False
        for name, target in builtin.items():
            self.add(name, target)

    def add(self, name: str, target: Any) -> None:
        """Register `target` (an object, or "module:attribute") under `name`. A name is taken once."""
        if name in self._targets or name in self._objects:
            raise UserError(f"{self.kind} '{name}' is registered twice; rename one of them")
        if isinstance(target, str):
            self._targets[name] = target
        else:
            self._objects[name] = target

    def _scan(self) -> None:
        if self._group and not self._scanned:
            self._scanned = True
            for point in entry_points(group=self._group):
                self.add(point.name, point.value)

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._scan()
        return sorted({*self._targets, *self._objects})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def get(self, name: str) -> Any:
        """The object registered under `name`; UserError naming the nearest names where there is none."""
        family, colon, rest = name.partition(":")
        if colon and family in self._families:
            return _load(self._families[family])(rest)
        if name not in self.names():
            raise UserError(f"there is no {self.kind} '{name}'{nearest(name, self.names())}")
        if name not in self._objects:
            self._objects[name] = _load(self._targets[name])
        return self._objects[name]


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)

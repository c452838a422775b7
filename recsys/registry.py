"""Names resolved once, at the edge: models, objectives, metrics, readers, splits, data sets and commands by name.

A package of one's own extends a registry through Python entry points in the registry's group, for example
`[project.entry-points."recsys.models"]` with `mymodel = "mypackage.mymodel:MyModel"`; see docs/plugins.md.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from recsys.errors import UserError, nearest

log = logging.getLogger(__name__)
BUILT_IN = "built in"


class Registry:
    """Maps a name to an object that is imported only when it is asked for.

    Args:
        kind: what the names stand for, in the singular; used in messages.
        group: entry-point group that other packages fill; None where there is none.
        builtin: name -> "module:attribute", or the object itself.
        families: prefix -> "module:function"; `prefix:rest` is what the function makes of `rest`. These names
            are not listed: only the function knows them.
        accepts: whether what a package brings is a part of this kind; `expected` says in words what is.

    Example:
        >>> constants = Registry("constant", None, {"pi": "math:pi"})
        >>> constants.add("two", 2)
        >>> list(constants), constants.get("pi") > constants.get("two"), constants.origin("pi")
        (['pi', 'two'], True, 'built in')
    """

    def __init__(
        self,
        kind: str,
        group: str | None,
        builtin: Mapping[str, Any],
        families: dict[str, str] | None = None,
        *,
        accepts: Callable[[Any], bool] = lambda part: True,
        expected: str = "",
    ):
        self.kind = kind
        self.builtin = tuple(builtin)
        self._families = families or {}
        self._accepts, self._expected = accepts, expected
        self._group = group
        self._targets: dict[str, str] = {}
        self._objects: dict[str, Any] = {}
        self._plugins: dict[str, list[EntryPoint]] | None = None
        for name, target in builtin.items():
            self.add(name, target)

    def add(self, name: str, target: Any) -> None:
        """Register `target` (an object, or "module:attribute") under `name`.

        Raises:
            UserError: the name is taken.
        """
        if name in self._targets or name in self._objects:
            raise UserError(f"{self.kind} '{name}' is registered twice; rename one of them")
        if isinstance(target, str):
            self._targets[name] = target
        else:
            self._objects[name] = target

    def _scan(self) -> dict[str, list[EntryPoint]]:
        """Entry points by name, without those whose name is taken here."""
        if self._plugins is None:
            self._plugins = {}
            for point in entry_points(group=self._group) if self._group else ():
                if point.name in self._targets or point.name in self._objects:
                    log.warning("%s '%s' of %s is left out: the name is taken", *self._named(point))
                else:
                    self._plugins.setdefault(point.name, []).append(point)
        return self._plugins

    def _named(self, point: EntryPoint) -> tuple[str, str, str]:
        return self.kind, point.name, _package(point)

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted({*self._targets, *self._objects, *self._scan()})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: str) -> bool:
        return name in self._targets or name in self._objects or name in self._scan()

    def get(self, name: str) -> Any:
        """The object registered under `name`.

        Raises:
            UserError: there is none (the nearest names are offered), or the package that brings it is broken.
        """
        family, colon, rest = name.partition(":")
        if colon and family in self._families:
            return _load(self._families[family])(rest)
        if name not in self._objects:
            if name in self._targets:
                self._objects[name] = _load(self._targets[name])
            elif name in self._scan():
                return self._load_plugin(name)
            else:
                raise UserError(f"there is no {self.kind} '{name}'{nearest(name, self.names())}")
        return self._objects[name]

    def _load_plugin(self, name: str) -> Any:
        first, *others = self._scan()[name]
        if others:
            packages = sorted({_package(point) for point in (first, *others)})
            if len(packages) == 1:
                raise UserError(
                    f"{self.kind} '{name}' is registered twice by {packages[0]}; mend or uninstall it"
                )
            raise UserError(
                f"{self.kind} '{name}' comes from {' and '.join(packages)}; uninstall one of them"
            )
        try:
            part = _load(first.value)
        except Exception as error:  # a stranger's module may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"{self.kind} '{name}' of {_package(first)} cannot be imported ({reason}); mend or uninstall the "
                f"package"
            ) from None
        if not self._accepts(part):
            raise UserError(
                f"{self.kind} '{name}' of {_package(first)} is of type {type(part).__name__}, but a {self.kind} is "
                f"{self._expected}; mend or uninstall the package"
            )
        return part

    def origin(self, name: str) -> str:
        """Where `name` comes from: "built in", the distribution that brings it, or "added by the program"."""
        if name in self._targets or name in self._objects:
            return BUILT_IN if name in self.builtin else "added by the program"
        return " and ".join(sorted({_package(point) for point in self._scan().get(name, [])}))

    def target(self, name: str) -> str | None:
        """ "module:attribute" of `name`, without importing it; None of an object that was given itself."""
        points = self._scan().get(name)
        return points[0].value if points else self._targets.get(name)


def is_function(part: Any) -> bool:
    """Whether `part` can be called and is no class: what most kinds of parts are."""
    return callable(part) and not isinstance(part, type)


def _package(point: EntryPoint) -> str:
    dist = getattr(point, "dist", None)
    return f"{dist.name} {dist.version}" if dist else "an unknown package"


def _load(target: str) -> Any:
    module, _, attributes = target.partition(":")
    target_object: Any = importlib.import_module(module)
    for attribute in attributes.split("."):
        target_object = getattr(target_object, attribute)
    return target_object

"""Packages that only some commands need."""

from __future__ import annotations

import importlib
from types import ModuleType

from recsys.errors import UserError


def require(module: str, extra: str) -> ModuleType:
    """Import `module`; UserError that names the extra to install where it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        raise UserError(f"this needs the package {module}; run: pip install 'recsys[{extra}]'") from None

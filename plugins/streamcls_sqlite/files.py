"""Opening the event store for writing and for reading, and what SQLite's errors mean to whoever runs it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from streamcls import StreamclsError
from streamcls_sqlite.layout import check, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["default_path", "expanded", "explained", "may", "open_reader", "open_writer", "reading"]

_NAME: Final = "store.db"
_WAL_LIMIT_BYTES: Final = 16 << 20
"""To this the write-ahead log is cut back after a checkpoint, should a slow reader have let it grow."""
_READER_WAITS_S: Final = 10.0

_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; make room",
    sqlite3.SQLITE_READONLY: "cannot be written; allow this user to write the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; does its folder exist, and may this user read and write there?",
    sqlite3.SQLITE_PERM: "cannot be opened; allow this user to read and write it",
    sqlite3.SQLITE_BUSY: "is locked by another program; end that one (fuser names it)",
    sqlite3.SQLITE_LOCKED: "is locked by another program; end that one (fuser names it)",
    sqlite3.SQLITE_IOERR: "cannot be read or written; is the disk full or failing?",
    sqlite3.SQLITE_NOTADB: "is no SQLite database; name another file",
    sqlite3.SQLITE_CORRUPT: "is damaged; move it away with its -wal and -shm, a new one is begun; "
    "sqlite3 OLD .recover | sqlite3 NEW saves what can be read",
}
_PRIMARY_CODE: Final = 0xFF
"""The lower byte of an extended result code is the code that it refines."""


def default_path() -> Path:
    """Return the store's place where nothing else is said: the daemon's usual state folder."""
    systemd = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return (Path(systemd) if systemd else Path("~/.local/state/streamcls").expanduser()) / _NAME


def expanded(path: str) -> Path:
    """Return the path that a setting means; empty: the default. A ``~`` of an unknown user stays as it is."""
    return Path(os.path.expanduser(path)) if path else default_path()  # noqa: PTH111 - Path.expanduser raises there


def explained(path: Path, error: sqlite3.Error) -> str:
    """Say what a failure means and what to do, naming the file."""
    code = getattr(error, "sqlite_errorcode", None)
    remedy = None if code is None else _REMEDIES.get(code & _PRIMARY_CODE)
    return f"{path} {remedy} ({error})" if remedy else f"{path}: {error}"


def may(path: Path, mode: int) -> bool:
    """Ask the operating system whether this user, as who he acts now, may do it (``os.R_OK``, ``os.W_OK``)."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def open_writer(path: Path, *, busy_s: float) -> sqlite3.Connection:
    """Open the store, made or migrated where that is needed, in autocommit mode.

    Parameters
    ----------
    busy_s
        Seconds to wait for another writer.

    Raises
    ------
    StreamclsError
        It is a database of something else or of a later version, or may not be written.
    sqlite3.Error
        Anything else, see :func:`explained`.
    """
    if path.exists() and not may(path, os.W_OK):
        # Not left to SQLite: the log beside it would be made read-only as well, and stay so.
        raise StreamclsError(f"{path} {_REMEDIES[sqlite3.SQLITE_READONLY]}")
    connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # works in an empty database only
        check(connection, path)  # before anything is changed in a file that is not ours
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection, path)
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.close()
        raise
    return connection


def open_reader(path: Path, *, empty: bool = False) -> sqlite3.Connection:
    """Open a store for reading, beside whoever writes it; nothing is changed in it.

    Parameters
    ----------
    empty
        One in which there are no tables yet will do.

    Raises
    ------
    StreamclsError
        There is none, it is none, or it cannot be read.
    """
    if not path.is_file():
        raise StreamclsError(
            f"there is no event store {path}; name it with --database FILE, or run the subscriber sqlite"
        )
    try:
        try:
            return _opened(path, "mode=ro", empty=empty)
        except sqlite3.OperationalError:
            # A folder in which nothing can be created, and nobody who writes: the file does not change.
            if _wal_of(path).exists() and _wal_of(path).stat().st_size:
                raise
            return _opened(path, "immutable=1", empty=empty)
    except sqlite3.Error as error:
        raise StreamclsError(explained(path, error)) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Read a store within one snapshot; failures are ``StreamclsError``."""
    connection = open_reader(path)
    try:
        connection.execute("BEGIN")
        yield connection
    except sqlite3.Error as error:
        raise StreamclsError(explained(path, error)) from error
    finally:
        connection.close()


def _opened(path: Path, how: str, *, empty: bool) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?{how}"
    connection = sqlite3.connect(uri, uri=True, timeout=_READER_WAITS_S, isolation_level=None)
    try:
        version = check(connection, path)
    except BaseException:
        connection.close()
        raise
    if not version and not empty:
        connection.close()
        raise StreamclsError(f"{path} is empty: the subscriber sqlite has not written to it yet")
    return connection


def _wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")

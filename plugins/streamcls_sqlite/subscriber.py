"""Keeps events in a SQLite database, each once however often it is delivered."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pydantic import Field

from streamcls import ComponentConfig, StreamclsError, SubscriberBusyError
from streamcls.bus.wire import TYPE_PREFIX
from streamcls_sqlite.files import expanded, explained, may, open_reader, open_writer
from streamcls_sqlite.records import FindingRow, finding_of, instant, status_of, text_of, to_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["SqliteConfig", "SqliteSubscriber"]

_log = logging.getLogger("streamcls.subscriber.sqlite")

_HEARTBEAT: Final = "daemon.heartbeat"
_WINDOW: Final = ".window"
_STATUS: Final = "stream.status"
_INT64: Final = (1 << 63) - 1
_DAY_S: Final = 86_400.0
_SWEEP_S: Final = 60.0
"""Seconds between two looks for what is too old."""
_SWEEP_ON_S: Final = 5.0
"""The same, where the last look did not come to the end."""
_SWEEP_FOR_S: Final = 0.5
"""So long a look takes at most, so that no event waits long for it."""
_SWEEP_ROWS: Final = 2_000
"""Rows that go in one transaction."""
_SWEEP_PAGES: Final = 5_000
"""Free pages that are given back to the file system after a look: 20 MB."""

_OF_THE_EVENT: Final = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
"""What is wrong with what was to be written, and not with the file: another attempt changes nothing."""

_EPOCH_SQL: Final = """
INSERT INTO epochs (epoch, source, first, last, heartbeat) VALUES (:epoch, :source, :at, :at, :heartbeat)
ON CONFLICT (epoch) DO UPDATE SET
    beat_s = CASE WHEN excluded.heartbeat > heartbeat
        THEN min(coalesce(beat_s, excluded.heartbeat - heartbeat), excluded.heartbeat - heartbeat) ELSE beat_s END,
    first = min(first, excluded.first),
    last = max(last, excluded.last),
    heartbeat = max(coalesce(heartbeat, excluded.heartbeat), coalesce(excluded.heartbeat, heartbeat))
"""
_OWN: Final = ("id", "began", "ended", "clock")
# Without a clock the beginning is reckoned once, from the first event of a finding, and kept.
_SAME: Final = "(excluded.clock = 0 AND NOT (phase = 'closed' AND excluded.phase = 'opened'))"
_FINDING_SQL: Final = f"""
INSERT INTO findings ({", ".join(FindingRow.columns())}, epoch, sequence)
VALUES ({", ".join(":" + name for name in FindingRow.columns())}, :epoch, :sequence)
ON CONFLICT (id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in [*FindingRow.columns(), "epoch", "sequence"] if name not in _OWN)},
    ended = CASE WHEN {_SAME} THEN began + excluded.duration_s ELSE excluded.ended END,
    began = CASE WHEN {_SAME} THEN began ELSE excluded.began END,
    clock = CASE WHEN {_SAME} THEN clock ELSE excluded.clock END
WHERE (excluded.epoch, excluded.sequence) > (findings.epoch, findings.sequence)
"""  # noqa: S608 - names of columns
_STATUS_SQL: Final = """
INSERT OR IGNORE INTO statuses (stream, epoch, sequence, time, state, reason, lost_s, more) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_EVENT_SQL: Final = (
    "INSERT OR IGNORE INTO events (epoch, kind, stream, sequence, time, alert_id, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_SWEEPS: Final = (
    """
    DELETE FROM findings WHERE rowid IN (
        SELECT rowid FROM findings WHERE began < :before AND ended < :before ORDER BY began LIMIT :rows)
    """,
    "DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE time < :before ORDER BY time LIMIT :rows)",
    # The last known state of a stream stays, whatever its age.
    """
    DELETE FROM statuses WHERE (stream, epoch, sequence) IN (
        SELECT stream, epoch, sequence FROM statuses AS old WHERE time < :before AND EXISTS (
            SELECT 1 FROM statuses AS later WHERE later.stream = old.stream
            AND (later.epoch, later.sequence) > (old.epoch, old.sequence)
            AND later.time < :before AND later.state <> 'gap')
        ORDER BY time LIMIT :rows)
    """,
    """
    DELETE FROM epochs WHERE rowid IN (
        SELECT number FROM epochs WHERE last < :before AND number < (SELECT max(number) FROM epochs) LIMIT :rows)
    """,
)


class SqliteConfig(ComponentConfig):
    """Settings of the subscriber ``sqlite``."""

    path: str = Field(default="", description="Database file; empty: store.db in the daemon's usual state folder.")
    raw: bool = Field(default=False, description="Keep every event, but for heartbeats, also as it is on the wire.")
    max_age_days: float | None = Field(default=None, gt=0, le=36_500, description="What is older goes; none: kept.")
    durability: Literal["power", "process"] = Field(
        default="power", description="What an event outlives once it is taken: a power cut, or only this program."
    )
    busy_s: float = Field(default=5.0, ge=0, le=30, description="Seconds to wait for another program that writes.")


class SqliteSubscriber:
    """Writes each event in one transaction, which is committed when ``handle`` returns."""

    name: ClassVar[str] = "sqlite"
    Config = SqliteConfig

    def __init__(self, config: SqliteConfig) -> None:
        self._config = config
        self._path = expanded(config.path)
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._next_sweep = 0.0

    @staticmethod
    def writes(config: SqliteConfig) -> list[str]:
        """Return the file that nobody else should write."""
        return [str(expanded(config.path))]

    @staticmethod
    def preflight(config: SqliteConfig) -> list[str]:
        """Check that the folder can be written, and that what stands there is an event store."""
        path = expanded(config.path)
        if path.is_dir():
            return [f"path {config.path!r} is a folder; name a file in it"]
        folder = path.absolute().parent
        if not folder.is_dir():
            return [f"path {config.path!r}: the folder {folder} does not exist; create it"] if config.path else []
        if not may(folder, os.W_OK):
            return [f"path {config.path!r}: no permission to write in {folder}, where SQLite needs files of its own"]
        return _file_problems(config.path, path)

    def handle(self, event: Mapping[str, Any]) -> None:
        """Store one event; it is committed on return. Delivered again, it changes nothing.

        Raises
        ------
        SubscriberBusyError
            The database cannot be used now: it is locked, damaged or no store, or its disk is full.
        StreamclsError
            The database does not take this event.
        """
        if event["type"].endswith(_WINDOW) and not self._config.raw:
            return
        try:
            connection = self._opened()
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._is_forced(event) else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            self._write(connection, event)
            connection.execute("COMMIT")
        except _OF_THE_EVENT as error:
            self.close()
            raise StreamclsError(explained(self._path, error)) from error
        except sqlite3.Error as error:
            self.close()
            raise SubscriberBusyError(explained(self._path, error)) from error
        except BaseException:
            self.close()  # and so takes back what was begun
            raise
        self._sweep(connection)

    def close(self) -> None:
        """Close the database; an event that comes later opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # whatever is the matter, what was committed is safe
                connection.close()

    def _write(self, connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
        kind, stream = text_of(event["type"].removeprefix(TYPE_PREFIX)), text_of(event["subject"])
        sequence, now = min(int(event["sequence"]), _INT64), time.time()
        at = instant(event["time"])
        at = now if at is None else at
        connection.execute(
            _EPOCH_SQL,
            {
                "epoch": text_of(event["epoch"]),
                "source": text_of(event["source"]),
                "at": min(at, now),
                "heartbeat": at if kind == _HEARTBEAT else None,
            },
        )
        if kind == _HEARTBEAT:
            return
        (epoch,) = connection.execute(
            "SELECT number FROM epochs WHERE epoch = ?", (text_of(event["epoch"]),)
        ).fetchone()
        data = event["data"]
        finding = None if kind == _STATUS else finding_of(kind, stream, at, data)
        if finding is not None:
            values = {name: getattr(finding, name) for name in FindingRow.columns()}
            connection.execute(_FINDING_SQL, values | {"epoch": epoch, "sequence": sequence})
        elif kind == _STATUS:
            row = status_of(stream, at, data)
            known = (row.stream, epoch, sequence, row.time, row.state, row.reason, row.lost_s, row.more)
            connection.execute(_STATUS_SQL, known)
        if self._config.raw or (finding is None and kind != _STATUS):
            about = data.get("alert_id")
            about = text_of(about) if isinstance(about, str) else None
            connection.execute(_EVENT_SQL, (epoch, kind, stream, sequence, at, about, to_text(event)))

    def _is_forced(self, event: Mapping[str, Any]) -> bool:
        """Whether the commit waits for the disk. Windows and heartbeats, which no journal delivers again, go with the next that does."""
        fleeting = event["type"].endswith((_WINDOW, _HEARTBEAT)) and "position" not in event
        return self._config.durability == "power" and not fleeting

    def _opened(self) -> sqlite3.Connection:
        """Return the connection; a file that was moved away or deleted is made anew under its name."""
        if self._connection is not None and self._identity() != self._file:
            self.close()
        if self._connection is None:
            if not self._config.path:
                try:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise SubscriberBusyError(f"{self._path.parent}: cannot be created: {error.strerror}") from error
            try:
                self._connection = open_writer(self._path, busy_s=self._config.busy_s)
            except StreamclsError as error:
                raise SubscriberBusyError(str(error)) from error
            self._file = self._identity()
        return self._connection

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _sweep(self, connection: sqlite3.Connection) -> None:
        """Delete a portion of what is too old. The event is safe already, so a failure is only said."""
        days, now = self._config.max_age_days, time.monotonic()
        if days is None or now < self._next_sweep:
            return
        limits = {"before": time.time() - days * _DAY_S, "rows": _SWEEP_ROWS}
        left = list(_SWEEPS)
        try:
            while left and time.monotonic() < now + _SWEEP_FOR_S:
                if connection.execute(left[0], limits).rowcount < _SWEEP_ROWS:
                    del left[0]
            # execute() would free one page: the statement has no row, and is stepped once.
            connection.executescript(f"PRAGMA incremental_vacuum({_SWEEP_PAGES})")
        except sqlite3.Error as error:
            _log.warning("what is older than %g days was not deleted: %s", days, explained(self._path, error))
        self._next_sweep = time.monotonic() + (_SWEEP_ON_S if left else _SWEEP_S)


def _file_problems(configured: str, path: Path) -> list[str]:
    """Say what is wrong with the file that stands there already, if one does."""
    if not path.exists() or not path.stat().st_size:
        return []
    if not may(path, os.R_OK | os.W_OK):
        return [f"path {configured!r}: no permission to read and write {path}"]
    try:
        open_reader(path, empty=True).close()
    except StreamclsError as error:
        return [f"path {configured!r}: {error}"]
    return []

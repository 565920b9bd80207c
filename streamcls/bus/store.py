"""The journal's file: an SQLite database in WAL mode, written by one connection and read by others (see ``reader``)."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sqlite3
import uuid
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamcls.types import Checkpoint

__all__ = [
    "BOUNDS",
    "BUSY_S",
    "JournalFile",
    "Record",
    "advice",
    "check",
    "checksum",
    "is_damage",
    "readable",
    "with_positions",
]

_log = logging.getLogger("streamcls.journal")

_VERSION: Final = 2
_LEAP: Final = 10_000
"""Positions left out after a power cut that may have cost some."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_TRIM_TO: Final = 0.95
"""Of the size allowed, so that not every event costs a removal."""
BUSY_S: Final = 5.0
"""Time that a reader waits for a lock."""
_WRITER_BUSY_S: Final = 0.5
"""The writer does so too: only a stranger's transaction can be in its way, and all events wait."""
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

BOUNDS: Final = "SELECT (SELECT min(position) FROM events), (SELECT max(position) FROM events)"
"""First and last position; each by itself is looked up, while both of one SELECT would read the whole table."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY, epoch TEXT NOT NULL, topic TEXT NOT NULL, sequence INTEGER NOT NULL,
    kind TEXT NOT NULL, stream TEXT NOT NULL, written REAL NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_topic ON events (topic, epoch, sequence);
CREATE TABLE IF NOT EXISTS open (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, stream TEXT NOT NULL, position INTEGER NOT NULL, crc INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS streams (
    stream TEXT PRIMARY KEY, kind TEXT NOT NULL, position INTEGER NOT NULL, over INTEGER NOT NULL, crc INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY, source TEXT NOT NULL, crc INTEGER NOT NULL, state TEXT NOT NULL);
"""


def checksum(kind: object, stream: object, body: object) -> int:
    """Return the CRC-32 by which a row is known to be what was written, or -1 where it cannot be; SQLite keeps none of its own."""
    if not (isinstance(kind, str) and isinstance(stream, str) and isinstance(body, bytes)):
        return -1
    return zlib.crc32(body, zlib.crc32(f"{kind}/{stream}".encode()))


def readable(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Have text that is damaged read as such: the checksum finds it, and the rows beside it are read all the same."""
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is no sound database, as against a disk that is full, read-only or gone."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE or "malformed" in str(error)


def advice(error: Exception) -> str:
    """Return what can be done about a journal that cannot be written."""
    text = str(error)
    if "full" in text:
        return "make room on the disk, or lower [journal] max_mb"
    if "readonly" in text or "read-only" in text or "unable to open" in text:
        return (
            "mount the disk writable, let the daemon's user write to the folder, or choose another [daemon] state_dir"
        )
    if "locked" in text:
        return "another process writes to it, and must not: end that one"
    return "see to the disk"


def check(path: Path) -> None:
    """Look for damage in a file that was not closed in order: about 1.5 s for a gigabyte in memory, and longer from a disk.

    Raises
    ------
    sqlite3.Error
        It cannot be read or is damaged; see :func:`is_damage`.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=_WRITER_BUSY_S, isolation_level=None)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        row = connection.execute("SELECT value FROM meta WHERE name = 'clean'").fetchone() if "meta" in tables else None
        if row is not None and row[0] == "no":
            finding = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if finding != "ok":
                raise sqlite3.DatabaseError(f"malformed: {finding}")


@dataclass(frozen=True, slots=True)
class Record:
    """An event as the journal keeps it.

    Attributes
    ----------
    position
        Its place in the journal, rising by one over all topics.
    written
        Unix time in seconds.
    body
        The envelope, exactly as it is published.
    finding
        Id and phase of the segment or alert of which it tells; None where it tells of none.
    over
        For a ``stream.status``: whether nothing more is to come of the stream; else None.
    """

    position: int
    epoch: str
    topic: str
    sequence: int
    kind: str
    stream: str
    written: float
    body: bytes
    finding: tuple[str, str] | None = None
    over: bool | None = None


@dataclass(slots=True)
class JournalFile:
    """The writing connection. Used by one thread.

    Attributes
    ----------
    id
        Identity of this journal: 32 hexadecimal digits, chosen when the file was made.
    position
        Last position written, 0 where there is none.
    """

    connection: sqlite3.Connection
    id: str
    position: int
    first: int = 1

    @classmethod
    def open(cls, path: Path, *, power: bool, begin: int = 0) -> Self:
        """Open or make the file; whether one that was there is sound, :func:`check` says.

        Parameters
        ----------
        power
            Wait for the disk at each commit, so that a power cut costs nothing that was committed.
        begin
            Last position given out, for a file that is new.

        Raises
        ------
        sqlite3.Error
            It cannot be opened or is damaged; see :func:`is_damage`.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = readable(
            sqlite3.connect(path, timeout=_WRITER_BUSY_S, isolation_level=None, check_same_thread=False)
        )
        try:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if power else 'NORMAL'}")
            connection.execute("PRAGMA journal_size_limit = 16777216")
            connection.executescript(_SCHEMA)
            facts = dict(connection.execute("SELECT name, value FROM meta"))
            _check_version(facts.get("version", str(_VERSION)))
            identity = facts.get("id") or uuid.uuid4().hex
            connection.execute("BEGIN IMMEDIATE")  # a disk that cannot be written is found now
            boot = _boot()
            for name, value in {
                "version": str(_VERSION),
                "id": identity,
                "clean": "no",
                "boot": boot,
                "power": "yes" if power else "no",
            }.items():
                connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
            connection.execute("COMMIT")
            first, last = connection.execute(BOUNDS).fetchone()
            kept = int(facts.get("position", 0))
            position = max(int(last or 0), kept, begin)
            if facts.get("clean") == "no" and facts.get("boot") not in {None, "", boot} and facts.get("power") == "no":
                # The machine went down under it, and the last commits may be gone: their positions are not given out again.
                position += _LEAP
            return cls(connection, identity, position, int(first) if first is not None else position + 1)
        except BaseException:
            connection.close()
            raise

    def write(self, records: Sequence[Record], checkpoints: Iterable[Checkpoint] = ()) -> None:
        """Keep events and checkpoints in one transaction; raises ``sqlite3.Error``, and then nothing of it is kept."""
        run = self.connection.execute
        run("BEGIN IMMEDIATE")
        try:
            self.connection.executemany(
                "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        r.position,
                        r.epoch,
                        r.topic,
                        r.sequence,
                        r.kind,
                        r.stream,
                        r.written,
                        checksum(r.kind, r.stream, r.body),
                        r.body,
                    )
                    for r in records
                ),
            )
            for record in records:
                self._follow(record)
            for checkpoint in checkpoints:
                self._place(checkpoint)
            run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                run("ROLLBACK")
            raise
        if records:
            self.position = max(self.position, records[-1].position)

    def _follow(self, record: Record) -> None:
        run, crc = self.connection.execute, checksum(record.kind, record.stream, record.body)
        if record.finding is not None:
            identifier, phase = record.finding
            if phase == "closed":
                run("DELETE FROM open WHERE id = ?", (identifier,))
            else:
                run(
                    "INSERT OR REPLACE INTO open VALUES (?, ?, ?, ?, ?, ?)",
                    (identifier, record.kind, record.stream, record.position, crc, record.body),
                )
        if record.over is not None:
            run(
                "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?, ?)",
                (
                    record.stream,
                    record.kind,
                    record.position,
                    record.over,
                    crc,
                    record.body,
                ),
            )

    def _place(self, checkpoint: Checkpoint) -> None:
        run = self.connection.execute
        if checkpoint.state is None:
            run("DELETE FROM checkpoints WHERE stream = ?", (checkpoint.stream,))
            return
        try:
            state = json.dumps(checkpoint.state, separators=(",", ":"), allow_nan=False)
        except (ValueError, TypeError, RecursionError) as error:
            # Only a plugin's mark or state leads here. The former checkpoint stays, which costs a repetition and loses nothing.
            _log.error("the checkpoint of stream %s cannot be written as JSON: %s", checkpoint.stream, error)
            return
        row = (
            checkpoint.stream,
            checkpoint.source,
            checksum(checkpoint.source, checkpoint.stream, state.encode()),
            state,
        )
        run("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?)", row)

    def last_epoch(self) -> str:
        """Return the epoch of the newest event; empty where there is none."""
        row = self.connection.execute("SELECT epoch FROM events ORDER BY position DESC LIMIT 1").fetchone()
        return str(row[0]) if row else ""

    def left_open(self) -> dict[str, str]:
        """Return the stream of each segment and alert that is open, by id."""
        return dict(self.connection.execute("SELECT id, stream FROM open"))

    @property
    def used_bytes(self) -> int:
        """Size of what is kept, without pages that are free."""
        pages, free, size = (
            int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def trim(self, *, before: float, most_bytes: int, most_rows: int) -> int:
        """Remove the oldest events: those written before a Unix time, and while more than ``most_bytes`` are used.

        At most ``most_rows`` at a time, so that nobody waits long. Returns how many; what is open and each stream's state stay.
        """
        run = self.connection.execute
        doomed = run(
            "SELECT count(*), max(position) FROM (SELECT position, written FROM events ORDER BY position LIMIT ?)"
            " WHERE written < ?",  # of the oldest only: to look for such events everywhere would read the whole file
            (most_rows, before),
        ).fetchone()
        used = self.used_bytes
        if not doomed[0] and used > most_bytes:
            share = (used - _TRIM_TO * most_bytes) / used
            rows = min(most_rows, math.ceil(share * (self.position - self.first + 1)))
            doomed = run(
                "SELECT count(*), max(position) FROM (SELECT position FROM events ORDER BY position LIMIT ?)", (rows,)
            ).fetchone()
        if not doomed[0]:
            return 0
        run("BEGIN IMMEDIATE")
        try:
            removed = run("DELETE FROM events WHERE position <= ?", (doomed[1],)).rowcount
            run("DELETE FROM streams WHERE over AND position <= ?", (doomed[1],))
            run("INSERT OR REPLACE INTO meta VALUES ('position', ?)", (str(self.position),))
            run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                run("ROLLBACK")
            raise
        first = run("SELECT min(position) FROM events").fetchone()[0]
        self.first = int(first) if first is not None else self.position + 1
        return removed

    def close(self, *, clean: bool = True) -> None:
        """Close it; ``clean`` notes that nothing was being written."""
        if clean:
            with contextlib.suppress(sqlite3.Error):
                self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('clean', 'yes')")
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()


def _boot() -> str:
    """Return what names this start of the machine; empty where the system does not tell."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _check_version(version: str) -> None:
    if version != str(_VERSION):
        raise sqlite3.DatabaseError(f"malformed: it has the version {version}, expected {_VERSION}")


def with_positions(records: Iterable[Record], last: int) -> list[Record]:
    """Give events that were encoded without a position the next ones."""
    return [
        replace(record, position=position, body=b'%s,"position":"%d"}' % (record.body[:-1], position))
        for position, record in enumerate(records, last + 1)
    ]

"""The tables of the event store, and how a store of an earlier layout becomes one of this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamcls import StreamclsError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["APPLICATION_ID", "MIGRATIONS", "check", "migrate"]

APPLICATION_ID: Final = 0x53434C53
"""``SCLS``: marks a database as an event store (``PRAGMA application_id``)."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # One start of a daemon. Numbers rise in the order in which the starts became known; beat_s: least time between heartbeats.
        """
        CREATE TABLE epochs (
            number INTEGER PRIMARY KEY,
            epoch TEXT NOT NULL UNIQUE,
            source TEXT NOT NULL,
            first REAL NOT NULL,
            last REAL NOT NULL,
            heartbeat REAL,
            beat_s REAL
        )
        """,
        # A segment or an alert, as its newest event tells it.
        """
        CREATE TABLE findings (
            id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            thing TEXT NOT NULL,
            stream TEXT NOT NULL,
            policy TEXT NOT NULL,
            model TEXT NOT NULL,
            model_version TEXT NOT NULL,
            label TEXT NOT NULL,
            phase TEXT NOT NULL,
            began REAL NOT NULL,
            ended REAL NOT NULL,
            duration_s REAL NOT NULL,
            clock INTEGER NOT NULL,
            first_sample INTEGER,
            end_sample INTEGER,
            sample_rate INTEGER,
            mean REAL,
            peak REAL,
            severity TEXT,
            action TEXT,
            cause TEXT,
            reason TEXT,
            epoch INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            more TEXT NOT NULL
        )
        """,
        "CREATE INDEX findings_by_time ON findings (began, thing)",
        "CREATE INDEX findings_by_stream ON findings (thing, stream, began)",
        "CREATE INDEX findings_by_length ON findings (thing, ended - began)",
        "CREATE INDEX findings_open ON findings (thing, stream) WHERE phase <> 'closed'",
        """
        CREATE TABLE statuses (
            stream TEXT NOT NULL,
            epoch INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            time REAL NOT NULL,
            state TEXT NOT NULL,
            reason TEXT NOT NULL,
            lost_s REAL,
            more TEXT NOT NULL,
            PRIMARY KEY (stream, epoch, sequence)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX statuses_by_time ON statuses (time)",
        # Events that have no table of their own, and with raw = true all of them. alert_id: the alert that it is about.
        """
        CREATE TABLE events (
            epoch INTEGER NOT NULL,
            kind TEXT NOT NULL,
            stream TEXT NOT NULL,
            sequence INTEGER NOT NULL,
            time REAL NOT NULL,
            alert_id TEXT,
            body TEXT NOT NULL,
            UNIQUE (kind, stream, epoch, sequence)
        )
        """,
        "CREATE INDEX events_by_time ON events (time)",
        "CREATE INDEX events_by_alert ON events (alert_id) WHERE alert_id IS NOT NULL",
        """
        CREATE VIEW segments AS
        SELECT stream, datetime(began, 'unixepoch', 'localtime') AS began_at, datetime(ended, 'unixepoch', 'localtime') AS ended_at,
               label, round(duration_s, 1) AS duration_s, mean, phase, cause, reason, model, id
        FROM findings WHERE thing = 'segment'
        """,
        """
        CREATE VIEW alerts AS
        SELECT stream, datetime(began, 'unixepoch', 'localtime') AS began_at, datetime(ended, 'unixepoch', 'localtime') AS ended_at,
               label, severity, action, round(duration_s, 1) AS duration_s, peak, phase, reason, model, id
        FROM findings WHERE thing = 'alert'
        """,
    ),
)
"""Statements that bring a store from version 0 (empty) to 1, from 1 to 2, and so on. What has been released is never changed."""


def check(connection: sqlite3.Connection, path: Path, newest: int = len(MIGRATIONS)) -> int:
    """Return the version of a store, 0 where the database is empty.

    Raises
    ------
    StreamclsError
        It is no event store, or one of a later version.
    """
    application, version = (_pragma(connection, name) for name in ("application_id", "user_version"))
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION_ID and (tables or application or version):
        raise StreamclsError(f"{path} is a database of something else; name another file")
    if version > newest:
        raise StreamclsError(
            f"{path} has version {version} of the event store, this streamcls knows up to {newest}; update streamcls, or name another file"
        )
    return version


def migrate(connection: sqlite3.Connection, path: Path, steps: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring a store to the newest version, all or nothing; ``connection`` is in autocommit mode. Raises as ``check`` does."""
    if check(connection, path, len(steps)) == len(steps):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = check(connection, path, len(steps))  # somebody else may have been faster
        for statements in steps[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return int(value)

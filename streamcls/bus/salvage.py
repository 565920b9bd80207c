"""What can still be read of a damaged journal: what was open, where streams are to go on, and how far positions had come."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.store import Record, checksum, readable
from streamcls.bus.wire import TYPE_PREFIX, topic_of
from streamcls.types import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Salvage", "salvage", "set_aside"]

_KEPT: Final = 5
"""Damaged files that are kept to be looked at; the oldest go."""
_PARTS: Final = ("-wal", "-shm", "")


@dataclass(slots=True)
class Salvage:
    """What was found, as far as it is sound.

    Attributes
    ----------
    position
        The greatest position met.
    """

    position: int = 0
    findings: list[Record] = field(default_factory=list)
    streams: list[Record] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)


def set_aside(path: Path, now: float) -> Path:
    """Rename a damaged file with its parts, so that it can be looked at, and return its new path; of older ones the newest are kept."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    target, number = path.with_name(f"{path.name}.corrupt-{stamp}"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
    for part in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + part).rename(target.with_name(target.name + part))
    older = sorted(
        (file for file in path.parent.glob(f"{path.name}.corrupt-*") if not file.name.endswith(_PARTS[:2])),
        key=lambda file: file.stat().st_mtime,
    )
    for file in older[:-_KEPT]:
        for part in _PARTS:
            file.with_name(file.name + part).unlink(missing_ok=True)
    return target


def salvage(path: Path) -> Salvage:
    """Read what can be read; never raises for what is damaged, and changes nothing."""
    found = Salvage()
    try:
        connection = readable(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True))
    except sqlite3.Error:
        return found
    with contextlib.closing(connection):
        for (position,) in _rows(connection, "SELECT max(position) FROM events"):
            found.position = max(found.position, position) if isinstance(position, int) else found.position
        for (value,) in _rows(connection, "SELECT value FROM meta WHERE name = 'position'"):
            found.position = max(found.position, int(value)) if str(value).isdigit() else found.position
        for row in _rows(connection, "SELECT position, kind, stream, crc, body FROM open"):
            found.findings += _record(*row)
        for row in _rows(connection, "SELECT position, kind, stream, crc, body FROM streams WHERE NOT over"):
            found.streams += _record(*row)
        for stream, source, crc, state in _rows(connection, "SELECT stream, source, crc, state FROM checkpoints"):
            if isinstance(state, str) and checksum(source, stream, state.encode()) == crc:
                found.checkpoints.append(Checkpoint(stream, source, json.loads(state)))
    found.position = max([found.position, *(record.position for record in (*found.findings, *found.streams))])
    return found


def _rows(connection: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Yield rows up to where the damage begins."""
    with contextlib.suppress(sqlite3.Error, ValueError, OverflowError):
        yield from connection.execute(query)


def _record(position: object, kind: object, stream: object, crc: object, body: object) -> list[Record]:
    if not isinstance(position, int) or not isinstance(body, bytes) or checksum(kind, stream, body) != crc:
        return []
    envelope = json.loads(body)
    data, what, subject = envelope["data"], envelope["type"].removeprefix(TYPE_PREFIX), envelope["subject"]
    finding = (data["id"], data["phase"]) if "phase" in data else None
    over = False if finding is None else None
    topic, sequence = topic_of(what, subject), int(envelope["sequence"])
    return [Record(position, envelope["epoch"], topic, sequence, what, subject, 0.0, body, finding, over)]

"""Reading the journal, beside the one who writes it."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from streamcls.bus.store import BOUNDS, BUSY_S, checksum, readable
from streamcls.types import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["JournalReader", "Page"]

_MOST_SCANNED: Final = 20_000
"""Rows that one request looks at; where filters leave few of them, the reader asks again."""
_LARGEST_PAGE: Final = 1 << 20
"""Bytes of events in a page, unless a single one is larger."""


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of the journal.

    Attributes
    ----------
    events
        Position (or sequence, where a single topic was asked for) and envelope.
    next
        What to ask on from.
    first, position
        First and last position kept; ``first`` is greater than ``position`` where nothing is.
    more
        Whether there is more now.
    lost
        Positions after the one asked from that are no longer kept, or cannot be read.
    """

    events: list[tuple[int, bytes]]
    next: int
    first: int
    position: int
    more: bool = False
    lost: int = 0


class JournalReader:
    """A reading connection. Used by one thread, in any process; it sees what is committed.

    Every method raises ``sqlite3.Error`` where the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.damaged = 0
        """Events met that no longer are what was written."""
        self._connection = readable(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S, check_same_thread=False)
        )
        self._connection.isolation_level = None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @property
    def id(self) -> str:
        """The journal's identity."""
        return self._meta("id")

    def bounds(self) -> tuple[int, int]:
        """Return the first and the last position kept; the first is greater where nothing is kept."""
        first, last = self._connection.execute(BOUNDS).fetchone()
        kept = max(int(last or 0), int(self._meta("position") or 0))
        return (int(first) if first is not None else kept + 1), kept

    def since(
        self,
        position: int,
        *,
        kinds: Sequence[str] = (),
        streams: Sequence[str] = (),
        limit: int = 500,
        until: int | None = None,
    ) -> Page:
        """Return the events after a position, oldest first, as far as they fit into a page.

        Parameters
        ----------
        kinds
            Beginnings of kinds; empty: all.
        streams
            Names or shell patterns; empty: all.
        until
            Last position wanted.
        """
        with self._snapshot():
            first, last = self.bounds()
            end = last if until is None else min(until, last)
            start = max(position, 0)
            events: list[tuple[int, bytes]] = []
            lost = max(0, min(first - 1, end) - start)
            expected, size, reached, more = max(start, first - 1) + 1, 0, start, False
            rows = self._connection.execute(
                "SELECT position, kind, stream, crc, body FROM events WHERE position > ? AND position <= ?"
                " ORDER BY position LIMIT ?",
                (start, end, _MOST_SCANNED),
            )
            scanned = 0
            for place, kind, stream, crc, body in rows:
                sound = checksum(kind, stream, body) == crc
                fits = not events or not sound or size + len(body) <= _LARGEST_PAGE
                if len(events) >= limit or not fits:
                    more = True
                    break
                scanned += 1
                lost += place - expected
                expected, reached = place + 1, place
                if not self._sound(kind, stream, body, crc):
                    lost += 1
                elif _wanted(kind, stream, kinds, streams):
                    events.append((place, bytes(body)))
                    size += len(body)
            more = more or scanned == _MOST_SCANNED
            if not more:
                lost += max(0, end - expected + 1)
                reached = max(end, start)
        return Page(events, reached, first, last, more=more, lost=lost)

    def topic(self, topic: str, epoch: str, after: int, until: int | None = None, limit: int = 500) -> Page:
        """Return the events of one topic and epoch whose sequence lies in (after, until]."""
        with self._snapshot():
            first, last = self.bounds()
            rows = self._connection.execute(
                "SELECT sequence, kind, stream, crc, body FROM events WHERE topic = ? AND epoch = ? AND sequence > ? AND sequence <= ?"
                " ORDER BY sequence LIMIT ?",
                (topic, epoch, after, (1 << 62) if until is None else until, limit + 1),
            ).fetchall()
        events: list[tuple[int, bytes]] = []
        size, reached, lost = 0, after, 0
        for sequence, kind, stream, crc, body in rows:
            sound = checksum(kind, stream, body) == crc
            if len(events) >= limit or (events and sound and size + len(body) > _LARGEST_PAGE):
                return Page(events, reached, first, last, more=True, lost=lost)
            lost += sequence - reached - 1
            reached = sequence
            if not self._sound(kind, stream, body, crc):
                lost += 1
            else:
                events.append((sequence, bytes(body)))
                size += len(body)
        return Page(events, reached, first, last, more=False, lost=lost)

    def snapshot(self, after: int, *, kinds: Sequence[str] = (), streams: Sequence[str] = (), limit: int = 500) -> Page:
        """Return the last event of all that is open, and each stream's last state, by position, from after a position on."""
        with self._snapshot():
            first, last = self.bounds()
            rows = self._connection.execute(
                "SELECT position, kind, stream, crc, body FROM open WHERE position > :after"
                " UNION ALL SELECT position, kind, stream, crc, body FROM streams WHERE position > :after AND NOT over"
                " ORDER BY position",
                {"after": after},
            )
            events: list[tuple[int, bytes]] = []
            size, reached = 0, after
            for place, kind, stream, crc, body in rows:
                if not self._sound(kind, stream, body, crc) or not _wanted(kind, stream, kinds, streams):
                    continue
                if len(events) >= limit or (events and size + len(body) > _LARGEST_PAGE):
                    return Page(events, reached, first, last, more=True)
                events.append((place, bytes(body)))
                size += len(body)
                reached = place
        return Page(events, reached, first, last, more=False)

    def open_findings(self) -> list[tuple[int, bytes]]:
        """Return position and last event of each segment and alert that is open."""
        rows = self._connection.execute("SELECT position, kind, stream, crc, body FROM open ORDER BY position")
        return [(place, body) for place, kind, stream, crc, body in rows if self._sound(kind, stream, body, crc)]

    def stream_states(self) -> list[tuple[int, bytes]]:
        """Return position and last ``stream.status`` of each stream of which more was to come."""
        rows = self._connection.execute(
            "SELECT position, kind, stream, crc, body FROM streams WHERE NOT over ORDER BY position"
        )
        return [(place, body) for place, kind, stream, crc, body in rows if self._sound(kind, stream, body, crc)]

    def checkpoints(self) -> dict[str, Checkpoint]:
        """Return the checkpoint of each stream; one that is damaged is left out."""
        rows = self._connection.execute("SELECT stream, source, crc, state FROM checkpoints")
        return {
            stream: Checkpoint(stream, source, json.loads(state))
            for stream, source, crc, state in rows
            if self._sound(source, stream, state.encode() if isinstance(state, str) else state, crc)
        }

    def _sound(self, kind: object, stream: object, body: object, crc: object) -> bool:
        """Whether a row is what was written; counts what is not."""
        sound = checksum(kind, stream, body) == crc
        self.damaged += not sound
        return sound

    def _meta(self, name: str) -> str:
        row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        """See one state of the file throughout, and hold it no longer."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


def _wanted(kind: str, stream: str, kinds: Sequence[str], streams: Sequence[str]) -> bool:
    if kinds and not kind.startswith(tuple(kinds)):
        return False
    return not streams or any(fnmatch.fnmatchcase(stream, pattern) for pattern in streams)

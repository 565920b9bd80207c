"""What a subscriber is to get next: its connection, its place in the journal, and the events that wait for it."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus import Cursor, EventClient
from streamcls.bus.client import CursorUnwritableError
from streamcls.errors import BusError
from streamcls.runtime.complaints import Complaints

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streamcls.bus import Envelope
    from streamcls.bus.keys import ClientKeys

__all__ = ["Feed"]

_log = logging.getLogger("streamcls.subscriber")

_BATCH: Final = 256
"""Events that are received before the first of them is handed over, where no place is kept; else one, since the place follows what was
received last."""
_WAITING: Final = 100_000
"""Messages that wait here for a subscriber that is busy, beside those that wait at the publisher …"""
_WAITING_DURABLE: Final = 10_000
"""… and where what is dropped beyond them comes out of the journal."""
_COMMIT_S: Final = 1.0
"""Seconds between two times that the place in the journal is saved: what a crash makes come again."""


class Feed:
    """Receives for one subscriber. Used by one thread; the figures may be read by any.

    Parameters
    ----------
    cursors
        Folder of its durable place in the journal; None: it begins with what is published now.
    """

    def __init__(
        self,
        name: str,
        endpoint: str,
        context: Any,
        *,
        kinds: Sequence[str] = (),
        streams: Sequence[str] = (),
        cursors: Path | None = None,
        curve: ClientKeys | None = None,
    ) -> None:
        self.pending: deque[Envelope] = deque()
        self._name = name
        self._connection: dict[str, Any] = {
            "endpoint": endpoint,
            "kinds": kinds,
            "streams": streams,
            "context": context,
            "name": name,
            "curve": curve,
            "high_water_mark": _WAITING if cursors is None else _WAITING_DURABLE,
        }
        self._cursors = cursors
        self._batch = _BATCH if cursors is None else 1
        self._cursor: Cursor | None = None
        self._client: EventClient | None = None
        self._missed = 0
        self._next_commit = 0.0
        self._complaints = Complaints(_log.error)

    @property
    def durable(self) -> bool:
        """Whether what was not handled comes again on another connection, also after a restart."""
        return self._cursors is not None and (self._client is None or self._cursor is not None)

    @property
    def connected(self) -> bool:
        """Whether it receives."""
        return self._client is not None

    @property
    def missed(self) -> int:
        """Events that were lost on the way."""
        client = self._client
        return self._missed + (client.missed if client is not None else 0)

    @property
    def position(self) -> int | None:
        """How far in the journal all is handled; None where that is not known."""
        cursor = self._cursor
        return None if cursor is None else cursor.position

    def open(self) -> None:
        """Connect; raises BusError where the place in the journal cannot be kept."""
        if self._client is not None:
            return
        cursor = None
        if self._cursors is not None:
            # Saved from here only, so that a full disk is not taken for the end of the bus.
            cursor = Cursor(self._cursors, self._name, every_s=math.inf, every_events=sys.maxsize)
        client = EventClient(**self._connection, cursor=cursor, begin="now" if cursor is None else "snapshot")
        try:
            client.connect()
        except CursorUnwritableError as error:
            # Whoever is paged at night is paged all the same.
            _log.error(
                "subscriber %s goes on without its place in the journal until the next start: %s", self._name, error
            )
            cursor, client = None, EventClient(**self._connection, begin="now")
            client.connect()
        self._cursor, self._client = cursor, client

    def close(self) -> None:
        """Save the place and disconnect; what waits is forgotten, and comes again where the place is durable."""
        client = self._client
        if client is None:
            return
        self.save()
        self._missed, self._client = self.missed, None
        self.pending.clear()
        try:
            client.close()
        except BusError as error:
            self._complaints.complain(f"subscriber {self._name}: {error}")

    def synchronise(self, timeout_s: float) -> Iterator[None]:
        """Yield, time and again while ``pending`` grows, until all that was published before the call has arrived; raises BusError."""
        if self._client is None:
            return
        for event in self._client.synchronise(timeout_s):
            self.pending.append(event)
            if len(self.pending) >= self._batch:
                yield

    def receive(self, timeout_s: float) -> None:
        """Wait for the next events so long; raises BusError where nothing can come any more."""
        if self._client is None:
            return
        event = self._client.receive(timeout_s)
        while event is not None:
            self.pending.append(event)
            event = self._client.receive(0.0) if len(self.pending) < self._batch else None
        if not self.pending and time.monotonic() >= self._next_commit:
            self.save()

    def batch(self) -> list[Envelope]:
        """Return the next events that wait."""
        return list(self.pending)

    def done(self, count: int) -> None:
        """Note that so many of those that wait are handled."""
        for _ in range(count):
            self.pending.popleft()
        if not self.pending and time.monotonic() >= self._next_commit:
            self.save()

    def save(self) -> None:
        """Save the place, where nothing waits; a failure is said and does not end anything."""
        if self._client is None or self._cursor is None or self.pending:
            return
        self._next_commit = time.monotonic() + _COMMIT_S
        try:
            self._client.commit()
        except BusError as error:
            self._complaints.complain(f"subscriber {self._name}: {error}; after a restart some events come again")
        else:
            self._complaints.recovered(f"subscriber {self._name}: its place in the journal is saved again")

"""Numbers: the epoch, each topic's sequence, and the place in the journal that an event is given."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import threading
import time
from dataclasses import dataclass
from string import hexdigits
from typing import TYPE_CHECKING, Final

from streamcls.bus.wire import encode, topic_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamcls.bus.journal import Journal
    from streamcls.bus.store import Record
    from streamcls.types import Event

__all__ = ["Numbered", "Numbering", "new_epoch"]

_log = logging.getLogger("streamcls.bus")

_HEARTBEAT: Final = "daemon.heartbeat"
_POSITIONS: Final = "positions"
_STAMP: Final = 14
"""Hexadecimal digits of an epoch's time."""
_UNWRITABLE: Final = (TypeError, ValueError, OverflowError, RecursionError, OSError)
"""What an event can raise while it is written: no JSON, no text, too large, nested too deeply, a time beyond all calendars."""


def new_epoch() -> str:
    """Return a name for this start of a publisher: the time in hexadecimal microseconds, so that epochs sort, and chance."""
    return f"{time.time_ns() // 1000:0{_STAMP}x}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event with its number, its frames, and what the journal is to keep of it.

    Attributes
    ----------
    epoch
        In which ``sequence`` counts.
    now
        Unix time in seconds at which it was numbered.
    record
        None where the journal keeps none of its kind.
    """

    event: Event
    epoch: str
    sequence: int
    now: float
    frames: list[bytes]
    record: Record | None


class Numbering:
    """Numbers events, in the bus thread; what it has come to may be asked by any thread.

    After ``most_topics`` topics (streams that come and go under ever new names) it begins anew in a new epoch, so that memory and
    heartbeats stay bounded.
    """

    def __init__(self, source: str, *, most_topics: int, journal: Journal | None, clock: Callable[[], float]) -> None:
        self.epoch = new_epoch()
        self.published = 0
        self._source = source
        self._most_topics = most_topics
        self._journal = journal
        self._clock = clock
        self._lock = threading.Lock()
        self._positions: dict[str, int] = {}

    def follow(self, former: str) -> None:
        """Begin in an epoch that sorts after a former one, also where the clock was set back since."""
        stamp = former.partition("-")[0]
        if self.epoch <= former and len(stamp) == _STAMP and set(stamp) <= set(hexdigits):
            self.epoch = f"{int(stamp, 16) + 1:0{_STAMP}x}-{self.epoch.partition('-')[2]}"

    def positions(self) -> dict[str, int]:
        """Return the sequence of each topic's last event."""
        with self._lock:
            return dict(self._positions)

    def number(self, event: Event) -> Numbered | None:
        """Give an event its number; None where it cannot be written."""
        topic = topic_of(event.kind, event.stream)
        if len(self._positions) >= self._most_topics and topic not in self._positions:
            self._begin_anew()
        if event.kind == _HEARTBEAT and _POSITIONS in event.data:
            # As they are in the epoch and at the place at which it is sent: all that it counts goes out before it.
            event = dataclasses.replace(event, data={**event.data, _POSITIONS: dict(self._positions)})
        sequence = self._positions.get(topic, 0) + 1
        journal = self._journal if self._journal is not None and self._journal.keeps(event.kind) else None
        position = journal.next_position if journal is not None else None
        now = self._clock()
        try:
            frames = encode(event, source=self._source, epoch=self.epoch, sequence=sequence, now=now, position=position)
        except _UNWRITABLE as error:
            # Only a plugin's mistake leads here; the event is named, its number is not used up, the others go on.
            _log.error(
                "event %s of %s cannot be written as JSON: %s",
                event.kind,
                event.stream.encode("utf-8", "backslashreplace").decode(),
                error,
            )
            return None
        with self._lock:
            self._positions[topic] = sequence
            self.published += 1
        record = None
        if journal is not None:
            record = journal.record(event, epoch=self.epoch, topic=topic, sequence=sequence, body=frames[1])
        return Numbered(event, self.epoch, sequence, now, frames, record)

    def without_position(self, one: Numbered, journal: Journal) -> Numbered:
        """Encode an event again that the journal could not keep."""
        event = one.event
        frames = encode(event, source=self._source, epoch=one.epoch, sequence=one.sequence, now=one.now)
        topic = topic_of(event.kind, event.stream)
        record = journal.record(event, epoch=one.epoch, topic=topic, sequence=one.sequence, body=frames[1])
        return dataclasses.replace(one, frames=frames, record=record)

    def _begin_anew(self) -> None:
        _log.warning("%d topics have been published; their numbering begins anew in a new epoch", len(self._positions))
        with self._lock:
            self._positions.clear()
            self.epoch = new_epoch()

"""What has been delivered of a journal, and what waits to be taken. Without sockets."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcls.bus.client.items import Item, Loss, LossReason, Received

if TYPE_CHECKING:
    from streamcls.bus.wire import Envelope

__all__ = ["Entry", "Place", "Progress"]

_log = logging.getLogger("streamcls.bus.client")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a journal.

    Attributes
    ----------
    position
        Everything up to there is done with.
    beyond
        Positions after it that are done with as well.
    """

    source: str
    journal: str
    position: int
    beyond: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Entry:
    """Something for the application, and what is done with once it has been handled.

    Attributes
    ----------
    item
        None where nothing is for the application.
    position
        The event's own position in the journal; None where it has none.
    complete
        Everything up to there is done with then; None where there is no journal.
    place
        A new place from which to count; else None.
    """

    item: Item | None
    position: int | None = None
    complete: int | None = None
    place: Place | None = None


class Progress:
    """Knows which positions of the journal are done with, and keeps in order what the application has to take.

    Attributes
    ----------
    complete
        Everything up to this position was delivered, or reported as lost, or not asked for; None without a journal.
    """

    def __init__(self) -> None:
        self.complete: int | None = None
        self._seen: set[int] = set()
        self._entries: deque[Entry] = deque()
        self.missed = 0
        self.losses = 0
        self.replayed = 0

    def __len__(self) -> int:
        return len(self._entries)

    def pop(self) -> Entry | None:
        """Return what comes next."""
        return self._entries.popleft() if self._entries else None

    @property
    def beyond(self) -> int:
        """Number of events delivered while it was not known whether one before them is missing."""
        return len(self._seen)

    def begin(self, place: Place) -> None:
        """Count from a place in a journal."""
        self.complete = place.position
        self._seen = set(place.beyond)
        self._entries.append(Entry(None, None, place.position, place))

    def adopt(self, source: str, journal: str) -> None:
        """Go on in another journal whose positions go on from the former one's."""
        if self.complete is not None:
            self.begin(Place(source, journal, self.complete, frozenset(self._seen)))

    def end(self) -> None:
        """Count no longer: there is no journal."""
        self.complete = None
        self._seen.clear()

    def is_new(self, position: int) -> bool:
        """Whether the event at a position has not been delivered."""
        return self.complete is None or (position > self.complete and position not in self._seen)

    def deliver(self, received: Received | None, position: int | None, *, complete: bool) -> None:
        """Put an event behind the others.

        Parameters
        ----------
        received
            None where it was not asked for.
        complete
            Whether everything before it is done with.
        """
        if self.complete is None or position is None:
            position = None
        elif complete:
            self.complete = position
            self._seen.discard(position)
        elif received is not None:
            self._seen.add(position)
        if received is not None:
            self.replayed += received.replayed
            self._entries.append(Entry(received, position, self.complete))
        elif complete and position is not None:
            self._note()

    def deliver_snapshot(self, topic: str, envelope: Envelope) -> None:
        """Put an event that tells of what is open behind the others; it moves nothing."""
        self._entries.append(Entry(Received(topic, envelope, replayed=True, snapshot=True), None, self.complete))

    def confirm(self, position: int) -> None:
        """Learn that everything up to a position is done with."""
        if self.complete is None or position <= self.complete:
            return
        self.complete = position
        self._seen = {other for other in self._seen if other > position}
        self._note()

    def _note(self) -> None:
        """Have the cursor told, in its turn, of what is complete."""
        if self._entries and self._entries[-1].item is None and self._entries[-1].place is None:
            self._entries.pop()
        self._entries.append(Entry(None, None, self.complete))

    def lose(self, loss: Loss) -> None:
        """Put a loss behind the events."""
        _log.warning("%s", loss)
        self.missed += loss.count or 0
        self.losses += 1
        self._entries.append(Entry(loss, None, self.complete))

    def lose_positions(self, first: int, count: int, *, trimmed: bool) -> None:
        """Report positions that the journal does not have."""
        if count > 0:
            reason = LossReason.TRIMMED if trimmed else LossReason.NOT_IN_JOURNAL
            last = first + count - 1 if trimmed else None
            self.lose(Loss(reason, None, count, "", first if trimmed else None, last))

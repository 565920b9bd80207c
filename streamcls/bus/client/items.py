"""What a client delivers: events, and what was lost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from streamcls.bus.wire import Envelope

__all__ = ["Begin", "Item", "Loss", "LossReason", "Received"]

Begin: TypeAlias = Literal["now", "snapshot", "first"]
"""Where a client without a saved position begins: with what is published from now on; with what is open now, and then that;
with the first event that the journal keeps."""


class LossReason(StrEnum):
    """Why events will never be delivered."""

    NOT_JOURNALED = "not journaled"
    """They are of a kind that the daemon's journal does not keep, such as windows."""
    NO_REPLAY = "no replay"
    """The daemon has no journal, or nobody answers for it."""
    TRIMMED = "older than the journal"
    """The journal has dropped them, being bounded. Counted are the places in the journal, of any kind: at most so many are lost."""
    NOT_IN_JOURNAL = "not in the journal"
    """They were published, and the journal does not have them, because it failed at that time."""
    JOURNAL_CHANGED = "another journal"
    """The journal has been replaced since the last event; what the old one kept cannot be asked for any more."""
    WENT_BACK = "the journal went back"
    """The journal has fewer events than were delivered of it, as after a power cut; some of those after may be lost."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Events that were asked for and will never be delivered.

    Attributes
    ----------
    topic
        Theirs; None where it is not known.
    count
        How many; None where it is not known.
    epoch
        The publisher's start that numbered them; empty where they are counted by position.
    first, last
        Their sequences, or with ``epoch`` empty their positions in the journal; None where not known.
    """

    reason: LossReason
    topic: str | None = None
    count: int | None = None
    epoch: str = ""
    first: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        many = "an unknown number of events" if self.count is None else f"{self.count} events"
        if self.reason is LossReason.TRIMMED:
            many = f"up to {many}"
        return f"{many}{f' of {self.topic}' if self.topic else ''} lost: {self.reason.value}"


@dataclass(frozen=True, slots=True)
class Received:
    """An event that arrived.

    Attributes
    ----------
    topic
        ``kind/stream``.
    envelope
        Its decoded JSON.
    replayed
        Whether it came out of the journal and not as it was published.
    snapshot
        Whether it tells of what had been open when the client came, and was published before.
    """

    topic: str
    envelope: Envelope
    replayed: bool = False
    snapshot: bool = False


Item: TypeAlias = Received | Loss

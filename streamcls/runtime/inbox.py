"""What waits for a worker: a stream's ring of samples, and the words of its source in their place between them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import TYPE_CHECKING, Final, TypeAlias

from streamcls.audio import Run, SampleRing
from streamcls.types import Chunk, EndOfStream, StreamItem, StreamStatus

if TYPE_CHECKING:
    from streamcls.runtime.models import StreamPlan

__all__ = ["Departure", "Inbox", "Mark", "Piece", "Replan"]


@dataclass(frozen=True, slots=True, eq=False)
class Replan:
    """The daemon's word that from here on something else is to be done with the stream."""

    plan: StreamPlan
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Departure:
    """The daemon's word that the stream is over here, since its source goes; ``done`` is set once it has been heeded."""

    reason: str
    done: Flag = field(default_factory=Flag)


Mark: TypeAlias = StreamStatus | EndOfStream | Replan | Departure
Piece: TypeAlias = Run | Mark

_MOST_PARTS: Final = 1_000


class Inbox:
    """Bounded by ``buffer_s`` seconds of audio and 1000 changes of format or state.

    Not locked: its worker sees to that. Who only looks (``waiting_s``, truth) may do so from any thread.
    """

    def __init__(self, buffer_s: float) -> None:
        self._buffer_s = buffer_s
        self._parts: deque[SampleRing | Mark] = deque()

    def __bool__(self) -> bool:
        return any(not isinstance(part, SampleRing) or len(part) for part in list(self._parts))

    def offer(self, item: StreamItem) -> bool:
        """Take an item, or return False where there is no room for it now."""
        last = self._parts[-1] if self._parts else None
        if not isinstance(item, Chunk):
            if len(self._parts) >= _MOST_PARTS:
                return False
            self._parts.append(item)
            return True
        waiting = self.waiting_s
        if waiting and waiting + len(item.samples) / item.sample_rate > self._buffer_s:
            return False
        channels = item.samples.shape[1]
        if (
            isinstance(last, SampleRing)
            and (last.channels, last.sample_rate) == (channels, item.sample_rate)
            and len(item.samples) <= last.room
        ):
            return last.write(item)
        if len(self._parts) >= _MOST_PARTS:
            return False
        ring = SampleRing(max(len(item.samples), round(self._buffer_s * item.sample_rate)), channels, item.sample_rate)
        self._parts.append(ring)
        return ring.write(item)

    def put(self, mark: Mark) -> None:
        """Take a word of the daemon's, for which there is always room; of changes of plan with nothing between them the last counts."""
        if self._parts and isinstance(mark, Replan) and isinstance(self._parts[-1], Replan):
            self._parts.pop()
        self._parts.append(mark)

    def discard(self) -> float:
        """Throw the audio away that waits, and return how much it was, in seconds; words stay."""
        lost_s = self.waiting_s
        self._parts = deque(part for part in self._parts if not isinstance(part, SampleRing))
        return lost_s

    def take(self, limit_s: float) -> Piece | None:
        """Take what is next: at most ``limit_s`` seconds of contiguous audio, or a mark; None where nothing waits."""
        while self._parts:
            part = self._parts[0]
            if not isinstance(part, SampleRing):
                self._parts.popleft()
                return part
            run = part.read(max(1, round(limit_s * part.sample_rate)))
            if run is not None:
                return run
            if len(self._parts) == 1:
                return None
            self._parts.popleft()
        return None

    @property
    def waiting_s(self) -> float:
        """Seconds of audio that wait."""
        return sum(len(part) / part.sample_rate for part in list(self._parts) if isinstance(part, SampleRing))

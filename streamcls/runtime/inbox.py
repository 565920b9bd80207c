"""What waits for a worker: a stream's ring of samples, and the words of its source in their place between them."""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

from streamcls.audio import Run, SampleRing
from streamcls.types import Chunk, EndOfStream, StreamItem, StreamStatus

__all__ = ["Inbox", "Piece"]

Piece: TypeAlias = Run | StreamStatus | EndOfStream

_MOST_PARTS: Final = 1_000


class Inbox:
    """Bounded by ``buffer_s`` seconds of audio and 1000 changes of format or state.

    Not locked: its worker sees to that. Who only looks (``waiting_s``, truth) may do so from any thread.
    """

    def __init__(self, buffer_s: float) -> None:
        self._buffer_s = buffer_s
        self._parts: deque[SampleRing | StreamStatus | EndOfStream] = deque()

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

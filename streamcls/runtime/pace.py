"""How a worker fares: what overload is told from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamcls.runtime.slot import StreamSlot
    from streamcls.types import Chunk

__all__ = ["Pace", "PaceMeter", "StreamPace"]


@dataclass(frozen=True, slots=True)
class StreamPace:
    """One stream at a worker.

    Attributes
    ----------
    opened
        Order in which the worker took its streams on: a greater number came later.
    live
        Whether its audio is lost where there is no room; else its source waits.
    arrived_s
        Live audio offered so far, in seconds, including what was dropped.
    waiting_s
        Audio that waits for the worker, in seconds.
    shed
        Whether it is given up for now.
    """

    name: str
    priority: int
    opened: int
    live: bool
    arrived_s: float
    waiting_s: float
    shed: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """A worker at one moment; the sums only grow.

    Attributes
    ----------
    at
        Monotonic seconds.
    busy_s
        Seconds spent working so far.
    model_s
        Of these, seconds in models.
    live_arrived_s, live_taken_s
        Live audio offered so far, including what was dropped or shed, and live audio classified so far, in seconds.
    stretch
        Each how many-th window is classified.
    """

    at: float
    busy_s: float
    model_s: float
    live_arrived_s: float
    live_taken_s: float
    stretch: int
    streams: tuple[StreamPace, ...]

    @property
    def lag_s(self) -> float:
        """The most live audio that waits in one stream, in seconds."""
        return max((one.waiting_s for one in self.streams if one.live and not one.shed), default=0.0)


class PaceMeter:
    """Counts what comes to a worker, and what it does; the worker's lock guards it."""

    def __init__(self) -> None:
        self._busy_s = self._arrived_s = self._taken_s = 0.0

    def arrived(self, slot: StreamSlot, chunk: Chunk) -> None:
        """Count audio of a live stream, which is thrown away where the stream is shed."""
        audio_s = len(chunk.samples) / chunk.sample_rate
        slot.arrived_s += audio_s
        self._arrived_s += audio_s
        if slot.shed:
            slot.shed_s += audio_s

    def worked(self, slot: StreamSlot, audio_s: float, busy_s: float) -> None:
        """Count work that was done on a piece of a stream."""
        self._busy_s += busy_s
        self._taken_s += audio_s if slot.live else 0.0

    def pace(self, slots: Iterable[StreamSlot], model_s: float, stretch: int) -> Pace:
        """Say how things stand."""
        streams = tuple(
            StreamPace(s.name, s.plan.priority, s.opened, s.live, s.arrived_s, s.inbox.waiting_s, s.shed) for s in slots
        )
        return Pace(time.monotonic(), self._busy_s, model_s, self._arrived_s, self._taken_s, stretch, streams)

"""How a worker fares: what overload is told from."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamcls.runtime.pool import Classifiers
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
    model_share
        Share of a worker's time that its models take in real time where every window is classified, as far as they have shown.
    """

    name: str
    priority: int
    opened: int
    live: bool
    arrived_s: float
    waiting_s: float
    shed: bool
    model_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """A worker at one moment; the sums only grow.

    Attributes
    ----------
    at
        Monotonic seconds.
    busy_s
        Seconds so far in which it did not wait for something to do.
    model_s
        Of these, seconds in models.
    live_arrived_s, live_taken_s
        Live audio offered so far, including what was dropped or shed, and live audio classified so far, in seconds.
    taken_s
        All audio classified so far, but for the first piece of each stream, in seconds.
    begun_s
        Seconds of work on the first pieces of streams, which take longer than those that follow.
    stretch
        Each how many-th window is classified.
    """

    at: float
    busy_s: float
    model_s: float
    live_arrived_s: float
    live_taken_s: float
    taken_s: float
    begun_s: float
    stretch: int
    streams: tuple[StreamPace, ...]

    @property
    def lag_s(self) -> float:
        """The most live audio that waits in one stream, in seconds."""
        return max((one.waiting_s for one in self.streams if one.live and not one.shed), default=0.0)


class PaceMeter:
    """Counts what comes to a worker, and what it does; the worker's lock guards it."""

    def __init__(self) -> None:
        self._arrived_s = self._live_taken_s = self._taken_s = self._begun_s = 0.0
        self._idle_s = 0.0
        self._began: float | None = None
        self._idle_since: float | None = None

    def begin(self) -> None:
        """Note that the worker begins to work."""
        self._began = time.monotonic()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Note that the worker has nothing to do. All other time counts as work, also what it waits for a core or a lock."""
        since = self._idle_since = time.monotonic()
        try:
            yield
        finally:
            self._idle_since = None
            self._idle_s += time.monotonic() - since

    def arrived(self, slot: StreamSlot, chunk: Chunk) -> None:
        """Count audio of a live stream, which is thrown away where the stream is shed."""
        audio_s = len(chunk.samples) / chunk.sample_rate
        slot.arrived_s += audio_s
        self._arrived_s += audio_s
        if slot.shed:
            slot.shed_s += audio_s

    def worked(self, slot: StreamSlot, audio_s: float, begun_s: float) -> None:
        """Count a piece of audio that was worked on; where it was the stream's first, how long that took."""
        self._live_taken_s += audio_s if slot.live else 0.0
        self._taken_s += 0.0 if begun_s else audio_s
        self._begun_s += begun_s

    def pace(self, slots: Iterable[StreamSlot], classifiers: Classifiers, stretch: int) -> Pace:
        """Say how things stand."""
        now = time.monotonic()
        idle_s = self._idle_s + (0.0 if self._idle_since is None else now - self._idle_since)
        return Pace(
            now,
            0.0 if self._began is None else now - self._began - idle_s,
            classifiers.seconds,
            self._arrived_s,
            self._live_taken_s,
            self._taken_s,
            self._begun_s,
            stretch,
            tuple(
                StreamPace(
                    slot.name,
                    slot.plan.priority,
                    slot.opened,
                    slot.live,
                    slot.arrived_s,
                    slot.inbox.waiting_s,
                    slot.shed,
                    classifiers.share(model for model, _ in slot.plan.models),
                )
                for slot in slots
            ),
        )

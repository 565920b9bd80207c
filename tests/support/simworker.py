"""A worker of which only the arithmetic is left: streams bring audio, work on it takes time, what waits has bounded room."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from streamcls.runtime.pace import Pace, StreamPace

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Did", "SimStream", "SimWorker", "rank"]

PIECE_S = 0.5
"""As a real worker's."""
STEP_S = 0.05


class Did(NamedTuple):
    """A step of the controller's: when, which (``stretch``, ``shed`` or ``restore``), and with what."""

    at: float
    what: str
    value: int | tuple[str, ...]


@dataclass
class SimStream:
    """Brings chunks of ``chunk_s`` seconds, ``rate`` seconds of audio a second.

    Attributes
    ----------
    done_s
        Index up to which its audio has been worked on or lost.
    dropped_s
        Audio for which there was no room.
    """

    name: str
    priority: int = 0
    opened: int = 0
    rate: float = 1.0
    live: bool = True
    chunk_s: float = 0.1
    offered_s: float = 0.0
    arrived_s: float = 0.0
    waiting_s: float = 0.0
    done_s: float = 0.0
    begun: bool = False
    dropped_s: float = 0.0
    shed_s: float = 0.0
    shed: bool = False


@dataclass
class SimWorker:
    """Works on its streams in turn, at most half a second of audio at once.

    Attributes
    ----------
    front_s, window_s, first_s
        Seconds of work on a second of audio, on a window, and on the beginning of a stream.
    stride_s
        Distance of windows, on a grid that all streams have in common.
    """

    front_s: float = 0.01
    window_s: float = 0.0
    first_s: float = 0.0
    stride_s: float = 1.0
    buffer_s: float = 5.0
    name: str = "worker-0"
    now: float = 100.0
    streams: dict[str, SimStream] = field(default_factory=dict)
    did: list[Did] = field(default_factory=list)
    every: int = 1
    asleep: bool = False
    busy_s: float = 0.0
    model_s: float = 0.0
    arrived_s: float = 0.0
    live_taken_s: float = 0.0
    begun_s: float = 0.0
    taken_s: float = 0.0
    _free_at: float = 0.0
    _opened: int = 0
    _ready: deque[str] = field(default_factory=deque)
    _work: tuple[float, float, float, float, bool] | None = None

    def open(self, name: str, priority: int = 0, rate: float = 1.0, **more: float) -> SimStream:
        self._opened += 1
        stream = SimStream(name, priority, self._opened, rate, **more)  # type: ignore[arg-type]
        self.streams[name] = stream
        return stream

    def close(self, name: str) -> None:
        del self.streams[name]

    def run(self, seconds: float) -> None:
        """Let time go by."""
        end = self.now + seconds
        if not any(s.rate or s.waiting_s > 1e-9 for s in self.streams.values()) and self._work is None:
            self.now = self._free_at = end
        while self.now < end - 1e-9:
            self._arrive(min(STEP_S, end - self.now))
            self.now = min(end, self.now + STEP_S)
            if not self.asleep:
                self._advance()

    def stand_still(self, seconds: float) -> None:
        """Let time go by in which nobody here does anything, while the senders go on: what they send comes afterwards, all at once."""
        self.now += seconds
        self._free_at += seconds
        if self._work is not None:
            self._work = (self._work[0] + seconds, *self._work[1:])
        for stream in self.streams.values():
            self._offer(stream, stream.rate * seconds)

    def pace(self) -> Pace:
        known = self.window_s / self.stride_s if self.model_s else 0.0
        paces = [
            StreamPace(s.name, s.priority, s.opened, s.live, s.arrived_s, s.waiting_s, s.shed, known)
            for s in self.streams.values()
        ]
        return Pace(
            self.now,
            self.busy_s,
            self.model_s,
            self.arrived_s,
            self.live_taken_s,
            self.taken_s,
            self.begun_s,
            self.every,
            tuple(paces),
        )

    def stretch(self, every: int, reason: str) -> None:
        assert reason
        self.every = every
        self.did.append(Did(self.now, "stretch", every))

    def shed(self, names: Sequence[str], reason: str) -> None:
        assert reason
        for name in names:
            stream = self.streams[name]
            assert stream.live
            assert not stream.shed
            stream.shed, stream.shed_s, stream.waiting_s = True, stream.shed_s + stream.waiting_s, 0.0
        self.did.append(Did(self.now, "shed", tuple(names)))

    def restore(self, names: Sequence[str], reason: str) -> None:
        assert reason
        for name in names:
            assert self.streams[name].shed
            self.streams[name].shed = False
        self.did.append(Did(self.now, "restore", tuple(names)))

    @property
    def share(self) -> float:
        """What all that comes would take of its time, were every window classified."""
        rate = sum(stream.rate for stream in self.streams.values() if stream.live)
        return rate * (self.front_s + self.window_s / self.stride_s)

    def shed_now(self) -> list[str]:
        return [stream.name for stream in self.streams.values() if stream.shed]

    def lag_s(self) -> float:
        return self.pace().lag_s

    def _arrive(self, seconds: float) -> None:
        for stream in self.streams.values():
            stream.offered_s += stream.rate * seconds
            if not stream.live and stream.waiting_s + stream.chunk_s > self.buffer_s:
                stream.offered_s = stream.chunk_s  # its source waits
                continue
            while stream.offered_s >= stream.chunk_s:
                stream.offered_s -= stream.chunk_s
                self._offer(stream, stream.chunk_s)
                if not stream.live and stream.waiting_s + stream.chunk_s > self.buffer_s:
                    break

    def _offer(self, stream: SimStream, audio_s: float) -> None:
        room_s = self.buffer_s - stream.waiting_s
        stream.arrived_s += audio_s
        if stream.live:
            self.arrived_s += audio_s
        if stream.shed:
            stream.shed_s += audio_s
            stream.done_s += audio_s
            return
        lost_s = max(0.0, audio_s - room_s) if stream.live else 0.0
        stream.dropped_s += lost_s
        stream.waiting_s += audio_s - lost_s
        if stream.name not in self._ready:
            self._ready.append(stream.name)

    def _advance(self) -> None:
        """Do what is done by now; what is counted of a piece of work is counted at its end."""
        while True:
            if self._work is not None:
                if self._free_at > self.now:
                    return
                busy_s, model_s, begun_s, taken_s, live = self._work
                self.busy_s += busy_s
                self.model_s += model_s
                self.begun_s += begun_s
                self.taken_s += 0.0 if begun_s else taken_s
                self.live_taken_s += taken_s if live else 0.0
                self._work = None
            stream = self._next()
            if stream is None:
                self._free_at = self.now
                return
            audio_s = min(PIECE_S, stream.waiting_s)
            grid_s = self.stride_s * (self.every if stream.live else 1)
            windows = math.floor((stream.done_s + audio_s + 1e-9) / grid_s) - math.floor(
                (stream.done_s + 1e-9) / grid_s
            )
            stream.waiting_s -= audio_s
            stream.done_s += audio_s
            if stream.waiting_s > 1e-9:
                self._ready.append(stream.name)
            model_s = windows * self.window_s
            busy_s = audio_s * self.front_s + model_s + (0.0 if stream.begun else self.first_s)
            self._free_at = max(self._free_at, self.now - STEP_S) + busy_s
            self._work = (busy_s, model_s, 0.0 if stream.begun else busy_s, audio_s, stream.live)
            stream.begun = True

    def _next(self) -> SimStream | None:
        while self._ready:
            stream = self.streams.get(self._ready.popleft())
            if stream is not None and stream.waiting_s > 1e-9:
                return stream
        return None


def rank(stream: SimStream) -> tuple[int, int]:
    """Return what decides which stream is kept: the smaller one."""
    return -stream.priority, stream.opened

"""The order of one stream's chunks: late, doubled, overlapping, missing. Pure: time is an argument."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from streamcls import EndOfStream

if TYPE_CHECKING:
    from streamcls import Chunk
    from streamcls.types import StreamItem
    from streamcls_zmq.ingest import Arrival

__all__ = ["ORDER_COUNTERS", "StreamOrder"]

_MAX_WAITING: Final = 256
"""Chunks of one stream that wait for a missing one."""
_MAX_WAITING_BYTES: Final = 8 << 20
"""Memory of one stream's chunks that wait for a missing one."""
_RESTART_AFTER: Final = 3
"""Chunks in a row that do not continue the stream, with rising indices; then they are a new one."""
_HOLES: Final = 16
"""Latest holes of a stream that are remembered, to tell late chunks from a new beginning."""
_HOLE_S: Final = 10.0
"""How far behind a chunk for a hole is still taken for a late one, in seconds of audio."""
_OVERHEAD_BYTES: Final = 512
"""Memory of a waiting chunk beside its samples."""

ORDER_COUNTERS: Final = ("chunks", "late", "trimmed", "reordered", "gaps", "restarts", "ended")
"""Names of the counters that a :class:`StreamOrder` raises."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    arrival: Arrival
    since: float


class StreamOrder:
    """Brings one stream's chunks into the order of their index.

    What it returns is a run of chunks with rising, never overlapping indices, closed by at most one
    ``EndOfStream``; then, where the sender began anew, the next run. A hole in the indices is a gap.

    * A chunk that begins where the last one ended is passed on at once. What overlaps with samples passed on
      before is cut off; a chunk wholly before them is late: dropped and counted.
    * A chunk further ahead waits for what is missing: until more than ``reorder_s`` of later audio has come,
      ``reorder_s`` seconds have passed, or the bounds on number and memory are reached.
    * A chunk of another rate or channel count, or one that ends more than ``reorder_s`` before the expected
      index and fills none of the latest holes, is set aside, and dropped as late as soon as the stream
      continues. But three in a row that rise, an end of the stream among them, or ``reorder_s`` seconds without
      a continuation make them the beginning of a new stream. So a sender that was started again is heard from
      its first sample on, while a stray chunk, or a second sender under the same name, does not tear the stream
      apart.

    Parameters
    ----------
    stream
        Name of the stream.
    reorder_s
        Seconds, see above.
    counters
        The :data:`ORDER_COUNTERS`, shared with others, raised in place.
    """

    def __init__(self, stream: str, reorder_s: float, counters: dict[str, int]) -> None:
        self.over = False
        """Whether the stream has ended; nothing may be pushed any more."""
        self.waiting_bytes = 0
        """Memory of the chunks that are not yet passed on."""
        self._stream = stream
        self._reorder_s = reorder_s
        self._counters = counters
        self._format: tuple[int, int] | None = None
        self._expected = 0
        self._tolerance = 0
        self._waiting: list[_Waiting] = []
        self._waiting_samples = 0
        self._aside: list[_Waiting] = []
        self._holes: deque[tuple[int, int]] = deque(maxlen=_HOLES)

    @property
    def expected(self) -> int:
        """Index of the next sample."""
        return self._expected

    def push(self, arrival: Arrival, now: float) -> list[StreamItem]:
        """Take a message's audio at a time in seconds, and return what is in order now."""
        out: list[StreamItem] = []
        if not len(arrival.chunk.samples):
            self._take_end(arrival, now, out)
        elif self._format is None:
            self._begin(arrival, now, out)
        elif self._strange(arrival):
            self._set_aside(arrival, now, out)
        else:
            self._drop_aside()
            self._take(arrival, now, out)
        return self._settled(now, out)

    def expire(self, now: float) -> list[StreamItem]:
        """Stop waiting for what has been missing for ``reorder_s`` seconds."""
        out: list[StreamItem] = []
        while self._waiting and now - min(waiting.since for waiting in self._waiting) >= self._reorder_s:
            self._give_up(out)
        if self._aside and not self.over and now - self._aside[0].since >= self._reorder_s:
            self._restart(now, out)
        return self._settled(now, out)

    def release(self, now: float) -> list[StreamItem]:
        """Stop waiting at once: chunks that wait are passed on, and what was set aside is dropped."""
        out: list[StreamItem] = []
        self._drop_aside()
        while self._waiting:
            self._give_up(out)
        return self._settled(now, out)

    def finish(self, now: float) -> list[StreamItem]:
        """End the stream from outside."""
        out: list[StreamItem] = []
        if self._aside:
            self._restart(now, out)
        out += self.release(now)
        if not self.over:
            self._end(out)
        return out

    # Each of the following appends to ``out`` what it passes on.

    def _settled(self, now: float, out: list[StreamItem]) -> list[StreamItem]:
        if self.over and self._aside:
            self._begin_anew(now, out)
        return out

    def _begin(self, arrival: Arrival, now: float, out: list[StreamItem]) -> None:
        chunk = arrival.chunk
        self._format = _format(chunk)
        self._expected = chunk.first_sample
        self._tolerance = round(self._reorder_s * chunk.sample_rate)
        self._take(arrival, now, out)

    def _strange(self, arrival: Arrival) -> bool:
        chunk = arrival.chunk
        if _format(chunk) != self._format:
            return True
        behind = self._expected - chunk.end_sample
        if behind <= self._tolerance:
            return False
        fills = any(first < chunk.end_sample and chunk.first_sample < last for first, last in self._holes)
        return not fills or behind > _HOLE_S * chunk.sample_rate

    def _take(self, arrival: Arrival, now: float, out: list[StreamItem]) -> None:
        if arrival.chunk.first_sample <= self._expected:
            self._pass_on(arrival, out)
            self._drain(out)
            return
        place = bisect_right(self._waiting, arrival.chunk.first_sample, key=_first_sample)
        if place and _covers(self._waiting[place - 1].arrival, arrival):
            self._counters["late"] += 1
            return
        self._waiting.insert(place, _Waiting(arrival, now))
        self._waiting_samples += len(arrival.chunk.samples)
        self.waiting_bytes += _size(arrival)
        self._counters["reordered"] += 1
        while self._waiting and (
            self._waiting_samples > self._tolerance
            or len(self._waiting) > _MAX_WAITING
            or self.waiting_bytes > _MAX_WAITING_BYTES
        ):
            self._give_up(out)

    def _take_end(self, arrival: Arrival, now: float, out: list[StreamItem]) -> None:
        if self._format is None:
            self._counters["late"] += 1
            self.over = True
        elif self._aside and not self._continues(arrival.chunk):
            self._aside.append(_Waiting(arrival, now))
            self._restart(now, out)
        else:
            self._take(arrival, now, out)

    def _continues(self, chunk: Chunk) -> bool:
        return _format(chunk) == self._format and chunk.first_sample >= self._expected

    def _pass_on(self, arrival: Arrival, out: list[StreamItem]) -> None:
        chunk = arrival.chunk
        if not len(chunk.samples):
            pass
        elif chunk.end_sample <= self._expected:
            self._counters["late"] += 1
        else:
            if chunk.first_sample < self._expected:
                self._counters["trimmed"] += 1
                chunk = _trimmed(chunk, self._expected - chunk.first_sample)
            elif chunk.first_sample > self._expected:
                self._counters["gaps"] += 1
                self._holes.append((self._expected, chunk.first_sample))
            self._counters["chunks"] += 1
            self._expected = chunk.end_sample
            out.append(chunk)
        if arrival.end:
            self._end(out)

    def _drain(self, out: list[StreamItem]) -> None:
        while self._waiting and _first_sample(self._waiting[0]) <= self._expected:
            self._pass_on(self._next_waiting(), out)

    def _give_up(self, out: list[StreamItem]) -> None:
        self._pass_on(self._next_waiting(), out)
        self._drain(out)

    def _next_waiting(self) -> Arrival:
        arrival = self._waiting.pop(0).arrival
        self._waiting_samples -= len(arrival.chunk.samples)
        self.waiting_bytes -= _size(arrival)
        return arrival

    def _end(self, out: list[StreamItem]) -> None:
        while self._waiting:
            self._next_waiting()
            self._counters["late"] += 1
        self._counters["ended"] += 1
        self.over = True
        out.append(EndOfStream(self._stream))

    def _set_aside(self, arrival: Arrival, now: float, out: list[StreamItem]) -> None:
        last = self._aside[-1].arrival.chunk if self._aside else arrival.chunk
        if _format(last) != _format(arrival.chunk) or arrival.chunk.first_sample < last.first_sample:
            self._drop_aside()
        self._aside.append(_Waiting(arrival, now))
        self.waiting_bytes += _size(arrival)
        if arrival.end or len(self._aside) >= _RESTART_AFTER:
            self._restart(now, out)

    def _drop_aside(self) -> None:
        self._counters["late"] += len(self._aside)
        self.waiting_bytes -= sum(_size(waiting.arrival) for waiting in self._aside)
        self._aside = []

    def _restart(self, now: float, out: list[StreamItem]) -> None:
        while self._waiting:
            self._give_up(out)
        if not self.over:
            self._end(out)
        self._begin_anew(now, out)

    def _begin_anew(self, now: float, out: list[StreamItem]) -> None:
        aside, self._aside = self._aside, []
        self.waiting_bytes = 0
        self.over = False
        self._format = None
        self._holes.clear()
        self._counters["restarts"] += 1
        for waiting in aside:
            if not self.over:
                out += self.push(waiting.arrival, now)


def _first_sample(waiting: _Waiting) -> int:
    return waiting.arrival.chunk.first_sample


def _format(chunk: Chunk) -> tuple[int, int]:
    return chunk.sample_rate, chunk.samples.shape[1]


def _size(arrival: Arrival) -> int:
    return arrival.chunk.samples.nbytes + _OVERHEAD_BYTES


def _covers(known: Arrival, arrival: Arrival) -> bool:
    return known.chunk.end_sample >= arrival.chunk.end_sample and not arrival.end


def _trimmed(chunk: Chunk, count: int) -> Chunk:
    captured_at = None if chunk.captured_at is None else chunk.captured_at + count / chunk.sample_rate
    samples = chunk.samples[count:]
    return replace(chunk, samples=samples, first_sample=chunk.first_sample + count, captured_at=captured_at)

"""A bounded store of samples in which every sample keeps its absolute index."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.types import Chunk, FloatArray

__all__ = ["Run", "SampleRing"]

_INITIAL = 4_096


@dataclass(frozen=True, slots=True)
class Run:
    """A contiguous stretch of samples as it leaves the ring.

    Attributes
    ----------
    samples
        Shape (n, channels), float32.
    captured_at
        Unix time of the first sample in seconds, or None.
    marks
        First sample and mark of each chunk that begins in it and has one.
    """

    samples: FloatArray
    sample_rate: int
    first_sample: int
    captured_at: float | None
    marks: tuple[tuple[int, Mapping[str, Any]], ...] = ()

    @property
    def end_sample(self) -> int:
        """Absolute index one past the last sample."""
        return self.first_sample + len(self.samples)


@dataclass(slots=True)
class _Span:
    first_sample: int
    length: int
    captured_at: float | None
    marks: deque[tuple[int, Mapping[str, Any]]]

    def marks_before(self, end_sample: int) -> list[tuple[int, Mapping[str, Any]]]:
        """Take off the marks of the chunks that begin before an index."""
        taken = []
        while self.marks and self.marks[0][0] < end_sample:
            taken.append(self.marks.popleft())
        return taken


class SampleRing:
    """A ring buffer of one audio format. It never splices: what it returns is contiguous in the absolute index.

    Storage doubles as needed up to the capacity and is then reused, so that a stream which is never behind stays small.
    Not locked: its owner sees to that.
    """

    def __init__(self, capacity: int, channels: int, sample_rate: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}, expected at least 1 sample")
        self.capacity = capacity
        self.channels = channels
        self.sample_rate = sample_rate
        self._data: FloatArray = np.zeros((min(capacity, _INITIAL), channels), np.float32)
        self._head = 0
        self._length = 0
        self._spans: deque[_Span] = deque()

    def __len__(self) -> int:
        return self._length

    @property
    def room(self) -> int:
        """Samples that may still be written."""
        return self.capacity - self._length

    def write(self, chunk: Chunk) -> bool:
        """Append a whole chunk, or nothing and return False where it does not fit.

        Raises
        ------
        ValueError
            The chunk has another number of channels or another rate.
        """
        samples = chunk.samples
        if samples.shape[1] != self.channels or chunk.sample_rate != self.sample_rate:
            raise ValueError(
                f"chunk of {samples.shape[1]} channels at {chunk.sample_rate} Hz, the ring holds {self.channels} at {self.sample_rate} Hz"
            )
        n = len(samples)
        if n > self.room:
            return False
        if n == 0:
            return True
        self._reserve(self._length + n)
        size = len(self._data)
        tail = (self._head + self._length) % size
        fits = min(n, size - tail)
        self._data[tail : tail + fits] = samples[:fits]
        self._data[: n - fits] = samples[fits:]
        last = self._spans[-1] if self._spans else None
        untimed = last is not None and chunk.captured_at is None and last.captured_at is None
        if last is None or not untimed or last.first_sample + last.length != chunk.first_sample:
            last = _Span(chunk.first_sample, 0, chunk.captured_at, deque())
            self._spans.append(last)
        last.length += n
        if chunk.mark is not None:
            last.marks.append((chunk.first_sample, chunk.mark))
        self._length += n
        return True

    def read(self, limit: int) -> Run | None:
        """Take up to ``limit`` contiguous samples off the front, or None where it is empty."""
        if not self._spans:
            return None
        first, captured_at, n = self._spans[0].first_sample, self._spans[0].captured_at, 0
        marks: list[tuple[int, Mapping[str, Any]]] = []
        while self._spans and n < limit and self._spans[0].first_sample == first + n:
            span = self._spans[0]
            taken = min(span.length, limit - n)
            n += taken
            marks += span.marks_before(first + n)
            if taken == span.length:
                self._spans.popleft()
            else:
                span.first_sample += taken
                span.length -= taken
                if span.captured_at is not None:
                    span.captured_at += taken / self.sample_rate
        samples = np.empty((n, self.channels), np.float32)
        fits = min(n, len(self._data) - self._head)
        samples[:fits] = self._data[self._head : self._head + fits]
        samples[fits:] = self._data[: n - fits]
        self._head = (self._head + n) % len(self._data)
        self._length -= n
        return Run(samples, self.sample_rate, first, captured_at, tuple(marks))

    def _reserve(self, needed: int) -> None:
        size = len(self._data)
        if needed <= size:
            return
        while size < needed:
            size *= 2
        grown = np.empty((min(size, self.capacity), self.channels), np.float32)
        fits = min(self._length, len(self._data) - self._head)
        grown[:fits] = self._data[self._head : self._head + fits]
        grown[fits : self._length] = self._data[: self._length - fits]
        self._data, self._head = grown, 0

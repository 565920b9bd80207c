"""The newest audio of a stream and the clips that are cut from it: 16 bits, absolute indices, holes known and never spliced."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = ["CaptureRing", "ClipBuffer", "PcmArray", "Stretch", "to_s16"]

PcmArray: TypeAlias = np.ndarray[Any, np.dtype[np.int16]]
"""An int16 array, shape (n, channels)."""

_FULL_SCALE: Final = 1 << 15
_MOST_SPANS: Final = 1_000
"""Contiguous stretches that are remembered; what comes in more pieces is held for a shorter time."""


def to_s16(samples: FloatArray) -> PcmArray:
    """Round samples to 16 bits, shape (n, channels); what was 16 bits before comes out as it was, full scale is clipped."""
    scaled = np.nan_to_num(samples * np.float32(_FULL_SCALE), nan=0.0, posinf=_FULL_SCALE, neginf=-_FULL_SCALE)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1, out=scaled)
    return np.ascontiguousarray(scaled, np.int16)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of a stream in which every sample is in its place.

    Attributes
    ----------
    samples
        Shape (n, channels), int16; zeros where there was no audio.
    first_sample
        Absolute index of the first one. The first and the last sample are never in a gap.
    gaps
        Absolute indices, first and end (exclusive), of the holes, in order.
    """

    samples: PcmArray
    first_sample: int
    gaps: tuple[tuple[int, int], ...]

    @property
    def end_sample(self) -> int:
        """Absolute index one past the last sample."""
        return self.first_sample + len(self.samples)


class _Spans:
    """Which indices are held: stretches in rising order that neither touch nor overlap."""

    def __init__(self) -> None:
        self.held: list[tuple[int, int]] = []

    @property
    def end(self) -> int | None:
        """Index one past the last one held."""
        return self.held[-1][1] if self.held else None

    def append(self, first: int, end: int) -> None:
        """Add a stretch that begins at or after the end of the last one."""
        if self.held and self.held[-1][1] == first:
            self.held[-1] = (self.held[-1][0], end)
        else:
            self.held.append((first, end))

    def forget_before(self, index: int) -> None:
        """Drop what lies before an index, and the oldest where there are too many stretches."""
        kept = [(max(first, index), end) for first, end in self.held if end > index]
        self.held = kept[-_MOST_SPANS:]

    def within(self, first: int, end: int) -> list[tuple[int, int]]:
        """Return what is held between two indices."""
        return [(max(a, first), min(b, end)) for a, b in self.held if max(a, first) < min(b, end)]


def _gaps(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((before[1], after[0]) for before, after in pairwise(spans))


class CaptureRing:
    """Holds the newest ``capacity`` indices of one audio format; a sample lies at its index modulo the capacity.

    Memory is taken from the system as it is first written. Not locked: its owner sees to that.
    """

    def __init__(self, capacity: int, channels: int) -> None:
        if capacity < 1 or channels < 1:
            raise ValueError(f"{capacity} samples of {channels} channels, expected at least 1 of each")
        self.capacity = capacity
        self._data: PcmArray = np.zeros((capacity, channels), np.int16)
        self._spans = _Spans()

    @property
    def end_sample(self) -> int | None:
        """Absolute index one past the newest sample; None while it is empty."""
        return self._spans.end

    @property
    def first_sample(self) -> int | None:
        """Absolute index of the oldest sample; None while it is empty."""
        return self._spans.held[0][0] if self._spans.held else None

    def write(self, first_sample: int, samples: PcmArray) -> None:
        """Append samples.

        Raises
        ------
        ValueError
            They lie, at least partly, before the end of what is held already.
        """
        if self.end_sample is not None and first_sample < self.end_sample:
            raise ValueError(f"samples begin at {first_sample}, expected {self.end_sample} or later")
        if not len(samples):
            return
        end = first_sample + len(samples)
        kept = samples[-self.capacity :]
        at = (end - len(kept)) % self.capacity
        fits = min(len(kept), self.capacity - at)
        self._data[at : at + fits] = kept[:fits]
        self._data[: len(kept) - fits] = kept[fits:]
        self._spans.append(first_sample, end)
        self._spans.forget_before(end - self.capacity)

    def read(self, first_sample: int, end_sample: int) -> Stretch | None:
        """Copy what is held between two indices, from the first to the last sample that there is; None where there is none."""
        spans = self._spans.within(first_sample, end_sample)
        if not spans:
            return None
        begin = spans[0][0]
        samples = np.zeros((spans[-1][1] - begin, self._data.shape[1]), np.int16)
        for first, end in spans:
            at, n = first % self.capacity, end - first
            fits = min(n, self.capacity - at)
            samples[first - begin : first - begin + fits] = self._data[at : at + fits]
            samples[first - begin + fits : end - begin] = self._data[: n - fits]
        return Stretch(samples, begin, _gaps(spans))


class ClipBuffer:
    """Collects the audio of a clip from one index on, at most ``longest`` samples of it.

    Memory is taken from the system as it is first written.

    Attributes
    ----------
    full
        It has come in too many pieces, and takes no more.
    """

    def __init__(self, first_sample: int, longest: int, channels: int) -> None:
        self.first_sample = first_sample
        self.limit = first_sample + longest
        self.full = False
        self._data: PcmArray = np.zeros((longest, channels), np.int16)
        self._spans = _Spans()

    def add(self, first_sample: int, samples: PcmArray) -> None:
        """Take what lies in the clip and after what is there already."""
        first = max(first_sample, self._spans.end or self.first_sample)
        end = min(first_sample + len(samples), self.limit)
        if self.full or first >= end:
            return
        if len(self._spans.held) >= _MOST_SPANS and first != self._spans.end:
            self.full = True
            return
        self._data[first - self.first_sample : end - self.first_sample] = samples[
            first - first_sample : end - first_sample
        ]
        self._spans.append(first, end)

    def stretch(self, end_sample: int) -> Stretch | None:
        """Return what there is up to an index, from the first to the last sample held; None where there is none."""
        spans = self._spans.within(self.first_sample, end_sample)
        if not spans:
            return None
        first, end = spans[0][0], spans[-1][1]
        return Stretch(self._data[first - self.first_sample : end - self.first_sample], first, _gaps(spans))

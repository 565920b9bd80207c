"""Peak and RMS levels per channel, before the down-mix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from streamcls.types import Levels

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = ["Meter", "to_dbfs"]

_FLOOR = 1e-6


def to_dbfs(amplitude: float) -> float:
    """Convert an amplitude (full scale 1) to decibels below full scale, at least -120."""
    return 20.0 * math.log10(max(amplitude, _FLOOR))


class Meter:
    """Measures a stream on a fixed grid of its absolute index, so that the result does not depend on the chunking.

    An interval that a gap or the start of a stream cut short is not reported.
    """

    def __init__(self, stream: str, sample_rate: int, channels: int, interval_s: float = 1.0) -> None:
        self._stream = stream
        self._rate = sample_rate
        self._interval = max(1, round(sample_rate * interval_s))
        self._channels = channels
        self._pending: list[FloatArray] = []
        self._next = 0
        self._whole = False
        self.reset(0)

    def reset(self, first_sample: int) -> None:
        """Begin anew at an absolute index."""
        self._pending = []
        self._next = first_sample
        self._whole = first_sample % self._interval == 0

    @property
    def next_sample(self) -> int:
        """Absolute index of the sample that is expected next."""
        return self._next

    def begin_for(self, decided: int, origin: int) -> int:
        """Return the index at which to begin anew for the intervals that end after an index, in a stretch that began at ``origin``."""
        return max(origin, decided // self._interval * self._interval)

    def push(self, samples: FloatArray) -> list[Levels]:
        """Take samples, shape (n, channels), and return the intervals that they complete."""
        done: list[Levels] = []
        while len(samples):
            boundary = (self._next // self._interval + 1) * self._interval
            part = samples[: boundary - self._next]
            samples = samples[len(part) :]
            self._pending.append(part)
            self._next += len(part)
            if self._next == boundary:
                if self._whole:
                    done.append(self._measure(boundary))
                self._pending = []
                self._whole = True
        return done

    def _measure(self, end: int) -> Levels:
        stretch = np.concatenate(self._pending)
        peak = np.max(np.abs(stretch), axis=0)
        rms = np.sqrt(np.mean(np.square(stretch, dtype=np.float64), axis=0))
        return Levels(
            self._stream,
            end - self._interval,
            end,
            self._rate,
            tuple(round(to_dbfs(float(value)), 2) for value in peak),
            tuple(round(to_dbfs(float(value)), 2) for value in rms),
        )

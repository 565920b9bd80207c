"""Missing audio, found by comparing what a device delivered with the clock."""

from __future__ import annotations

from typing import Final

__all__ = ["LossWatch"]

_SPAN_S: Final = 1.0
"""Lag is judged by its least value over this time: audio comes in bursts, and late audio is not lost audio."""
_DRIFT: Final = 0.01
"""Most by which a device's clock may run slower than ours; what it falls behind faster is lost."""
_SETTLED_S: Final = 0.1
"""While the least lag still falls by more than this from one span to the next, the device is catching up."""


class LossWatch:
    """Follows how far a device lags behind the clock and says how much audio must be missing.

    Sound servers drop audio without a word where nobody reads for some seconds, and PortAudio then reports no
    overflow. Delivery in bursts, catching up, and clocks that differ by up to one per cent are no loss. A loss is
    found two to three seconds after audio flows again. It knows no clock itself.

    Parameters
    ----------
    sample_rate
        In hertz.
    loss_s
        Lag in seconds beyond the usual one that counts as loss.
    """

    def __init__(self, sample_rate: int, loss_s: float) -> None:
        self._rate = sample_rate
        self._loss_s = loss_s
        self._origin_s: float | None = None
        self._first = 0
        self._usual_s = 0.0
        self._least_s = 0.0
        self._span_start_s = 0.0
        self._suspected_s: float | None = None

    def observe(self, now_s: float, end_sample: int) -> int:
        """Take note that the audio up to ``end_sample`` (exclusive) was there at ``now_s``.

        Returns the number of samples that are missing; the caller adds them to its index.
        """
        if self._origin_s is None:
            self._origin_s = self._span_start_s = now_s
            self._first = end_sample
            return 0
        lag_s = self._lag_s(now_s, end_sample)
        self._least_s = min(self._least_s, lag_s)
        span_s = now_s - self._span_start_s
        if span_s < _SPAN_S:
            return 0
        least_s, self._least_s, self._span_start_s = self._least_s, lag_s, now_s
        excess_s = least_s - self._usual_s
        if excess_s <= self._loss_s:
            self._suspected_s = None
            self._usual_s = min(least_s, self._usual_s + _DRIFT * span_s)
            return 0
        if self._suspected_s is None or least_s < self._suspected_s - _SETTLED_S:
            self._suspected_s = least_s
            return 0
        self._suspected_s = None
        self._least_s -= excess_s
        return round(excess_s * self._rate)

    def overflow(self, now_s: float, end_sample: int) -> int:
        """Return how many samples a reported overflow has cost, at least 1, to be added to the index."""
        if self._origin_s is None:
            return 1
        return max(1, round((self._lag_s(now_s, end_sample) - self._usual_s) * self._rate))

    def _lag_s(self, now_s: float, end_sample: int) -> float:
        return now_s - (self._origin_s or 0.0) - (end_sample - self._first) / self._rate

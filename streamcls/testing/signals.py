"""Audio to test with: tones, noise, and chunks of it."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from streamcls.types import Chunk, read_only

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamcls.types import FloatArray

__all__ = ["chunks_of", "noise", "tone"]


def tone(
    frequency_hz: float, seconds: float, sample_rate: int = 22_050, *, channels: int = 1, peak: float = 0.25
) -> FloatArray:
    """Return a sine, the same in every channel: shape (n, channels), float32, read-only, from ``-peak`` to ``peak``."""
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    wave = (peak * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)
    return read_only(np.repeat(wave[:, None], channels, axis=1))


def noise(
    seconds: float, sample_rate: int = 22_050, *, channels: int = 1, peak: float = 0.25, seed: int = 1
) -> FloatArray:
    """Return white noise, another in every channel: shape (n, channels), float32, read-only. A seed always gives the same."""
    values = np.random.default_rng(seed).uniform(-peak, peak, (round(seconds * sample_rate), channels))
    return read_only(values.astype(np.float32))


def chunks_of(
    samples: FloatArray,
    sample_rate: int = 22_050,
    *,
    stream: str = "test",
    sizes: Sequence[int] = (1_024,),
    first_sample: int = 0,
    captured_at: float | None = None,
) -> Iterator[Chunk]:
    """Cut a signal into chunks.

    Parameters
    ----------
    samples
        Shape (n, channels), float32.
    sizes
        Lengths of the chunks in samples, over and over; the last chunk may be shorter.
    first_sample
        Absolute index of the first sample.
    captured_at
        Unix time of the first sample in seconds, or None.
    """
    start = 0
    for size in cycle(sizes):
        if start >= len(samples):
            return
        if size < 1:
            raise ValueError(f"sizes holds {size}, expected at least 1 sample")
        at = None if captured_at is None else captured_at + start / sample_rate
        yield Chunk(stream, samples[start : start + size], sample_rate, first_sample + start, at)
        start += size

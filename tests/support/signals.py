"""Signals and chunkings that the tests of the signal path share, and the real recordings where there are any."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamcls.types import FloatArray


def real_file(pattern: str) -> Path:
    """Return the first recording that matches a pattern below ``STREAMCLS_DATA``; skip the test where that is unset."""
    folder = os.environ.get("STREAMCLS_DATA")
    if not folder:
        pytest.skip("STREAMCLS_DATA is not set: no real audio here")
    found = sorted(Path(folder).glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} below {folder}")
    return found[0]


def real_signal(pattern: str = "gtzan_full30/rock/*.ogg", seconds: float = 10.0) -> FloatArray:
    """Return the beginning of a real recording, mono, float32, at 22050 Hz."""
    import soundfile

    samples, rate = soundfile.read(real_file(pattern), dtype="float32", frames=round(seconds * 22_050))
    assert rate == 22_050
    return np.ascontiguousarray(samples if samples.ndim == 1 else samples[:, 0])


def noise(n: int, seed: int = 0, channels: int = 1) -> FloatArray:
    """Return Gaussian noise of RMS 0.1, shape (n,) or (n, channels)."""
    shape = (n,) if channels == 1 else (n, channels)
    return (np.random.default_rng(seed).standard_normal(shape) * 0.1).astype(np.float32)


def programme(rate: int, seconds: float = 8.0) -> FloatArray:
    """Return loud noise, a quiet tone, digital silence and a loud tone in turn: a range of 80 dB, and silence.

    The tones carry some hiss, 60 dB below them, as recordings do: a purer one has bands that are nothing but float32's rounding.
    """
    quarter = round(rate * seconds / 4)
    time = np.arange(quarter) / rate
    quiet = np.sin(2 * np.pi * 440.0 * time) + 0.01 * noise(quarter, seed=1)
    loud = np.sin(2 * np.pi * 1000.0 * time) + 0.01 * noise(quarter, seed=2)
    return np.concatenate([noise(quarter), 1e-4 * quiet, np.zeros(quarter), 0.9 * loud]).astype(np.float32)


def pieces(signal: FloatArray, sizes: Sequence[int]) -> Iterator[FloatArray]:
    """Cut a signal into pieces whose sizes repeat."""
    position = turn = 0
    while position < len(signal):
        n = sizes[turn % len(sizes)]
        yield signal[position : position + n]
        position += n
        turn += 1


def chunkings(largest: int) -> st.SearchStrategy[list[int]]:
    """Sizes of pieces, from one sample up; a list repeats until the signal is used up."""
    small, any_size = st.integers(1, 64), st.integers(1, largest)
    return st.lists(st.one_of(any_size, small), min_size=1, max_size=6).filter(
        lambda sizes: sum(sizes) >= 8 * len(sizes)
    )

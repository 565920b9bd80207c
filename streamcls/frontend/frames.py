"""Cutting a signal into frames, and the frames' features as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = ["Frames", "analysis_window", "cut"]


@dataclass(frozen=True, slots=True)
class Frames:
    """Consecutive feature frames.

    Attributes
    ----------
    first
        Index of the first frame: it starts at sample ``first * hop_length`` of the model's grid.
    features
        Shape (n, n_features), float32: MFCC, log-mel decibels, or samples.
    mean, mean_square
        Shape (n,), float64: moments of each frame's log-mel bands, from which a window is normalised.
    power
        Shape (n,), float64: mean square of each frame's samples.
    """

    first: int
    features: FloatArray
    mean: np.ndarray[Any, np.dtype[np.float64]]
    mean_square: np.ndarray[Any, np.dtype[np.float64]]
    power: np.ndarray[Any, np.dtype[np.float64]]

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def empty(cls, spec: FrontEndSpec, first: int = 0) -> Frames:
        """No frames, the next of which will be ``first``."""
        none = np.zeros(0, np.float64)
        return cls(first, np.zeros((0, spec.n_features), np.float32), none, none, none)


def cut(signal: FloatArray, frame_length: int, hop_length: int) -> FloatArray:
    """View a signal, shape (n,), as left-aligned whole frames, shape (n_frames, frame_length), without copying."""
    count = 0 if len(signal) < frame_length else 1 + (len(signal) - frame_length) // hop_length
    if count == 0:
        return np.zeros((0, frame_length), np.float32)
    view: FloatArray = np.lib.stride_tricks.sliding_window_view(signal, frame_length)[::hop_length][:count]
    return view


def analysis_window(spec: FrontEndSpec) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the window that tapers each frame, shape (frame_length,), float64.

    ``hann`` is the periodic form, ``0.5 - 0.5 cos(2 pi n / N)``, which spectral analysis uses (as scipy's ``fftbins=True``).
    """
    if spec.window == "rectangular":
        return np.ones(spec.frame_length, np.float64)
    n = np.arange(spec.frame_length, dtype=np.float64)
    return np.asarray(0.5 - 0.5 * np.cos(2.0 * np.pi * n / spec.frame_length))

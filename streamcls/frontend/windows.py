"""Windows of frames on a fixed grid, and their normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from streamcls.frontend.frames import Frames
from streamcls.types import read_only

if TYPE_CHECKING:
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = ["FrameWindow", "Windower", "windows_of"]

_SMALLEST_DEVIATION: Final = 1e-3
"""In decibels: a window that varies less (digital silence) is not divided by its deviation but by this."""
_SMALLEST_POWER: Final = 1e-12


@dataclass(frozen=True, slots=True)
class FrameWindow:
    """A window in units of frames: what the pipeline turns into a FeatureWindow with the source's indices.

    Attributes
    ----------
    first_frame
        Index of its first frame.
    features
        Shape (n_frames, n_features), float32, read-only, normalised as the spec says.
    level_dbfs
        RMS of the signal in decibels below full scale, -120 for silence.
    """

    first_frame: int
    features: FloatArray
    level_dbfs: float


class Windower:
    """Collects frames and hands out windows of ``n_frames`` whose first frame is a multiple of ``stride``.

    The grid is that of the absolute index: after a gap, a restart or a late join the windows lie where they would have lain
    without it.

    Attributes
    ----------
    every
        Only each how many-th window of the grid is handed out, those whose number it divides; 1: all.
    """

    def __init__(self, spec: FrontEndSpec, n_frames: int, stride: int) -> None:
        if n_frames < 1 or stride < 1:
            raise ValueError(f"n_frames is {n_frames} and stride {stride}, expected at least 1")
        self.spec = spec
        self.n_frames = n_frames
        self.stride = stride
        self.every = 1
        self._kept = Frames.empty(spec)
        # What subtracting a constant from every band does to the features: the DCT of a constant is its first coefficient alone.
        offset = np.zeros(spec.n_features)
        if spec.kind == "mfcc":
            offset[0] = math.sqrt(spec.n_mels) if spec.dct_norm == "ortho" else 2.0 * spec.n_mels
        elif spec.kind == "log_mel":
            offset[:] = 1.0
        self._offset = offset

    def reset(self) -> None:
        """Forget all frames."""
        self._kept = Frames.empty(self.spec)

    @property
    def kept_from(self) -> int | None:
        """Index of the oldest frame that it remembers; None where there is none."""
        return self._kept.first if len(self._kept) else None

    def go_on_from(self, other: Windower) -> None:
        """Take over the frames that another one of the same front end remembers."""
        if other.spec != self.spec:
            raise ValueError("frames of another front end cannot be taken over")
        self._kept = other._kept  # of frames nothing is ever changed in place

    def push(self, frames: Frames) -> list[FrameWindow]:
        """Take the next frames and return the windows that they complete."""
        if not len(frames):
            return []
        kept = _join(self._kept, frames) if len(self._kept) else frames
        end = kept.first + len(kept)
        windows: list[FrameWindow] = []
        stride = self.stride * self.every
        start = -(-kept.first // stride) * stride
        while start + self.n_frames <= end:
            windows.append(self._window(kept, start))
            start += stride
        self._kept = _drop(kept, min(start, end) - kept.first)
        return windows

    def _window(self, frames: Frames, start: int) -> FrameWindow:
        part = slice(start - frames.first, start - frames.first + self.n_frames)
        features = frames.features[part].copy()
        if self.spec.normalise == "window":
            mean = float(np.mean(frames.mean[part]))
            variance = float(np.mean(frames.mean_square[part])) - mean * mean
            deviation = max(math.sqrt(max(variance, 0.0)), _SMALLEST_DEVIATION)
            features -= (mean * self._offset).astype(np.float32)
            features /= np.float32(deviation)
        level = 10.0 * math.log10(max(float(np.mean(frames.power[part])), _SMALLEST_POWER))
        return FrameWindow(start, read_only(features), level)


def windows_of(frames: Frames, spec: FrontEndSpec, n_frames: int, stride: int) -> list[FrameWindow]:
    """Cut a whole signal's frames into windows."""
    return Windower(spec, n_frames, stride).push(frames)


def _join(left: Frames, right: Frames) -> Frames:
    if left.first + len(left) != right.first:
        raise ValueError(f"frame {right.first} follows frame {left.first + len(left) - 1}: reset the windower at a gap")
    return Frames(
        left.first,
        np.concatenate([left.features, right.features]),
        np.concatenate([left.mean, right.mean]),
        np.concatenate([left.mean_square, right.mean_square]),
        np.concatenate([left.power, right.power]),
    )


def _drop(frames: Frames, n: int) -> Frames:
    return Frames(
        frames.first + n,
        frames.features[n:].copy(),
        frames.mean[n:].copy(),
        frames.mean_square[n:].copy(),
        frames.power[n:].copy(),
    )

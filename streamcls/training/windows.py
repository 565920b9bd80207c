"""The windows of whole clips as the daemon would see them, for validation, calibration and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls.frontend import windows_of
from streamcls.training.sampling import active_starts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamcls.frontend import Frames
    from streamcls.training.corpora import Clip
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = ["WindowSet", "cut_windows"]


@dataclass(frozen=True, slots=True)
class WindowSet:
    """Windows of many clips.

    Attributes
    ----------
    features
        Shape (n, n_frames, n_features), as the front end's windower gives them.
    clip_of
        Shape (n,): index of each window's clip in ``clips``.
    first_frames
        Shape (n,): the frame of the clip at which each window begins.
    """

    clips: tuple[Clip, ...]
    features: FloatArray
    clip_of: np.ndarray[Any, np.dtype[np.int64]]
    first_frames: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.features)

    def thinned(self, most: int, seed: int) -> WindowSet:
        """Keep at most so many windows, drawn at random, in their order."""
        if len(self) <= most:
            return self
        kept = np.sort(np.random.default_rng(seed).choice(len(self), most, replace=False))
        return WindowSet(self.clips, self.features[kept], self.clip_of[kept], self.first_frames[kept])


def cut_windows(
    clips: Sequence[Clip], frames: Iterable[Frames], spec: FrontEndSpec, n_frames: int, stride: int
) -> WindowSet:
    """Cut clips into the daemon's windows; of a clip that is active in parts, only those that carry its labels."""
    features: list[FloatArray] = []
    clip_of: list[int] = []
    first_frames: list[int] = []
    for index, (clip, part) in enumerate(zip(clips, frames, strict=True)):
        active = set(active_starts(part.power, n_frames, clip.active_within_db).tolist())
        for window in windows_of(part, spec, n_frames, stride):
            if window.first_frame in active:
                features.append(window.features)
                clip_of.append(index)
                first_frames.append(window.first_frame)
    stacked = np.stack(features) if features else np.zeros((0, n_frames, spec.n_features), np.float32)
    return WindowSet(tuple(clips), stacked, np.asarray(clip_of, np.int64), np.asarray(first_frames, np.int64))

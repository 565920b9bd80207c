"""Stretches of time that are the same for every model, whatever its windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from streamcls.training.evaluation.tracks import Judgements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamcls.training.evaluation.bootstrap import Array
    from streamcls.training.evaluation.tracks import Track

__all__ = ["SPAN_S", "SPAN_STEP_S", "over_spans"]

SPAN_S: Final = 3.0
SPAN_STEP_S: Final = 1.0
_SLACK_S: Final = 0.1
"""A window that leaves a span by so little still counts as inside it."""


def over_spans(tracks: Sequence[Track], reference: Sequence[Track]) -> Judgements:
    """Average a model's posteriors over spans of 3 s, one a second.

    A span takes the windows inside it; where there is none (they are longer), the one whose centre is nearest.

    Parameters
    ----------
    reference
        Of the same clips, by one model for all comparisons: a clip's spans go as far as its windows, and those count in
        which it has an active one.
    """
    values, clip_of = [], []
    for index, (track, other) in enumerate(zip(tracks, reference, strict=True)):
        for start in _active_starts(other):
            values.append(track.values[_inside(track, start)].mean(axis=0))
            clip_of.append(index)
    return Judgements(np.asarray(values, np.float32), np.asarray(clip_of, np.int64))


def _active_starts(track: Track) -> list[float]:
    if not len(track.start_s):
        return []
    length_s = float(track.start_s[-1]) + track.window_s
    starts = np.arange(max(int((length_s + _SLACK_S - SPAN_S) / SPAN_STEP_S), 0) + 1) * SPAN_STEP_S
    return [float(start) for start in starts if track.active[_inside(track, start)].any()]


def _inside(track: Track, start: float) -> Array:
    ends = track.start_s + track.window_s
    inside = (track.start_s >= start - _SLACK_S) & (ends <= start + SPAN_S + _SLACK_S)
    if not inside.any():
        centres = track.start_s + track.window_s / 2
        inside[int(np.argmin(np.abs(centres - (start + SPAN_S / 2))))] = True
    return np.asarray(inside)

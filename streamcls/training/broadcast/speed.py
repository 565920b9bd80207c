"""Speed, tempo and pitch of a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from streamcls.training.broadcast.filters import check_signal, fit_length, resample, run_filters

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = ["change_pitch", "change_speed", "change_tempo"]

_STEPS: Final = 1_000
"""A speed is a ratio of whole numbers, with this denominator."""
_SLOWEST: Final = 0.5
_FASTEST: Final = 2.0


def change_speed(signal: FloatArray, factor: float) -> FloatArray:
    """Play a signal faster (above 1) or slower, as a tape: pitch and tempo change together.

    Parameters
    ----------
    signal
        Shape (n,), float32, at any rate.
    factor
        0.5 to 2, rounded to a thousandth; 1.06 is about one semitone up.

    Returns
    -------
    Shape (about n / factor,), float32.

    Raises
    ------
    ValueError
        The signal is empty or not finite, or the factor is out of range.
    """
    check_signal(signal, 1)
    _check_factor(factor)
    steps = round(factor * _STEPS)
    played = resample(np.asarray(signal, np.float32), steps, _STEPS)
    return fit_length(played, max(1, len(signal) * _STEPS // steps))


def change_tempo(signal: FloatArray, sample_rate: int, factor: float) -> FloatArray:
    """Play a signal faster (above 1) or slower at the same pitch, by FFmpeg's ``atempo`` (overlap and add of similar waveforms).

    Parameters
    ----------
    signal
        Shape (n,), float32.
    sample_rate
        In hertz.
    factor
        0.5 to 2.

    Returns
    -------
    Shape (round(n / factor),), float32. An event moves from ``t`` to ``t / factor``, give or take some tens of milliseconds.

    Raises
    ------
    ValueError
        The signal is empty or not finite, or the factor is out of range.
    TrainingError
        The FFmpeg in PyAV lacks the filter.
    """
    check_signal(signal, sample_rate)
    _check_factor(factor)
    length = max(1, round(len(signal) / factor))
    return fit_length(run_filters(signal, sample_rate, ("atempo", {"tempo": factor})), length)


def change_pitch(signal: FloatArray, sample_rate: int, factor: float) -> FloatArray:
    """Multiply all frequencies by ``factor`` (0.5 to 2), at the same length and tempo: a change of speed, then of tempo.

    Parameters, errors and the accuracy of time are those of ``change_tempo``; returns shape (n,), float32.
    """
    check_signal(signal, sample_rate)
    faster = change_speed(signal, factor)
    return fit_length(change_tempo(faster, sample_rate, len(faster) / len(signal)), len(signal))


def _check_factor(factor: float) -> None:
    if not _SLOWEST <= factor <= _FASTEST:
        raise ValueError(f"factor: is {factor}; expected {_SLOWEST} to {_FASTEST}")

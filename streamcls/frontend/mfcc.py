"""The features of a whole signal at once: the plain reference that the streaming front end is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamcls.frontend.frames import Frames, analysis_window, cut
from streamcls.frontend.mel import dct_matrix, mel_matrix

if TYPE_CHECKING:
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = ["features_of"]


def features_of(signal: FloatArray, spec: FrontEndSpec) -> Frames:
    """Compute the feature frames of a signal that begins at index 0.

    Parameters
    ----------
    signal
        Shape (n,), float32, at ``spec.sample_rate``.

    Returns
    -------
    Frames that lie wholly inside the signal, not yet normalised: for ``mfcc`` the type-II DCT of ``10 log10(max(mel, log_floor))``,
    which equals ``librosa.feature.mfcc`` with ``center=False``, an absolute reference and no ``top_db``.
    """
    frames = cut(np.ascontiguousarray(signal, np.float32), spec.frame_length, spec.hop_length)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    if spec.kind == "waveform":
        moments = np.zeros(len(frames), np.float64)
        return Frames(0, np.ascontiguousarray(frames), moments, moments, power)
    spectrum = np.abs(np.fft.rfft(frames * analysis_window(spec), spec.n_fft, axis=1)).astype(np.float32)
    mel = (spectrum**spec.power) @ mel_matrix(spec).T
    log_mel = 10.0 * np.log10(np.maximum(mel, np.float32(spec.log_floor)))
    features = log_mel.astype(np.float64) @ dct_matrix(spec).T if spec.kind == "mfcc" else log_mel
    return Frames(
        0,
        features.astype(np.float32),
        np.mean(log_mel, axis=1, dtype=np.float64),
        np.mean(np.square(log_mel, dtype=np.float64), axis=1),
        power,
    )

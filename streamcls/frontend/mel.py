"""The mel scale, its filter bank, and the discrete cosine transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = ["dct_matrix", "hz_to_mel", "mel_matrix", "mel_to_hz"]

_Array = np.ndarray[Any, np.dtype[np.float64]]

# Slaney, M. (1998): Auditory Toolbox, version 2. Linear below 1 kHz with 200/3 Hz per mel, above it 27 steps per factor 6.4.
_HZ_PER_MEL: Final = 200.0 / 3.0
_BREAK_HZ: Final = 1_000.0
_BREAK_MEL: Final = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP: Final = np.log(6.4) / 27.0


def hz_to_mel(hz: _Array, scale: str) -> _Array:
    """Convert hertz to mel: ``slaney`` as in the Auditory Toolbox, ``htk`` as ``2595 log10(1 + f/700)`` (O'Shaughnessy 1987)."""
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, above)


def mel_to_hz(mel: _Array, scale: str) -> _Array:
    """Convert mel to hertz, the inverse of :func:`hz_to_mel`."""
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, above)


def mel_matrix(spec: FrontEndSpec) -> FloatArray:
    """Return the triangular filter bank, shape (n_mels, n_fft // 2 + 1), float32.

    Band ``b`` rises from the centre of band ``b-1`` to its own and falls to that of ``b+1``, the centres being equally spaced in
    mel between ``fmin`` and ``fmax``. With ``mel_norm = slaney`` each triangle has unit area in hertz.
    """
    edges = mel_to_hz(
        np.linspace(
            hz_to_mel(np.array(spec.fmin), spec.mel_scale),
            hz_to_mel(np.array(spec.fmax), spec.mel_scale),
            spec.n_mels + 2,
        ),
        spec.mel_scale,
    )
    bins = np.fft.rfftfreq(spec.n_fft, 1.0 / spec.sample_rate)
    widths = np.diff(edges)
    ramps = edges[:, None] - bins[None, :]
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    if spec.mel_norm == "slaney":
        weights *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return weights.astype(np.float32)


def dct_matrix(spec: FrontEndSpec) -> FloatArray:
    """Return the type-II DCT, shape (n_mfcc, n_mels), float32; ``ortho`` makes its rows orthonormal."""
    k = np.arange(spec.n_mfcc, dtype=np.float64)[:, None]
    n = np.arange(spec.n_mels, dtype=np.float64)[None, :]
    matrix = 2.0 * np.cos(np.pi * k * (2.0 * n + 1.0) / (2.0 * spec.n_mels))
    if spec.dct_norm == "ortho":
        matrix *= np.sqrt(1.0 / (2.0 * spec.n_mels))
        matrix[0] *= np.sqrt(0.5)
    return matrix.astype(np.float32)

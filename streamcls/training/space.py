"""Between a model's features and the log-mel bands on which augmentation works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.frontend.mel import dct_matrix

if TYPE_CHECKING:
    from streamcls.frontend import Frames
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = ["FeatureSpace"]

_SMALLEST_DEVIATION: Final = 1e-3
"""In decibels; the same as the front end's."""


class FeatureSpace:
    """Turns the front end's frames into log-mel decibels, and windows of these into what the model sees.

    Without augmentation the two together give the front end's own windows again, to rounding.

    Raises
    ------
    TrainingError
        A front end that keeps fewer coefficients than bands, or the waveform: the bands cannot be had back.
    """

    def __init__(self, spec: FrontEndSpec) -> None:
        if spec.kind == "waveform" or (spec.kind == "mfcc" and spec.n_mfcc != spec.n_mels):
            raise TrainingError(
                f"front_end: kind {spec.kind!r} with n_mfcc {spec.n_mfcc} of n_mels {spec.n_mels} cannot be trained on; "
                f"set n_mfcc to n_mels (a convolution wants the bands, and the network undoes the cosine transform), or kind to log_mel"
            )
        self.spec = spec
        self.n_bands = spec.n_mels
        self.floor_db = float(10.0 * np.log10(spec.log_floor))
        matrix = dct_matrix(spec).astype(np.float64)
        self._dct = matrix.T.astype(np.float32) if spec.kind == "mfcc" else None
        self._inverse = np.linalg.inv(matrix).T.astype(np.float32) if spec.kind == "mfcc" else None

    @property
    def inverse_dct(self) -> FloatArray | None:
        """Matrix, shape (n_mfcc, n_mels), that features are multiplied by to get the bands; None where they are bands."""
        return self._inverse

    def bands(self, frames: Frames) -> FloatArray:
        """Return log-mel decibels, shape (n, n_mels), of frames that are not yet normalised."""
        return frames.features if self._inverse is None else frames.features @ self._inverse

    def features(self, bands: FloatArray) -> FloatArray:
        """Normalise windows of log-mel decibels, shape (batch, n_frames, n_mels), as the windower does, and transform them."""
        values = bands
        if self.spec.normalise == "window":
            mean = bands.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
            deviation = bands.std(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
            values = (bands - mean) / np.maximum(deviation, np.float32(_SMALLEST_DEVIATION))
        return values if self._dct is None else values @ self._dct

"""Log-mel features that somebody else computed, where the audio itself is not to be had."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.frontend import Frames
from streamcls.frontend.mel import dct_matrix, mel_matrix
from streamcls.training.extra import need

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.types import FloatArray, FrontEndSpec

__all__ = ["PrecomputedRows"]

_KEYS: Final = ("x", "scale", "genre", "clip", "split")
_DB_PER_UNIT: Final = 15.0
"""Decibels of one standard deviation of a typical clip of music: the rows were divided by a deviation that nobody kept."""
_TINY: Final = 1e-12


class PrecomputedRows:
    """Rows of an NPZ file: ``x`` (n, bands, frames) as int8, to be divided by ``scale``; ``genre``, ``clip`` and ``split`` (n,).

    Each row is log-mel by librosa's defaults at the front end's rate, FFT length and hop, less its clip's mean and divided by its
    clip's deviation. Both are unknown, so that only a front end with ``normalise = window``, which cancels them, can use the rows.
    Its fewer bands are sums of the row's: an approximation, since a sum of powers needs the deviation, which is taken as 15 dB.

    Raises
    ------
    TrainingError
        The file is not of this kind.
    """

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as data:
                missing = [key for key in _KEYS if key not in data]
                if missing:
                    raise TrainingError(f"{path}: precomputed features lack {', '.join(missing)}")
                self._values = data["x"]
                self._scale = float(data["scale"])
                self.labels = [str(value) for value in data["genre"]]
                self.clips = [str(value) for value in data["clip"]]
                self.splits = [str(value) for value in data["split"]]
        except (OSError, ValueError) as error:
            raise TrainingError(f"{path}: precomputed features cannot be read: {error}") from error
        self.path = path
        self._sums: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def frames(self, row: int, spec: FrontEndSpec) -> Frames:
        """Return a row as frames of a front end, in decibels about an unknown level."""
        if spec.normalise != "window":
            raise TrainingError(
                f"{self.path}: precomputed features have no level of their own: set front_end.normalise to window"
            )
        decibels = self._values[row].T.astype(np.float64) / self._scale * _DB_PER_UNIT
        power = 10.0 ** (decibels / 10.0) @ self._band_sums(spec).T
        bands = (10.0 * np.log10(np.maximum(power, _TINY))).astype(np.float32)
        features: FloatArray = bands @ dct_matrix(spec).T if spec.kind == "mfcc" else bands
        mean, mean_square = (
            bands.mean(axis=1, dtype=np.float64),
            np.square(bands, dtype=np.float64).mean(axis=1),
        )
        return Frames(0, features, mean, mean_square, power.sum(axis=1))

    def _band_sums(self, spec: FrontEndSpec) -> np.ndarray[Any, np.dtype[np.float64]]:
        if spec.digest not in self._sums:
            self._sums[spec.digest] = _nearest_sums(spec, self._values.shape[1])
        return self._sums[spec.digest]


def _nearest_sums(spec: FrontEndSpec, n_bands: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the sums, shape (n_mels, n_bands), of librosa's bands that come nearest to the front end's, none of them negative."""
    need("scipy", "reading precomputed features")
    from scipy.optimize import nnls

    theirs = replace(
        spec,
        n_mels=n_bands,
        n_mfcc=1,
        fmin=0.0,
        fmax=spec.sample_rate / 2,
        mel_scale="slaney",
        mel_norm="slaney",
    )
    narrow, wide = mel_matrix(theirs).astype(np.float64), mel_matrix(spec).astype(np.float64)
    return np.stack([nnls(narrow.T, band)[0] for band in wide])

"""Sample-rate conversion that carries its state from chunk to chunk."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import soxr

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = ["Resampler"]

_EMPTY = np.zeros(0, np.float32)


class Resampler:
    """Converts a mono signal from a source's rate to a model's, with exact bookkeeping of indices.

    Output sample ``m`` of the model's grid lies at source position ``m * source_rate / model_rate``. After a gap conversion begins
    at the next source sample that coincides with a sample of the model's grid (at most ``source_rate / gcd - 1`` samples later),
    so that the grid, and every window on it, is the same whatever was lost before. The filter is soxr's ``HQ`` (linear phase,
    pass band to 0.91 of the lower Nyquist frequency); it works in blocks and holds back some tens of milliseconds,
    which ``flush`` delivers. How much has come out depends only on how much went in, never on the chunking.
    """

    def __init__(self, source_rate: int, model_rate: int) -> None:
        divisor = math.gcd(source_rate, model_rate)
        self.source_rate = source_rate
        self.model_rate = model_rate
        self._source_step = source_rate // divisor
        self._model_step = model_rate // divisor
        self._skip = 0
        self._taken = 0
        self._given = 0
        self._soxr: soxr.ResampleStream | None = None

    def reset(self, first_sample: int) -> int:
        """Begin at a source index, forget the past, and return the model index of the first output sample."""
        self._skip = -first_sample % self._source_step
        self._soxr = None
        self._taken = self._given = 0
        return (first_sample + self._skip) // self._source_step * self._model_step

    def push(self, samples: FloatArray) -> FloatArray:
        """Take source samples, shape (n,), and return the model-rate samples that are ready."""
        if self._skip:
            dropped = min(self._skip, len(samples))
            samples = samples[dropped:]
            self._skip -= dropped
        if self.source_rate == self.model_rate or not len(samples):
            return samples
        if self._soxr is None:
            self._soxr = soxr.ResampleStream(self.source_rate, self.model_rate, 1, dtype="float32", quality="HQ")
        converted: FloatArray = self._soxr.resample_chunk(samples)
        self._taken += len(samples)
        self._given += len(converted)
        return converted

    def flush(self) -> FloatArray:
        """Return what the filter holds back at the end of a stream; ``reset`` must follow before the next ``push``.

        What it returns ends with the last model sample that lies wholly before the end of the source's.
        """
        if self._soxr is None:
            return _EMPTY
        rest: FloatArray = self._soxr.resample_chunk(_EMPTY, last=True)
        self._soxr = None
        return rest[: self._taken * self._model_step // self._source_step - self._given]

"""Sample-rate conversion that carries its state from chunk to chunk."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Final

import numpy as np
import soxr

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = ["Resampler"]

_EMPTY = np.zeros(0, np.float32)
_LONGEST_BLOCK: Final = 1 << 16
"""Source samples after which the search for the filter's blocks is given up."""
_LONGEST_PERIOD_S: Final = 15.0
_SETTLE_BLOCKS: Final = 2
"""One block was seen to be enough for bit-equal output; the second is for caution."""
_SETTLE_S: Final = 0.25


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

    def restart_at(self, origin: int, index: int) -> int:
        """Return where conversion has to begin anew so that from a source index on it gives what it gives having begun at ``origin``.

        The filter works in blocks of a fixed length. Begun a whole number of blocks later, on the model's grid, it gives the same
        bits after the first block; that was seen for all usual pairs of rates. Where blocks and grid coincide less often than every
        15 s (11.025 to 16 kHz, or rates without a common divisor) it begins on the grid alone, and the rounding differs (by
        about 1e-7 of full scale).
        """
        if self.source_rate == self.model_rate:
            return max(origin, index)
        start = origin + -origin % self._source_step
        block = _block_length(self.source_rate, self.model_rate)
        settle, period = round(_SETTLE_S * self.source_rate), self._source_step
        if block and math.lcm(block, period) <= _LONGEST_PERIOD_S * self.source_rate:
            settle, period = _SETTLE_BLOCKS * block, math.lcm(block, period)
        if index - settle <= start:
            return origin
        return start + (index - settle - start) // period * period

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


@functools.cache
def _block_length(source_rate: int, model_rate: int) -> int:
    """Return how many source samples the filter takes at a time, or 0 where that cannot be told."""
    stream = soxr.ResampleStream(source_rate, model_rate, 1, dtype="float32", quality="HQ")
    sample = np.zeros(1, np.float32)
    outputs: list[int] = []
    for index in range(_LONGEST_BLOCK):
        if len(stream.resample_chunk(sample)):
            outputs.append(index)
        if len(outputs) > _SETTLE_BLOCKS + 1:
            steps = {later - earlier for earlier, later in itertools.pairwise(outputs[1:])}
            return steps.pop() if len(steps) == 1 else 0
    return 0

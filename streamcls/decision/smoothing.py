"""Averaging posteriors over the last seconds."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamcls.types import FloatArray

__all__ = ["MovingAverage"]


class MovingAverage:
    """The mean of the values of the last ``span`` samples (0: only the newest), in units of the absolute index."""

    def __init__(self, span: int) -> None:
        if span < 0:
            raise ValueError(f"span is {span}, expected at least 0 samples")
        self._span = span
        self._values: deque[tuple[int, FloatArray]] = deque()

    def reset(self) -> None:
        """Forget everything, as after a gap."""
        self._values.clear()

    def state(self) -> list[list[Any]]:
        """Return the remembered values as JSON values: index and values of each."""
        return [[at, values.tolist()] for at, values in self._values]

    def restore(self, state: Sequence[Sequence[Any]], n_values: int) -> None:
        """Take over what :meth:`state` returned, of so many values each; raise ``ValueError`` where it is something else."""
        kept = [(at, np.asarray(values, np.float32)) for at, values in state]
        if not all(isinstance(at, int) and values.shape == (n_values,) for at, values in kept):
            raise ValueError(f"no state of an average over {n_values} values")
        self._values = deque(kept)

    def push(self, at_sample: int, values: FloatArray) -> FloatArray:
        """Take the values decided at an index and return the mean, shape as ``values``, float32."""
        self._values.append((at_sample, values))
        while self._values[0][0] < at_sample - self._span:
            self._values.popleft()
        stacked = np.stack([kept for _, kept in self._values])
        mean: FloatArray = np.asarray(np.mean(stacked, axis=0, dtype=np.float64), np.float32)
        return mean

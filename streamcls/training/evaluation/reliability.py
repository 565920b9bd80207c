"""Whether posteriors mean what they say: expected calibration error and the bins of a reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.training.evaluation.bootstrap import divided

if TYPE_CHECKING:
    from streamcls.training.evaluation.bootstrap import Array, Resamples

__all__ = ["reliability"]

_BINS: Final = 15
_DIGITS: Final = 4


def reliability(confidence: Array, correct: Array, resamples: Resamples) -> dict[str, Any]:
    """Return ``calibration_error`` with its interval, and ``reliability``: the filled bins as [confidence, accuracy, count].

    The error is the mean distance of confidence and accuracy over 15 bins of equal width, weighted by their counts, 0 to 1
    (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Parameters
    ----------
    confidence
        Shape (n,), 0 to 1.
    correct
        Shape (n,): whether the item was right.
    """
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    counts, sums, right = (resamples.totals(bins, _BINS, part) for part in (None, confidence, correct))
    error = divided(np.abs(sums - right).sum(axis=1), counts.sum(axis=1))
    filled = [
        [round(float(sums[0, i] / counts[0, i]), _DIGITS), round(float(right[0, i] / counts[0, i]), _DIGITS), int(counts[0, i])]
        for i in range(_BINS)
        if counts[0, i]
    ]  # fmt: skip
    return {**resamples.figure("calibration_error", error), "reliability": filled}

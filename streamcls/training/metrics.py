"""Figures of merit, from arrays alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamcls.types import FloatArray

__all__ = [
    "average_precision",
    "bootstrap_interval",
    "confusion",
    "expected_calibration_error",
    "per_class",
    "ratio",
]

_BINS: Final = 15
_RESAMPLES: Final = 1_000
_LOW, _HIGH = 2.5, 97.5
_DIGITS: Final = 4

Integers = np.ndarray[Any, np.dtype[np.int64]]


def ratio(part: float, whole: float) -> float | None:
    """Return ``part / whole``, rounded, or None where there is nothing to divide by."""
    return round(float(part) / float(whole), _DIGITS) if whole else None


def confusion(truth: Integers, predicted: Integers, n: int) -> Integers:
    """Count, shape (n, n): rows are the truth, columns the prediction."""
    matrix = np.zeros((n, n), np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def per_class(matrix: Integers, labels: tuple[str, ...]) -> dict[str, dict[str, float | int | None]]:
    """Return count, precision, recall and F1 of each class from a confusion matrix."""
    result: dict[str, dict[str, float | int | None]] = {}
    for i, label in enumerate(labels):
        hits, count, called = int(matrix[i, i]), int(matrix[i].sum()), int(matrix[:, i].sum())
        result[label] = {
            "count": count,
            "precision": ratio(hits, called),
            "recall": ratio(hits, count),
            "f1": ratio(2 * hits, count + called),
        }
    return result


def expected_calibration_error(confidence: FloatArray, correct: np.ndarray[Any, Any]) -> float:
    """Return the mean distance of confidence and accuracy over 15 bins of equal width, weighted by their counts, 0 to 1."""
    if not len(confidence):
        return 0.0
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    error = 0.0
    for i in range(_BINS):
        inside = bins == i
        if inside.any():
            error += inside.mean() * abs(float(confidence[inside].mean()) - float(correct[inside].mean()))
    return round(float(error), _DIGITS)


def average_precision(values: FloatArray, truth: np.ndarray[Any, Any]) -> float | None:
    """Return the area under the precision-recall curve (mean precision at each positive), None without positives."""
    positives = int(truth.sum())
    if not positives:
        return None
    order = np.argsort(-values, kind="stable")
    hits = truth[order].astype(bool)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return round(float(precision[hits].sum() / positives), _DIGITS)


def bootstrap_interval(groups: Integers, statistic: Callable[[Integers], float], seed: int = 0) -> list[float] | None:
    """Return both ends of the 95 % interval of a statistic by drawing whole groups with replacement.

    Parameters
    ----------
    groups
        Shape (n,): the recording of each item; items of one recording are drawn together.
    statistic
        From the indices of the items drawn.
    """
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    if len(members) < 2:  # noqa: PLR2004 - one group alone has no spread
        return None
    rng = np.random.default_rng(seed)
    values = [
        statistic(np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]))
        for _ in range(_RESAMPLES)
    ]
    return [round(float(end), _DIGITS) for end in np.percentile(values, (_LOW, _HIGH))]

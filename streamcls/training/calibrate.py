"""Calibration on the validation split: one temperature, and a threshold per label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from streamcls.training.losses import loss_of

if TYPE_CHECKING:
    from streamcls.types import FloatArray

__all__ = ["fit_temperature", "fit_thresholds"]

_COLDEST: Final = 0.1
_HOTTEST: Final = 10.0
_GRID: Final = 200
_HIGHEST_THRESHOLD: Final = 0.99
_DIGITS: Final = 4


def fit_temperature(logits: FloatArray, targets: FloatArray, weights: FloatArray, activation: str) -> float:
    """Return the temperature, 0.1 to 10, that gives the least cross-entropy; 1 where there is nothing to fit.

    Of labels that exclude each other, only windows that have one count: examples of none would cool every opinion down.
    """
    if activation == "softmax":
        weights = weights * (targets.max(axis=1, keepdims=True, initial=0.0) == 1.0)
    if not len(logits) or not weights.any():
        return 1.0
    candidates = np.geomspace(_COLDEST, _HOTTEST, _GRID)
    losses = [loss_of(logits / temperature, targets, weights, activation) for temperature in candidates]
    return round(float(candidates[int(np.argmin(losses))]), _DIGITS)


def fit_thresholds(
    posteriors: FloatArray,
    targets: FloatArray,
    weights: FloatArray,
    labels: tuple[str, ...],
    *,
    rate: float,
    lowest: float,
) -> dict[str, float]:
    """Return per label the smallest threshold that at most ``rate`` of the windows without the label exceed.

    Parameters
    ----------
    posteriors, targets, weights
        Shape (n, n_labels).
    lowest
        No threshold is below it; none is above 0.99.
    """
    thresholds = {}
    for i, label in enumerate(labels):
        negatives = posteriors[(weights[:, i] > 0) & (targets[:, i] == 0), i]
        wanted = float(np.quantile(negatives, 1.0 - rate, method="higher")) if len(negatives) else lowest
        thresholds[label] = round(min(max(wanted, lowest), _HIGHEST_THRESHOLD), _DIGITS)
    return thresholds

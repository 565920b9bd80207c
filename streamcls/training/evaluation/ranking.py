"""How well a posterior puts the positives before the negatives: ROC and precision-recall curves, and their areas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.training.evaluation.bootstrap import divided, rounded

if TYPE_CHECKING:
    from streamcls.training.evaluation.bootstrap import Array, Resamples

__all__ = ["areas", "curves"]

_EDGES: Final = 256
"""For the intervals, values are ranked into so many steps of the positives and as many of the negatives."""
_POINTS: Final = 101
"""Of a curve that is drawn."""


def areas(values: Array, truth: Array, resamples: Resamples) -> dict[str, Any]:
    """Return ``roc_auc`` and ``average_precision`` with their intervals; None where one kind of item is missing.

    Ties count as one threshold: a trapezoid of the ROC curve, one step of the precision-recall curve (average precision is
    the sum of each step's recall times its precision, without interpolation).

    Parameters
    ----------
    values
        Shape (n,): posteriors.
    truth
        Shape (n,): whether the label applies.
    """
    truth = truth.astype(bool)
    if not truth.any() or truth.all():
        nothing = np.full(len(resamples), np.nan)
        return resamples.figure("roc_auc", nothing) | resamples.figure("average_precision", nothing)
    result: dict[str, Any] = {}
    exact = _areas(*(part[None] for part in _counts(values, truth)))
    cells, n_cells = _steps(values, truth)
    hits = resamples.totals(cells, n_cells, truth)
    drawn = _areas(np.cumsum(hits, axis=1), np.cumsum(resamples.totals(cells, n_cells, ~truth), axis=1))
    for name, point, spread in zip(("roc_auc", "average_precision"), exact, drawn, strict=True):
        result |= {name: rounded(point[0]), f"{name}_95": resamples.interval(spread)}
    return result


def curves(values: Array, truth: Array) -> dict[str, list[float]] | None:
    """Return points of both curves, from the highest threshold down; None where one kind of item is missing."""
    truth = truth.astype(bool)
    if not truth.any() or truth.all():
        return None
    hits, false = _counts(values, truth)
    kept = np.unique(np.linspace(0, len(hits) - 1, _POINTS).astype(int))
    precision = hits / (hits + false)
    named = {"false_positive_rate": false / false[-1], "recall": hits / hits[-1], "precision": precision}
    return {name: [round(float(value), 4) for value in line[kept]] for name, line in named.items()}


def _counts(values: Array, truth: Array) -> tuple[Array, Array]:
    """Count the positives and negatives at or above each distinct value, from the highest down."""
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    hits = np.cumsum(truth[order])[ends]
    return hits.astype(float), (ends + 1 - hits).astype(float)


def _steps(values: Array, truth: Array) -> tuple[Array, int]:
    """Rank values, the highest first, into few steps that are fine wherever positives or negatives lie."""
    quantiles = np.linspace(0, 1, _EDGES)
    edges = np.unique(np.concatenate([np.quantile(part, quantiles) for part in (values[truth], values[~truth])]))
    cells = len(edges) - np.searchsorted(edges, values, side="right")
    return np.asarray(cells), len(edges) + 1


def _areas(hits: Array, false: Array) -> tuple[Array, Array]:
    """Integrate both curves from counts, shape (draws, thresholds), from the highest threshold down."""
    positives, negatives = hits[:, -1:], false[:, -1:]
    gained = np.diff(hits, axis=1, prepend=0.0)
    lost = np.diff(false, axis=1, prepend=0.0)
    area = divided((lost * (hits - gained / 2)).sum(axis=1), (positives * negatives)[:, 0])
    precision = np.nan_to_num(divided(hits, hits + false))
    return area, divided((gained * precision).sum(axis=1), positives[:, 0])

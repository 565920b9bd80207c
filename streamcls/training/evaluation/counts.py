"""Figures of merit from counts. Leading axes are kept, so that a figure and its resamples are computed at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls.training.evaluation.bootstrap import divided

if TYPE_CHECKING:
    from streamcls.training.evaluation.bootstrap import Array, Resamples

__all__ = ["confusion_cells", "confusion_figures", "detection_figures"]


def confusion_cells(truth: Array, predicted: Array, n: int) -> Array:
    """Return the cell of an (n, n) confusion matrix, row by row, into which each item falls; rows are the truth."""
    return np.asarray(truth * n + predicted)


def confusion_figures(matrices: Array, labels: tuple[str, ...], resamples: Resamples) -> dict[str, Any]:
    """Return ``accuracy``, ``mean_recall``, ``per_label`` and ``confusion``, with intervals.

    The mean recall is over the labels that occur; in a draw, over those that were drawn.

    Parameters
    ----------
    matrices
        Shape (1 + draws, n, n): rows are the truth, columns the prediction.
    """
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    counts, called = matrices.sum(axis=-1), matrices.sum(axis=-2)
    recall, precision = divided(hits, counts), divided(hits, called)
    f1 = divided(2 * hits, counts + called)
    present = counts > 0
    mean_recall = divided(np.where(present, recall, 0.0).sum(axis=-1), present.sum(axis=-1))
    per_label: dict[str, Any] = {}
    for i, label in enumerate(labels):
        per_label[label] = {"count": int(counts[0, i])}
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            per_label[label] |= resamples.figure(name, values[:, i])
    return {
        **resamples.figure("accuracy", divided(hits.sum(axis=-1), counts.sum(axis=-1))),
        **resamples.figure("mean_recall", mean_recall),
        "per_label": per_label,
        "confusion": matrices[0].astype(int).tolist(),
    }


def detection_figures(truth: Array, above: Array, resamples: Resamples) -> dict[str, Any]:
    """Return ``recall``, ``precision``, ``f1`` and ``false_positive_rate`` of a label that stands alone, with intervals.

    Parameters
    ----------
    truth, above
        Shape (n,), booleans: whether the label applies, and whether its posterior reaches the threshold.
    """
    # Cells: neither, false alarm, miss, hit.
    totals = resamples.totals(truth.astype(np.int64) * 2 + above.astype(np.int64), 4)
    clear, false, missed, hits = (totals[:, i] for i in range(4))
    return (
        resamples.figure("recall", divided(hits, hits + missed))
        | resamples.figure("precision", divided(hits, hits + false))
        | resamples.figure("f1", divided(2 * hits, 2 * hits + missed + false))
        | resamples.figure("false_positive_rate", divided(false, false + clear))
    )

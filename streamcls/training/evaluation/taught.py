"""How much of a teacher a student has taken over, on recordings that it never heard and of which only the teacher speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.training.evaluation.bootstrap import Resamples, rounded
from streamcls.training.evaluation.ranking import areas

if TYPE_CHECKING:
    from streamcls.training.evaluation.bootstrap import Array
    from streamcls.types import FloatArray

__all__ = ["taught_figures", "taught_markdown"]

_HEARD: Final = 0.5
"""The teacher's score from which on it has heard a label."""
_LEAST: Final = 1e-6
_FEWEST: Final = 10
"""Windows in which the teacher hears a label, below which the label has no figures."""


def taught_figures(
    posteriors: FloatArray, targets: FloatArray, labels: tuple[str, ...], groups: Array, *, exclusive: bool
) -> dict[str, Any]:
    """Compare a student's posteriors with its teacher's targets, both of shape (n, n_labels).

    Parameters
    ----------
    groups
        Shape (n,): the recording of each window.

    Returns
    -------
    ``windows``, ``recordings``; where each label stands alone ``explained``: the share of the teacher's cross-entropy beyond its own
    entropy that the student explains better than each label's mean does, at most 1, with its 95 % interval; where they exclude each
    other ``same_label``, the share of windows in which both find the same label likeliest (a student that is calibrated on known
    labels is surer than targets that were weighed, so that its cross-entropy would say little); ``labels``: of each label that the
    teacher hears often enough, how many windows those are and the student's ``average_precision`` in finding them.
    """
    resamples = Resamples(groups)
    result: dict[str, Any] = {"windows": len(targets), "recordings": resamples.n_groups}
    cells = np.zeros(len(targets), np.int64)
    if exclusive:
        same = (posteriors.argmax(axis=1) == targets.argmax(axis=1)).astype(np.float64)
        share = resamples.totals(cells, 1, same)[:, 0] / resamples.totals(cells, 1)[:, 0]
        result |= resamples.figure("same_label", share)
    else:
        constant = np.tile(targets.mean(axis=0), (len(targets), 1))
        costs = [_entropy(said, targets) for said in (posteriors, constant, targets)]
        student, means, itself = (resamples.totals(cells, 1, cost)[:, 0] for cost in costs)
        result |= resamples.figure("explained", (means - student) / np.maximum(means - itself, _LEAST))
    heard = targets >= _HEARD
    found: dict[str, Any] = {}
    for i, label in enumerate(labels):
        if int(heard[:, i].sum()) >= _FEWEST:
            found[label] = {"windows": int(heard[:, i].sum()), **areas(posteriors[:, i], heard[:, i], resamples)}
    result["labels"] = found
    if found:
        result["mean_average_precision"] = rounded(np.mean([row["average_precision"] for row in found.values()]))
    return result


def _entropy(said: FloatArray, targets: FloatArray) -> Array:
    """Return the cross-entropy of each window, summed over its labels, in nats, shape (n,)."""
    p = np.clip(said.astype(np.float64), _LEAST, 1.0 - _LEAST)
    total: Array = -(targets * np.log(p) + (1.0 - targets) * np.log(1.0 - p)).sum(axis=1)
    return total


def taught_markdown(figures: dict[str, Any]) -> str:
    """Write these figures as Markdown."""

    def percent(row: dict[str, Any], name: str) -> str:
        bounds = row.get(f"{name}_95")
        interval = f" ({100 * bounds[0]:.0f} to {100 * bounds[1]:.0f} %)" if bounds else ""
        return f"{100 * row[name]:.1f} %{interval}"

    where = f"On {figures['windows']} windows of {figures['recordings']} recordings without labels, which training never heard"
    if "same_label" in figures:
        lines = [f"{where}, model and teacher find the same label likeliest in {percent(figures, 'same_label')}."]
    else:
        lines = [f"{where}, {percent(figures, 'explained')} of what the teacher says beyond its means is explained."]
    if figures["labels"]:
        lines += [
            "",
            "| label | windows in which the teacher hears it | average precision in finding them |",
            "|---|---|---|",
        ]
        rows = sorted(figures["labels"].items(), key=lambda pair: -pair[1]["windows"])
        lines += [f"| {label} | {row['windows']} | {percent(row, 'average_precision')} |" for label, row in rows]
        lines += ["", f"Mean of the average precisions: {100 * figures['mean_average_precision']:.1f} %."]
    return "\n".join(lines) + "\n"

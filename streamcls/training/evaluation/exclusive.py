"""Figures of a model that chooses one of its labels, or none of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.training.evaluation.bootstrap import Resamples, divided
from streamcls.training.evaluation.counts import confusion_cells, confusion_figures
from streamcls.training.evaluation.ranking import areas, curves
from streamcls.training.evaluation.reliability import reliability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamcls.training.corpora import Clip
    from streamcls.training.evaluation.bootstrap import Array
    from streamcls.training.evaluation.tracks import Judgements
    from streamcls.types import FloatArray

__all__ = ["ENTER", "abstains", "by_corpus", "exclusive_curves", "exclusive_figures", "forced", "truths"]

ENTER: Final = 0.45
"""A genre is entered, i.e. the model does not abstain, where its posterior reaches this."""
_TINY: Final = 1e-9


def truths(clips: Sequence[Clip], labels: tuple[str, ...]) -> Array:
    """Return the number of each clip's label, -1 for a clip that has not exactly one or of which something is unknown."""
    return np.array(
        [labels.index(c.labels[0]) if len(c.labels) == 1 and not c.unknown and c.labels[0] in labels else -1 for c in clips],
        np.int64,
    )  # fmt: skip


def forced(values: FloatArray) -> FloatArray:
    """Drop the last column, the probability of none, and scale the others to 1, shape (n, n_labels): the forced choice."""
    real = np.maximum(values[:, :-1], _TINY)
    return np.asarray(real / real.sum(axis=1, keepdims=True), np.float32)


def abstains(values: FloatArray, enter: float = ENTER) -> Array:
    """Return whether a model names none of its labels, shape (n,): none is as likely as the best, or the best is unlikely."""
    best = values[:, :-1].max(axis=1)
    return np.asarray((values[:, -1] >= best) | (best < enter))


@dataclass(frozen=True, slots=True)
class _Items:
    """Items with one known label."""

    values: FloatArray
    truth: Array
    groups: Array


def _items(judgements: Judgements, truth: Array, groups: Array) -> _Items:
    kept = truth[judgements.clip_of] >= 0
    clip_of = judgements.clip_of[kept]
    return _Items(judgements.values[kept], truth[clip_of], groups[clip_of])


def exclusive_figures(judgements: Judgements, truth: Array, groups: Array, labels: tuple[str, ...]) -> dict[str, Any]:
    """Measure posteriors of windows, clips or spans whose clip has one label; every figure comes with its 95 % interval.

    Parameters
    ----------
    truth, groups
        Shape (n_clips,): each clip's label (see :func:`truths`) and recording.

    Returns
    -------
    ``count``, ``recordings``; ``accuracy``, ``mean_recall``, ``calibration_error``, ``reliability``, ``per_label`` and ``confusion``
    of the forced choice; ``answered``: coverage and accuracy where the model may abstain.
    """
    items = _items(judgements, truth, groups)
    if not len(items.truth):
        return {"count": 0, "recordings": 0}
    resamples, choice = Resamples(items.groups), forced(items.values)
    n = len(labels)
    predicted = choice.argmax(axis=1)
    correct = predicted == items.truth
    matrices = resamples.totals(confusion_cells(items.truth, predicted, n), n * n).reshape(-1, n, n)
    figures: dict[str, Any] = {"count": len(items.truth), "recordings": resamples.n_groups}
    figures |= confusion_figures(matrices, labels, resamples) | reliability(choice.max(axis=1), correct, resamples)
    for i, label in enumerate(labels):
        figures["per_label"][label] |= areas(choice[:, i], items.truth == i, resamples)
    names = ~abstains(items.values)
    right = names & correct
    figures["answered"] = {
        "enter": ENTER,
        "count": int(names.sum()),
        **resamples.figure("coverage", resamples.share(names)),
        **resamples.figure("accuracy", resamples.share(right, names)),
        **resamples.figure("wrong_of_all", resamples.share(names & ~correct)),
    }
    if names.any():
        best = items.values[names, :-1].max(axis=1)
        figures["answered"] |= reliability(best, correct[names], Resamples(items.groups[names]))
    return figures


def exclusive_curves(judgements: Judgements, truth: Array, groups: Array, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the points of each label's ROC and precision-recall curves, for the labels that have both."""
    items = _items(judgements, truth, groups)
    choice = forced(items.values)
    drawn = {label: curves(choice[:, i], items.truth == i) for i, label in enumerate(labels)}
    return {label: points for label, points in drawn.items() if points}


def by_corpus(
    windows: Judgements, per_clip: Judgements, truth: Array, groups: Array, clips: Sequence[Clip]
) -> dict[str, Any]:
    """Return the forced choice's accuracy by corpus, per window and per clip."""
    parts = (("window", _items(windows, truth, groups), windows), ("clip", _items(per_clip, truth, groups), per_clip))
    corpora = np.array([clip.corpus for clip in clips])
    result: dict[str, Any] = {}
    for name in sorted(set(corpora[truth >= 0].tolist())):
        result[name] = {}
        for unit, items, judgements in parts:
            inside = corpora[judgements.clip_of[truth[judgements.clip_of] >= 0]] == name
            if not inside.any():
                continue
            correct = forced(items.values[inside]).argmax(axis=1) == items.truth[inside]
            resamples = Resamples(items.groups[inside])
            share = divided(resamples.sums(correct), resamples.sums(np.ones(len(correct))))
            result[name][f"{unit}s"] = int(inside.sum())
            result[name] |= resamples.figure(f"{unit}_accuracy", share)
    return {name: row for name, row in result.items() if row}

"""Figures of a model whose labels each stand alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.training.evaluation.bootstrap import Resamples
from streamcls.training.evaluation.counts import detection_figures
from streamcls.training.evaluation.ranking import areas, curves
from streamcls.training.evaluation.reliability import reliability
from streamcls.training.sampling import targets_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.training.corpora import Clip
    from streamcls.training.evaluation.bootstrap import Array
    from streamcls.training.evaluation.tracks import Judgements

__all__ = [
    "DEFAULT_THRESHOLD",
    "clips_found",
    "independent_curves",
    "independent_figures",
    "known_targets",
    "speech_against_music",
]

DEFAULT_THRESHOLD: Final = 0.5
_SECONDS_PER_HOUR: Final = 3_600.0
_SOURCES_NAMED: Final = 5


def known_targets(clips: Sequence[Clip], labels: tuple[str, ...]) -> tuple[Array, Array]:
    """Return whether each label applies to each clip, and whether that is known: booleans, shape (n_clips, n_labels)."""
    pairs = [targets_of(clip, labels, exclusive=False) for clip in clips]
    targets, weights = (np.stack(part) > 0 for part in zip(*pairs, strict=True))
    return targets, weights


def independent_figures(
    judgements: Judgements,
    clips: Sequence[Clip],
    groups: Array,
    labels: tuple[str, ...],
    *,
    thresholds: Mapping[str, float],
    stride_s: float,
) -> dict[str, Any]:
    """Measure posteriors of windows, clips or spans label by label; every figure comes with its 95 % interval.

    Parameters
    ----------
    labels
        Of the columns; a column of NaN is a label that the model does not have, and is left out.
    stride_s
        Distance of two items in seconds, for false alarms per hour of sound without the label; 0 where items have no length.
    """
    targets, known = known_targets(clips, labels)
    found = np.array([f"{clip.corpus}/{clip.found}".rstrip("/") for clip in clips])
    result: dict[str, Any] = {}
    for i, label in enumerate(labels):
        rows = known[judgements.clip_of, i] & np.isfinite(judgements.values[:, i])
        if not rows.any():
            continue
        clip_of, value = judgements.clip_of[rows], judgements.values[rows, i]
        threshold = float(thresholds.get(label, DEFAULT_THRESHOLD))
        truth, above = targets[clip_of, i], value >= threshold
        resamples = Resamples(groups[clip_of])
        named, counts = np.unique(found[clip_of[~truth & above]], return_counts=True)
        most = np.argsort(-counts, kind="stable")[:_SOURCES_NAMED]
        row: dict[str, Any] = {
            "threshold": round(threshold, 4),
            "positives": int(truth.sum()),
            "recordings": len(np.unique(groups[clip_of[truth]])),
            "negatives": int((~truth).sum()),
            "negative_recordings": len(np.unique(groups[clip_of[~truth]])),
        }
        row |= detection_figures(truth, above, resamples) | areas(value, truth, resamples)
        row |= reliability(value, truth, resamples)
        if stride_s:
            rate = resamples.share(~truth & above, ~truth) * (_SECONDS_PER_HOUR / stride_s)
            row |= resamples.figure("false_windows_per_hour", rate)
        row["false_from"] = {str(named[k]): int(counts[k]) for k in most}
        result[label] = row
    return result


def clips_found(
    judgements: Judgements,
    clips: Sequence[Clip],
    groups: Array,
    labels: tuple[str, ...],
    thresholds: Mapping[str, float],
) -> dict[str, Any]:
    """Return, by label, the share of clips with it of which at least one window reaches the threshold."""
    targets, known = known_targets(clips, labels)
    result: dict[str, Any] = {}
    for i, label in enumerate(labels):
        above = judgements.values[:, i] >= thresholds.get(label, DEFAULT_THRESHOLD)
        heard = np.isin(np.arange(len(clips)), judgements.clip_of)
        with_it = np.flatnonzero(targets[:, i] & known[:, i] & heard)
        if not np.isfinite(judgements.values[:, i]).any():
            continue
        hit = np.isin(with_it, judgements.clip_of[above])
        result[label] = {"clips": len(with_it), "clip_recall": None, "clip_recall_95": None}
        if len(with_it):
            resamples = Resamples(groups[with_it])
            result[label] |= resamples.figure("clip_recall", resamples.share(hit))
    return result


def independent_curves(judgements: Judgements, clips: Sequence[Clip], labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the points of each label's ROC and precision-recall curves, for the labels that have both."""
    targets, known = known_targets(clips, labels)
    result: dict[str, Any] = {}
    for i, label in enumerate(labels):
        rows = known[judgements.clip_of, i] & np.isfinite(judgements.values[:, i])
        points = curves(judgements.values[rows, i], targets[judgements.clip_of[rows], i]) if rows.any() else None
        if points:
            result[label] = points
    return result


def speech_against_music(
    judgements: Judgements, clips: Sequence[Clip], groups: Array, labels: tuple[str, ...]
) -> dict[str, Any] | None:
    """Return how often speech has the larger posterior on speech and music on music; None without both labels and sounds."""
    if not {"speech", "music"} <= set(labels):
        return None
    speech, music = labels.index("speech"), labels.index("music")
    targets, known = known_targets(clips, labels)
    clear = known[:, speech] & known[:, music] & (targets[:, speech] != targets[:, music])
    chosen = judgements.of(clear)
    if not len(chosen) or not np.isfinite(chosen.values[:, [speech, music]]).all():
        return None
    said = chosen.values[:, speech] > chosen.values[:, music]
    truth = targets[chosen.clip_of, speech]
    result: dict[str, Any] = {}
    for name, part in (("speech", truth), ("music", ~truth)):
        if part.any():
            resamples = Resamples(groups[chosen.clip_of[part]])
            result[name] = {"count": int(part.sum()), "recordings": resamples.n_groups}
            result[name] |= resamples.figure("right", resamples.share((said == truth)[part]))
    resamples = Resamples(groups[chosen.clip_of])
    both = {"count": len(chosen), "recordings": resamples.n_groups}
    return result | {"both": both | resamples.figure("right", resamples.share(said == truth))}

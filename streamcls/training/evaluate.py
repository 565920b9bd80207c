"""Measuring a bundle on labelled clips: the same code for every model, through a backend, without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training import metrics
from streamcls.training.features import FeatureCache
from streamcls.training.sampling import targets_of
from streamcls.training.windows import cut_windows
from streamcls.types import FeatureWindow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamcls.inference import Bundle
    from streamcls.interfaces import Classifier
    from streamcls.training.corpora import Clip
    from streamcls.training.windows import WindowSet
    from streamcls.types import FloatArray

__all__ = ["Evaluation", "evaluate", "logits_of", "posteriors_of"]

SECONDS_PER_HOUR = 3_600.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured, as JSON values; ``streamcls.training.report`` makes tables of it.

    ``figures`` holds ``model``, ``version``, ``split``, ``clips``, ``windows``, ``corpora``, and either ``window`` and ``clip``
    (labels exclude each other) or ``labels`` (each stands alone).
    """

    figures: dict[str, Any]


def logits_of(classifier: Classifier, features: FloatArray) -> FloatArray:
    """Run a classifier over windows, shape (n, n_frames, n_features), and return its logits, shape (n, n_labels)."""
    return np.stack([classifier.logits(FeatureWindow("evaluation", window, 0, 0, 1, 0.0)) for window in features])


def posteriors_of(bundle: Bundle, logits: FloatArray) -> FloatArray:
    """Calibrate logits, shape (n, n_labels)."""
    return np.stack([bundle.calibration.posterior(row) for row in logits])


def evaluate(bundle: Bundle, classifier: Classifier, clips: Sequence[Clip], cache: Path, split: str) -> Evaluation:
    """Measure a bundle on the clips of one split (``all`` for every clip).

    Raises
    ------
    TrainingError
        There is nothing to measure.
    """
    chosen = [clip for clip in clips if split in ("all", clip.split) and not set(bundle.labels) <= set(clip.unknown)]
    window = bundle.manifest.window
    store = FeatureCache(cache, bundle.spec, window.n_frames)
    windows = cut_windows(chosen, store.all_frames(chosen), bundle.spec, window.n_frames, window.stride_frames)
    if not len(windows):
        raise TrainingError(
            f"the split {split!r} has no window of a label that {bundle.name} knows: {', '.join(bundle.labels)}"
        )
    posteriors = posteriors_of(bundle, logits_of(classifier, windows.features))
    figures = {
        "model": bundle.name,
        "version": bundle.manifest.version,
        "split": split,
        "clips": len(set(windows.clip_of.tolist())),
        "windows": len(windows),
        "window_s": round(bundle.window_s, 3),
        "corpora": _counts(windows),
    }
    if bundle.manifest.calibration.activation == "softmax":
        figures |= _exclusive(bundle, windows, posteriors)
    else:
        figures |= _independent(bundle, windows, posteriors)
    return Evaluation(figures)


def _counts(windows: WindowSet) -> dict[str, int]:
    counts: dict[str, int] = {}
    for index in sorted(set(windows.clip_of.tolist())):
        name = windows.clips[index].corpus
        counts[name] = counts.get(name, 0) + 1
    return counts


def _groups(windows: WindowSet) -> np.ndarray[Any, Any]:
    """Return the recording of each clip as a number."""
    return np.unique([clip.group for clip in windows.clips], return_inverse=True)[1]


def _interval_of_mean(groups: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> list[float] | None:
    return metrics.bootstrap_interval(groups, lambda drawn: float(right[drawn].mean()))


def _exclusive(bundle: Bundle, windows: WindowSet, posteriors: FloatArray) -> dict[str, Any]:
    labels, n = bundle.labels, bundle.n_labels
    truth_of_clip = np.array(
        [labels.index(c.labels[0]) if len(c.labels) == 1 and not c.unknown else -1 for c in windows.clips]
    )
    kept = truth_of_clip[windows.clip_of] >= 0
    clip_of, values = windows.clip_of[kept], posteriors[kept]
    others = posteriors[
        np.array([not windows.clips[i].labels and not windows.clips[i].unknown for i in windows.clip_of], bool)
    ]
    if not len(values):
        raise TrainingError("none of the clips has exactly one of the model's labels")
    groups = _groups(windows)
    result: dict[str, Any] = {}
    clips = np.unique(clip_of)
    means = np.stack([values[clip_of == clip].mean(axis=0) for clip in clips])
    for name, owner, scores in (("window", clip_of, values), ("clip", clips, means)):
        truth, predicted = truth_of_clip[owner], scores.argmax(axis=1)
        correct = predicted == truth
        matrix = metrics.confusion(truth, predicted, n)
        present = matrix.sum(axis=1) > 0
        recalls = np.diag(matrix)[present] / matrix.sum(axis=1)[present]
        result[name] = {
            "count": len(owner),
            "accuracy": metrics.ratio(float(correct.sum()), len(owner)),
            "accuracy_95": _interval_of_mean(groups[owner], correct),
            "mean_recall": round(float(recalls.mean()), 4),
            "calibration_error": metrics.expected_calibration_error(scores.max(axis=1), correct),
            "per_label": metrics.per_class(matrix, labels),
            "confusion": matrix.tolist(),
        }
    result["by_corpus"] = {}
    for name in sorted({windows.clips[clip].corpus for clip in clips}):
        of_window = np.array([windows.clips[clip].corpus == name for clip in clip_of])
        of_clip = np.array([windows.clips[clip].corpus == name for clip in clips])
        right = values.argmax(axis=1) == truth_of_clip[clip_of], means.argmax(axis=1) == truth_of_clip[clips]
        result["by_corpus"][name] = {
            "windows": int(of_window.sum()),
            "window_accuracy": round(float(right[0][of_window].mean()), 4),
            "clips": int(of_clip.sum()),
            "clip_accuracy": round(float(right[1][of_clip].mean()), 4),
        }
    if len(others):
        result["without_label"] = {
            "count": len(others),
            "mean_largest_posterior": round(float(others.max(axis=1).mean()), 4),
        }
    return result


def _independent(bundle: Bundle, windows: WindowSet, posteriors: FloatArray) -> dict[str, Any]:
    pairs = [targets_of(clip, bundle.labels, exclusive=False) for clip in windows.clips]
    targets, weights = (np.stack(part)[windows.clip_of] for part in zip(*pairs, strict=True))
    stride_s = bundle.stride_s(bundle.manifest.window.stride_frames)
    thresholds = bundle.manifest.calibration.thresholds
    groups = _groups(windows)[windows.clip_of]
    found = np.array([f"{windows.clips[i].corpus}/{windows.clips[i].found}".rstrip("/") for i in windows.clip_of])
    result: dict[str, Any] = {}
    for i, label in enumerate(bundle.labels):
        threshold = thresholds.get(label, 0.5)
        known = weights[:, i] > 0
        truth, above, value = targets[known, i] > 0, posteriors[known, i] >= threshold, posteriors[known, i]
        hits, positives, false = int((truth & above).sum()), int(truth.sum()), int((~truth & above).sum())
        clip = windows.clip_of[known]
        positive_clips, clips_found = np.unique(clip[truth]), np.unique(clip[truth & above])
        wrong_from, wrong_counts = np.unique(found[known][~truth & above], return_counts=True)
        result[label] = {
            "threshold": threshold,
            "positives": positives,
            "recordings": len(np.unique(groups[known][truth])),
            "negatives": int((~truth).sum()),
            "recall": metrics.ratio(hits, positives),
            "recall_95": _interval_of_mean(groups[known][truth], above[truth]),
            "precision": metrics.ratio(hits, hits + false),
            "f1": metrics.ratio(2 * hits, positives + hits + false),
            "average_precision": metrics.average_precision(value, truth),
            "false_positive_rate": metrics.ratio(false, int((~truth).sum())),
            "false_windows_per_hour": metrics.ratio(false * SECONDS_PER_HOUR, float((~truth).sum()) * stride_s),
            "clips": len(positive_clips),
            "clip_recall": metrics.ratio(len(clips_found), len(positive_clips)),
            "calibration_error": metrics.expected_calibration_error(value, truth),
            "false_from": dict(
                sorted(zip(wrong_from.tolist(), wrong_counts.tolist(), strict=True), key=lambda pair: -pair[1])[:5]
            ),
        }
    return {"labels": result}

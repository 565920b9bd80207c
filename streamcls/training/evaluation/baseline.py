"""A baseline without a network: means and deviations of MFCC over a window, and a support vector machine."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.evaluation.candidates import Candidate
from streamcls.training.evaluation.exclusive import truths
from streamcls.training.evaluation.independent import known_targets
from streamcls.training.evaluation.tracks import can_hear
from streamcls.training.features import FeatureCache
from streamcls.training.windows import cut_windows
from streamcls.types import FrontEndSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamcls.training.corpora import Clip
    from streamcls.training.evaluation.bootstrap import Array
    from streamcls.types import FloatArray

__all__ = ["summaries", "train_baseline"]

_COEFFICIENTS: Final = 20
_WINDOWS_PER_CLIP: Final = 6
_MOST_WINDOWS: Final = 4_000
_PENALTIES: Final = (1.0, 4.0, 16.0)
_WIDTHS: Final = (0.25, 1.0, 4.0)
"""Of the kernel, relative to scikit-learn's own choice, 1 / (features x variance)."""
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class _Summed:
    """Windows of a split, summed up: ``x`` of shape (n, n_summaries), ``clip_of`` of shape (n,)."""

    x: FloatArray
    clip_of: Array
    clips: tuple[Clip, ...]


def summaries(features: FloatArray) -> FloatArray:
    """Return mean and deviation over time of the first 20 coefficients and of their slopes, shape (n, 80).

    Parameters
    ----------
    features
        MFCC windows, shape (n, n_frames, n_mfcc). With fewer than 20 coefficients all are taken.
    """
    kept = features[:, :, :_COEFFICIENTS]
    slopes = np.gradient(kept, axis=1)
    parts = [part for values in (kept, slopes) for part in (values.mean(axis=1), values.std(axis=1))]
    return np.concatenate(parts, axis=1).astype(np.float32)


def train_baseline(like: Candidate, clips: Sequence[Clip], cache: Path, seed: int = 0) -> Candidate:
    """Train a baseline for a model's labels on the training split, and choose its two parameters on the validation split.

    Windows are summed up (see :func:`summaries`), standardised, and given to support vector machines with a radial kernel and balanced
    classes: one for labels that exclude each other, one for each label that stands alone. Both are calibrated on the validation split
    by Platt's method (Platt 1999, "Probabilistic outputs for support vector machines"), label by label. Of a clip at most six
    windows are taken, of all at most 4000.

    Parameters
    ----------
    like
        Gives labels, and front end and windows where its front end is MFCC; otherwise windows of the same length of the default one.

    Raises
    ------
    TrainingError
        scikit-learn is missing, or the training or validation split has too little.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise TrainingError("the baseline needs scikit-learn, which is not installed: pip install 'streamcls[train]'")
    spec, n_frames, stride = _front_end(like)
    empty = Candidate("svm", "1", like.labels, like.exclusive, spec, n_frames, stride, summaries, summaries)
    train, valid = (_summed(empty, clips, split, cache, seed) for split in ("train", "valid"))
    centre, scale = train.x.mean(axis=0), np.maximum(train.x.std(axis=0), np.float32(_TINY))
    fit = _exclusive if like.exclusive else _independent
    read, chosen, size = fit((train.x - centre) / scale, (valid.x - centre) / scale, train, valid, like.labels)

    def run(features: FloatArray) -> FloatArray:
        return np.asarray((summaries(features) - centre) / scale, np.float32)

    remark = (
        f"svm: mean and deviation of {_COEFFICIENTS} MFCC and their slopes over the window, support vector machine ({chosen}), trained on "
        f"{len(train.x)} windows of {len(np.unique(train.clip_of))} training clips, chosen and calibrated on the validation split."
    )
    facts = {"bytes": None, "parameters": size, "quantisation": "float64"}
    return Candidate(
        "svm", "1", like.labels, like.exclusive, spec, n_frames, stride, run, read, facts=facts, remarks=(remark,)
    )


def _front_end(like: Candidate) -> tuple[FrontEndSpec, int, int]:
    if like.spec.kind == "mfcc":
        return like.spec, like.n_frames, like.stride
    spec = FrontEndSpec(normalise="window")
    hop_s = spec.hop_length / spec.sample_rate
    return spec, max(round(like.window_s / hop_s), 2), max(round(like.stride_s / hop_s), 1)


def _summed(candidate: Candidate, clips: Sequence[Clip], split: str, cache: Path, seed: int) -> _Summed:
    """Sum up a split's windows: of each clip a few, of clips of precomputed features too."""
    known = [
        c for c in clips if c.split == split and can_hear(candidate, c) and not set(candidate.labels) <= set(c.unknown)
    ]
    if candidate.exclusive:
        known = [clip for clip, label in zip(known, truths(known, candidate.labels), strict=True) if label >= 0]
    store = FeatureCache(cache, candidate.spec, candidate.n_frames)
    rng = np.random.default_rng(seed)
    rows: list[FloatArray] = []
    clip_of: list[int] = []
    for index, clip in enumerate(known):
        found = cut_windows([clip], store.all_frames([clip]), candidate.spec, candidate.n_frames, candidate.stride)
        if len(found):
            kept = np.sort(rng.permutation(len(found))[:_WINDOWS_PER_CLIP])
            rows.append(summaries(found.features[kept]))
            clip_of += [index] * len(kept)
    if not rows:
        raise TrainingError(f"the baseline: the split {split!r} has no labelled window")
    x, owner = np.concatenate(rows), np.asarray(clip_of, np.int64)
    kept = np.sort(rng.permutation(len(x))[:_MOST_WINDOWS])
    return _Summed(x[kept], owner[kept], tuple(known))


def _machine(penalty: float, width: float, x: FloatArray) -> Any:
    from sklearn.svm import SVC

    gamma = width / (x.shape[1] * max(float(x.var()), _TINY))
    return SVC(C=penalty, gamma=gamma, class_weight="balanced", decision_function_shape="ovr")


def _decisions(machine: Any, x: FloatArray) -> FloatArray:
    """Return how much each class is preferred, shape (n, n_classes), also of two classes."""
    found = np.asarray(machine.decision_function(x), np.float32)
    return np.stack([-found, found], axis=1) if found.ndim == 1 else found


def _exclusive(
    x: FloatArray, x_valid: FloatArray, train: _Summed, valid: _Summed, labels: tuple[str, ...]
) -> tuple[Any, str, int]:
    from sklearn.linear_model import LogisticRegression

    truth = truths(train.clips, labels)[train.clip_of]
    truth_valid = truths(valid.clips, labels)[valid.clip_of]
    present = np.unique(truth)
    if len(present) < 2:  # noqa: PLR2004 - one class alone cannot be told from another
        raise TrainingError("the baseline: the training split has windows of one label only")

    best: tuple[float, Any, str] = (-1.0, None, "")
    for penalty, width in itertools.product(_PENALTIES, _WIDTHS):
        machine = _machine(penalty, width, x).fit(x, truth)
        right = machine.predict(x_valid) == truth_valid
        recall = float(np.mean([right[truth_valid == label].mean() for label in np.unique(truth_valid)]))
        if recall > best[0]:
            best = (recall, machine, f"C = {penalty:g}, {width:g} of the default kernel width")
    machine = best[1]
    calibrated = [
        LogisticRegression(class_weight="balanced").fit(_decisions(machine, x_valid)[:, [i]], truth_valid == label)
        if (truth_valid == label).any()
        else None
        for i, label in enumerate(present)
    ]

    def read(rows: FloatArray) -> FloatArray:
        decisions = _decisions(machine, rows)
        values = np.zeros((len(rows), len(labels) + 1), np.float32)
        for i, (label, one) in enumerate(zip(present, calibrated, strict=True)):
            if one is not None:
                values[:, label] = one.predict_proba(decisions[:, [i]])[:, 1]
        return np.asarray(values / np.maximum(values.sum(axis=1, keepdims=True), _TINY), np.float32)

    return read, best[2], int(machine.support_vectors_.size + machine.dual_coef_.size)


def _independent(
    x: FloatArray, x_valid: FloatArray, train: _Summed, valid: _Summed, labels: tuple[str, ...]
) -> tuple[Any, str, int]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    targets, known = (part[train.clip_of] for part in known_targets(train.clips, labels))
    targets_valid, known_valid = (part[valid.clip_of] for part in known_targets(valid.clips, labels))
    machines: list[tuple[Any, Any] | None] = []
    size = 0
    for i in range(len(labels)):
        rows, rows_valid = known[:, i], known_valid[:, i]
        truth, truth_valid = targets[rows, i], targets_valid[rows_valid, i]
        if truth.all() or not truth.any() or truth_valid.all() or not truth_valid.any():
            machines.append(None)
            continue
        best: tuple[float, Any] = (-1.0, None)
        for penalty, width in itertools.product(_PENALTIES, _WIDTHS):
            machine = _machine(penalty, width, x[rows]).fit(x[rows], truth)
            precision = float(average_precision_score(truth_valid, machine.decision_function(x_valid[rows_valid])))
            if precision > best[0]:
                best = (precision, machine)
        machine = best[1]
        size += int(machine.support_vectors_.size + machine.dual_coef_.size)
        said = machine.decision_function(x_valid[rows_valid])[:, None]
        machines.append((machine, LogisticRegression().fit(said, truth_valid)))

    def read(rows: FloatArray) -> FloatArray:
        values = np.full((len(rows), len(labels)), np.nan, np.float32)
        for i, pair in enumerate(machines):
            if pair is not None:
                values[:, i] = pair[1].predict_proba(pair[0].decision_function(rows)[:, None])[:, 1]
        return values

    return read, "one for each label", size

"""All figures of one model on clips that it has been run along."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.calibrate import fit_thresholds
from streamcls.training.evaluation.abstention import abstention
from streamcls.training.evaluation.exclusive import by_corpus, exclusive_curves, exclusive_figures, truths
from streamcls.training.evaluation.independent import (
    clips_found,
    independent_curves,
    independent_figures,
    known_targets,
    speech_against_music,
)
from streamcls.training.evaluation.spans import SPAN_STEP_S, over_spans
from streamcls.training.evaluation.tracks import joined
from streamcls.training.splits import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.training.corpora import Clip
    from streamcls.training.evaluation.bootstrap import Array
    from streamcls.training.evaluation.candidates import Candidate
    from streamcls.training.evaluation.tracks import Track
    from streamcls.types import FloatArray

__all__ = ["aligned", "check_split", "groups_of", "measured", "thresholds_at", "usable"]


def usable(clips: Sequence[Clip], labels: tuple[str, ...], split: str) -> list[Clip]:
    """Return the clips of a split (``all`` for every clip) of which at least one of the labels is known."""
    return [clip for clip in clips if split in ("all", clip.split) and not set(labels) <= set(clip.unknown)]


def check_split(clips: Sequence[Clip], split: str) -> None:
    """Make sure that a split (``all`` for every clip) has a clip at all.

    Raises
    ------
    TrainingError
        It has none; the message says where clips are.
    """
    if not any(split in ("all", clip.split) for clip in clips):
        counts = Counter(clip.split for clip in clips)
        found = ", ".join(f"{name} {counts[name]}" for name in SPLITS if counts[name]) or "no clips at all"
        raise TrainingError(
            f"the split {split!r} has no clip (there are: {found}); try --split valid or all, where 'all' counts what the model may "
            "have been trained on"
        )


def groups_of(clips: Sequence[Clip]) -> Array:
    """Return the recording of each clip as a number, shape (n_clips,)."""
    return np.asarray(np.unique([clip.group for clip in clips], return_inverse=True)[1])


def aligned(candidate: Candidate, labels: tuple[str, ...], *, exclusive: bool) -> Candidate:
    """Return a candidate with its posteriors in the order of other labels.

    A label that it does not have is 0 where labels exclude each other, NaN where each stands alone. What an exclusive one gives to labels
    that are not asked for counts as none of them.

    Raises
    ------
    TrainingError
        It has none of the labels, or is exclusive where the others are not.
    """
    if candidate.labels == labels and candidate.exclusive == exclusive:
        return candidate
    if candidate.exclusive != exclusive:
        raise TrainingError(
            f"{candidate.name}: its labels {'exclude each other' if candidate.exclusive else 'each stand alone'}, "
            f"those of the first model do not: give it a map (--map {candidate.name}=FILE)"
        )
    shared = [label for label in labels if label in candidate.labels]
    if not shared:
        raise TrainingError(
            f"{candidate.name}: it has none of the labels {', '.join(labels)}: give it a map (--map {candidate.name}=FILE)"
        )
    source = [candidate.labels.index(label) for label in shared]
    target = [labels.index(label) for label in shared]

    def read(outputs: FloatArray) -> FloatArray:
        own = candidate.read(outputs)
        values = np.full((len(own), len(labels) + exclusive), 0.0 if exclusive else np.nan, np.float32)
        values[:, target] = own[:, source]
        if exclusive:
            values[:, -1] = np.maximum(1.0 - values[:, :-1].sum(axis=1), 0.0)
        return values

    lacking = [label for label in labels if label not in shared]
    remarks = (f"{candidate.name}: has no {', '.join(lacking)}.",) if lacking else ()
    return replace(candidate, labels=labels, read=read, remarks=candidate.remarks + remarks)


def thresholds_at(
    candidate: Candidate, clips: Sequence[Clip], tracks: Sequence[Track], rate: float
) -> dict[str, float]:
    """Choose the smallest thresholds that at most this share of windows without the label exceeds, e.g. on the validation split."""
    windows = joined(tracks)
    targets, known = known_targets(clips, candidate.labels)
    kept = np.flatnonzero(np.isfinite(windows.values).all(axis=0))
    return fit_thresholds(
        windows.values[:, kept],
        targets[windows.clip_of][:, kept].astype(np.float32),
        known[windows.clip_of][:, kept].astype(np.float32),
        tuple(candidate.labels[i] for i in kept),
        rate=rate,
        lowest=0.0,
    )


def measured(
    candidate: Candidate,
    clips: Sequence[Clip],
    tracks: Sequence[Track],
    reference: Sequence[Track],
    *,
    thresholds: Mapping[str, float] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure a model.

    Parameters
    ----------
    tracks
        What it says along each clip.
    reference
        What the model says from whose windows the common spans are taken; the same as ``tracks`` where it is alone.
    thresholds
        By label, instead of its own.

    Returns
    -------
    Figures: ``window``, ``clip``, ``span``, ``by_corpus`` and ``without_label`` where labels exclude each other; ``labels``,
    ``clip_labels``, ``span_labels`` and ``speech_against_music`` where each stands alone. And the points of the curves by label,
    to be drawn.
    """
    if candidate.exclusive:
        return _exclusive(candidate, clips, tracks, reference)
    return _independent(candidate, clips, tracks, reference, thresholds or candidate.thresholds)


def _exclusive(
    candidate: Candidate, clips: Sequence[Clip], tracks: Sequence[Track], reference: Sequence[Track]
) -> tuple[dict[str, Any], dict[str, Any]]:
    labels, groups = candidate.labels, groups_of(clips)
    truth, windows = truths(clips, labels), joined(tracks)
    if not (truth[windows.clip_of] >= 0).any():
        raise TrainingError("none of the clips has exactly one of the model's labels")
    labelled = windows.of(truth >= 0)
    per_clip = labelled.per_clip()
    units = {"window": labelled, "clip": per_clip, "span": over_spans(tracks, reference)}
    figures: dict[str, Any] = {
        name: exclusive_figures(judgements, truth, groups, labels) for name, judgements in units.items()
    }
    figures["by_corpus"] = by_corpus(labelled, per_clip, truth, groups, clips)
    silent = abstention(windows, clips, groups, labels)
    if silent:
        figures["without_label"] = silent
    return figures, exclusive_curves(labelled, truth, groups, labels)


def _independent(
    candidate: Candidate,
    clips: Sequence[Clip],
    tracks: Sequence[Track],
    reference: Sequence[Track],
    thresholds: Mapping[str, float],
) -> tuple[dict[str, Any], dict[str, Any]]:
    labels, groups, windows = candidate.labels, groups_of(clips), joined(tracks)

    def figures_of(judgements: Any, stride_s: float) -> dict[str, Any]:
        return independent_figures(judgements, clips, groups, labels, thresholds=thresholds, stride_s=stride_s)

    per_window = figures_of(windows, candidate.stride_s)
    for label, row in clips_found(windows, clips, groups, labels, thresholds).items():
        per_window[label] |= row
    figures: dict[str, Any] = {
        "labels": per_window,
        "clip_labels": figures_of(windows.largest_per_clip(), 0.0),
        "span_labels": figures_of(over_spans(tracks, reference), SPAN_STEP_S),
    }
    told_apart = speech_against_music(windows, clips, groups, labels)
    if told_apart:
        figures["speech_against_music"] = told_apart
    return figures, independent_curves(windows, clips, labels)

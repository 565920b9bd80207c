"""Several models side by side on the same files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.evaluation.abstention import generated_abstention
from streamcls.training.evaluation.agreement import agreement
from streamcls.training.evaluation.bootstrap import rounded
from streamcls.training.evaluation.candidates import divided_by_means
from streamcls.training.evaluation.differences import detection_difference, difference
from streamcls.training.evaluation.exclusive import truths
from streamcls.training.evaluation.invariance import choose_clips, invariance
from streamcls.training.evaluation.latency import latency
from streamcls.training.evaluation.measure import (
    aligned,
    check_split,
    groups_of,
    measured,
    thresholds_at,
    usable,
)
from streamcls.training.evaluation.tracks import can_hear, joined, judge_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from streamcls.training.corpora import Clip
    from streamcls.training.evaluation.candidates import Candidate
    from streamcls.training.evaluation.tracks import Track

__all__ = ["FALSE_POSITIVE_RATE", "Comparison", "Extras", "compare", "with_means"]

FALSE_POSITIVE_RATE: Final = 0.002
"""At which thresholds of models without their own are chosen, unless the recipe says another."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What is measured beside accuracy.

    Attributes
    ----------
    broadcast
        Number of clips that are sent through a broadcast chain; 0 for none.
    music
        Unlabelled music by name, on which the models' agreement is measured.
    time
        Whether the models are timed.
    false_positive_rate
        Of the thresholds of models without their own.
    """

    broadcast: int = 0
    music: Mapping[str, Sequence[Clip]] = field(default_factory=dict)
    time: bool = True
    false_positive_rate: float = FALSE_POSITIVE_RATE


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was measured, as JSON values; ``streamcls.training.evaluation.tables`` makes tables of it.

    Attributes
    ----------
    figures
        ``subject``, ``split``, ``labels``, ``exclusive``, ``clips``, ``corpora``, ``remarks``; ``candidates``: by name, what ``measured``
        returns, and ``facts``, ``thresholds``, ``difference`` (to the subject, on the same clips) and ``generated`` (abstention on sounds
        made here); ``precomputed``: the same for clips that only some candidates can hear; ``agreement`` and ``broadcast`` where they
        were asked for.
    curves
        By candidate and label, the points of the ROC and precision-recall curves.
    """

    figures: dict[str, Any]
    curves: dict[str, Any]


def with_means(candidate: Candidate, clips: Sequence[Clip], cache: Path, split: str = "valid") -> Candidate | None:
    """Return a variant of a mapped exclusive model whose scores are divided by their means over a split; None without clips.

    The mean is of the clips' averages, over clips with one label, each label counted alike.
    """
    chosen = [clip for clip in usable(clips, candidate.labels, split) if can_hear(candidate, clip)]
    truth = truths(chosen, candidate.labels) if chosen else np.zeros(0, np.int64)
    kept = [clip for clip, label in zip(chosen, truth, strict=True) if label >= 0]
    if not kept:
        return None
    per_clip = joined(judge_all(candidate, kept, cache)).per_clip()
    label = truths(kept, candidate.labels)[per_clip.clip_of]
    means = np.mean([per_clip.values[label == one, :-1].mean(axis=0) for one in np.unique(label)], axis=0)
    where = f"the {split} split ({len(kept)} clips of {len(np.unique(label))} labels, each label counted alike)"
    return divided_by_means(candidate, means, where)


def compare(
    candidates: Sequence[Candidate], clips: Sequence[Clip], cache: Path, split: str, extras: Extras | None = None
) -> Comparison:
    """Measure models side by side on the clips of one split (``all`` for every clip) that all of them can hear.

    Parameters
    ----------
    candidates
        The first is the subject: its labels are measured, and its windows give the common spans.

    Raises
    ------
    TrainingError
        There is nothing to measure, two candidates have one name, or one lacks the subject's labels.
    """
    extras = extras or Extras()
    names = [candidate.name for candidate in candidates]
    for name in names:
        if names.count(name) > 1:
            raise TrainingError(f"two of the models are called {name!r}: give one of them another name")
    subject = candidates[0]
    labels, exclusive = subject.labels, subject.exclusive
    models = [aligned(candidate, labels, exclusive=exclusive) for candidate in candidates]
    check_split(clips, split)
    chosen = usable(clips, labels, split)
    shared = [clip for clip in chosen if all(can_hear(model, clip) for model in models)]
    apart = [clip for clip in chosen if not all(can_hear(model, clip) for model in models)]
    limits = {model.name: _thresholds(model, clips, cache, extras.false_positive_rate) for model in models}
    if not shared:
        raise TrainingError(
            f"the split {split!r} has no clip of a label that {subject.name} knows and all models can hear"
        )
    kept, tracks = _heard(models, shared, cache)
    figures, curves = _side_by_side(models, kept, tracks, limits)
    result: dict[str, Any] = {
        "subject": subject.name,
        "split": split,
        "labels": list(labels),
        "exclusive": exclusive,
        "clips": len(kept),
        "recordings": len(np.unique(groups_of(kept))),
        "corpora": dict(sorted(Counter(clip.corpus for clip in kept).items())),
        "remarks": list(dict.fromkeys(remark for model in models for remark in model.remarks)),
        "candidates": figures,
    }
    for model in models:
        _add_facts(figures[model.name], model, limits[model.name])
    if extras.time:
        _add_latencies(figures, models)
    able = [model for model in models if all(can_hear(model, clip) for clip in apart)]
    if apart and able:
        kept_apart, tracks_apart = _heard(able, apart, cache)
        if exclusive and (truths(kept_apart, labels) >= 0).any():
            part, _ = _side_by_side(able, kept_apart, tracks_apart, limits)
            result["precomputed"] = {"clips": len(kept_apart), "candidates": part}
    if exclusive and extras.music and len(models) > 1:
        result["agreement"] = _agreements(models, extras.music, cache)
    if extras.broadcast:
        limited = [replace(model, thresholds=limits[model.name]) for model in models]
        result["broadcast"] = invariance(limited, choose_clips(kept, extras.broadcast))
    return Comparison(result, curves)


def _thresholds(model: Candidate, clips: Sequence[Clip], cache: Path, rate: float) -> dict[str, float]:
    """Return a model's own thresholds, or those of the validation split."""
    if model.exclusive or model.thresholds:
        return dict(model.thresholds)
    valid = [clip for clip in usable(clips, model.labels, "valid") if can_hear(model, clip)]
    return thresholds_at(model, valid, judge_all(model, valid, cache), rate) if valid else {}


def _heard(
    models: Sequence[Candidate], clips: Sequence[Clip], cache: Path
) -> tuple[list[Clip], dict[str, list[Track]]]:
    """Run all models along clips, and keep the clips of which each has a window."""
    tracks = {model.name: judge_all(model, clips, cache) for model in models}
    kept = [i for i in range(len(clips)) if all(said[i].active.any() for said in tracks.values())]
    if not kept:
        raise TrainingError("none of the clips is long enough for a window of every model")
    return [clips[i] for i in kept], {name: [said[i] for i in kept] for name, said in tracks.items()}


def _side_by_side(
    models: Sequence[Candidate],
    clips: Sequence[Clip],
    tracks: Mapping[str, Sequence[Track]],
    limits: Mapping[str, Mapping[str, float]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    reference = tracks[models[0].name]
    figures: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    for model in models:
        said = tracks[model.name]
        figures[model.name], curves[model.name] = measured(model, clips, said, reference, thresholds=limits[model.name])
        if model is not models[0]:
            differ = difference if model.exclusive else detection_difference
            figures[model.name]["difference"] = differ(models[0], model, (reference, said), clips, limits)
    return figures, curves


def _add_facts(figures: dict[str, Any], model: Candidate, limits: Mapping[str, float]) -> None:
    figures["facts"] = {
        "version": model.version,
        "window_s": round(model.window_s, 3),
        "stride_s": round(model.stride_s, 3),
        **model.facts,
    }
    if model.exclusive:
        figures["generated"] = generated_abstention(model)
    else:
        figures["thresholds"] = {label: rounded(value) for label, value in limits.items()}
        figures["thresholds_own"] = bool(model.thresholds)


def _add_latencies(figures: dict[str, Any], models: Sequence[Candidate]) -> None:
    """Time each model once, however many candidates read its outputs."""
    timed: dict[str, dict[str, Any]] = {}
    for model in models:
        which = model.key or model.name
        if which not in timed:
            timed[which] = latency(model)
        figures[model.name]["facts"]["latency"] = timed[which]


def _agreements(
    models: Sequence[Candidate], music: Mapping[str, Sequence[Clip]], cache: Path
) -> dict[str, dict[str, Any]]:
    """Return, by where the music comes from and by peer, how far the subject agrees with the peer."""
    result: dict[str, dict[str, Any]] = {}
    for place, clips in music.items():
        audio = [clip for clip in clips if all(can_hear(model, clip) for model in models)]
        if not audio:
            continue
        kept, tracks = _heard(models, audio, cache)
        means = {name: joined(said).per_clip().values for name, said in tracks.items()}
        subject = models[0]
        result[place] = {
            peer.name: agreement(means[subject.name], means[peer.name], groups_of(kept), subject.labels)
            for peer in models[1:]
        }
    return result

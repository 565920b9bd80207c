"""How much a model's posteriors change when a broadcast chain lies between the recording and the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import AudioError
from streamcls.frontend import StreamingFrontEnd
from streamcls.training.broadcast import STAGES, draw_chain, process
from streamcls.training.evaluation.bootstrap import Resamples
from streamcls.training.evaluation.tracks import judge_frames
from streamcls.training.features import mono_signal, repeat_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamcls.training.corpora import Clip
    from streamcls.training.evaluation.bootstrap import Array
    from streamcls.training.evaluation.candidates import Candidate
    from streamcls.types import FloatArray

__all__ = ["ALL_STAGES", "choose_clips", "invariance"]

ALL_STAGES: Final = "all of them"
_RATE: Final = 44_100
"""The chain works at this rate, whatever the models': a codec's band limit must not be hidden by a lower one."""
_SECONDS: Final = 12.0


def choose_clips(clips: Sequence[Clip], most: int, seed: int = 0) -> list[Clip]:
    """Draw clips of audio at random, of each recording at most one, about as many of each label."""
    rng = np.random.default_rng(seed)
    by_label: dict[str, list[Clip]] = {}
    groups: set[str] = set()
    for index in rng.permutation(len(clips)):
        clip = clips[index]
        if clip.row is None and clip.labels and clip.group not in groups:
            groups.add(clip.group)
            by_label.setdefault(clip.labels[0], []).append(clip)
    chosen: list[Clip] = []
    while len(chosen) < most and any(by_label.values()):
        for label in sorted(by_label):
            if by_label[label] and len(chosen) < most:
                chosen.append(by_label[label].pop())
    return chosen


def invariance(candidates: Sequence[Candidate], clips: Sequence[Clip], seed: int = 0) -> dict[str, Any]:
    """Compare each model's windows of the first 12 s of clips as they are and after each kind of stage alone, and after all together.

    Returns
    -------
    By candidate and stage: ``count`` windows of ``recordings``; ``mean_change``, the mean absolute difference of a window's posteriors,
    averaged over the labels; ``largest_change``, of the label that changes most, averaged over the windows; ``same_top``, the share of
    windows whose largest posterior (of an exclusive model: none of them included) is of the same label. For labels that stand alone,
    ``same_side``: the share of windows and labels that stay on their side of the threshold.
    """
    changed: dict[str, dict[str, list[tuple[FloatArray, FloatArray]]]] = {c.name: {} for c in candidates}
    heard = 0
    for index, clip in enumerate(clips):
        try:
            signal = mono_signal(clip.path, _RATE)[: round(_SECONDS * _RATE)]
        except AudioError:
            continue
        if not len(signal):
            continue
        heard += 1
        plain = {c.name: _values(c, signal) for c in candidates}
        for number, stage in enumerate((*STAGES, ALL_STAGES)):
            rng = np.random.default_rng((seed, index, number))
            chain = draw_chain(rng, stages=STAGES if stage == ALL_STAGES else (stage,), share=1.0)
            processed = process(chain, signal, _RATE)
            for candidate in candidates:
                pair = plain[candidate.name], _values(candidate, processed)
                changed[candidate.name].setdefault(stage, []).append(pair)
    figures = {c.name: {stage: _figures(c, pairs) for stage, pairs in changed[c.name].items()} for c in candidates}
    return {"clips": heard, "seconds": _SECONDS, "candidates": figures}


def _values(candidate: Candidate, signal: FloatArray) -> FloatArray:
    import soxr

    rate = candidate.spec.sample_rate
    there = np.asarray(soxr.resample(signal, _RATE, rate), np.float32)
    least = (candidate.n_frames - 1) * candidate.spec.hop_length + candidate.spec.frame_length
    frames = StreamingFrontEnd(candidate.spec).push(repeat_to(there, least))
    return judge_frames(candidate, frames, None).values


def _figures(candidate: Candidate, pairs: list[tuple[FloatArray, FloatArray]]) -> dict[str, Any]:
    owner = np.repeat(np.arange(len(pairs)), [len(first) for first, _ in pairs])
    before, after = (np.concatenate(part) for part in zip(*pairs, strict=True))
    change = np.abs(after - before)
    resamples = Resamples(owner)
    result: dict[str, Any] = {"count": len(owner), "recordings": resamples.n_groups}
    parts: dict[str, Array] = {
        "mean_change": change.mean(axis=1),
        "largest_change": change.max(axis=1),
        "same_top": before.argmax(axis=1) == after.argmax(axis=1),
    }
    if not candidate.exclusive:
        limits = np.array([candidate.thresholds.get(label, 0.5) for label in candidate.labels])
        parts["same_side"] = ((before >= limits) == (after >= limits)).mean(axis=1)
    for name, values in parts.items():
        result |= resamples.figure(name, resamples.share(values))
    return result

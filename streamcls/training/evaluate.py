"""Measuring a bundle on labelled clips: the same code for every model, through a backend, without TensorFlow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamcls.errors import TrainingError
from streamcls.training.evaluation.candidates import bundle_candidate, logits_of, posteriors_of
from streamcls.training.evaluation.measure import check_split, measured, usable
from streamcls.training.evaluation.tracks import judge_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamcls.inference import Bundle
    from streamcls.interfaces import Classifier
    from streamcls.training.corpora import Clip

__all__ = ["Evaluation", "evaluate", "logits_of", "posteriors_of"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured, as JSON values; ``streamcls.training.evaluation.report`` makes tables of it.

    Attributes
    ----------
    figures
        ``model``, ``version``, ``split``, ``clips``, ``windows``, ``window_s``, ``corpora``, and either ``window``, ``clip`` and so on
        (labels exclude each other) or ``labels`` and so on (each stands alone); see ``streamcls.training.evaluation.measure.measured``.
    curves
        By label, the points of its ROC and precision-recall curves.
    """

    figures: dict[str, Any]
    curves: dict[str, Any] = field(default_factory=dict)


def evaluate(
    bundle: Bundle,
    classifier: Classifier,
    clips: Sequence[Clip],
    cache: Path,
    split: str,
    *,
    background: tuple[str, ...] | None = None,
) -> Evaluation:
    """Measure a bundle on the clips of one split (``all`` for every clip).

    Parameters
    ----------
    background
        Labels of an exclusive model that mean none of the others; by default those that the bundle states.

    Raises
    ------
    TrainingError
        There is nothing to measure.
    """
    candidate = bundle_candidate(bundle, classifier, background=background)
    check_split(clips, split)
    chosen = usable(clips, bundle.labels, split)
    tracks = judge_all(candidate, chosen, cache)
    heard = [(clip, track) for clip, track in zip(chosen, tracks, strict=True) if track.active.any()]
    if not heard:
        raise TrainingError(
            f"the split {split!r} has no window of a label that {bundle.name} knows: {', '.join(bundle.labels)}"
        )
    kept, said = [clip for clip, _ in heard], [track for _, track in heard]
    figures, curves = measured(candidate, kept, said, said)
    head = {
        "model": bundle.name,
        "version": bundle.manifest.version,
        "split": split,
        "clips": len(kept),
        "windows": sum(int(track.active.sum()) for track in said),
        "window_s": round(bundle.window_s, 3),
        "corpora": dict(sorted(Counter(clip.corpus for clip in kept).items())),
    }
    return Evaluation(head | figures, curves)

"""Two models on the same items: how much they differ, with intervals of the difference itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls.training.evaluation.bootstrap import Resamples
from streamcls.training.evaluation.exclusive import forced, truths
from streamcls.training.evaluation.independent import DEFAULT_THRESHOLD
from streamcls.training.evaluation.spans import over_spans
from streamcls.training.evaluation.tracks import joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.training.corpora import Clip
    from streamcls.training.evaluation.candidates import Candidate
    from streamcls.training.evaluation.tracks import Judgements, Track

__all__ = ["detection_difference", "difference"]

Tracks = tuple["Sequence[Track]", "Sequence[Track]"]
"""What the subject and another model say along the same clips."""


def difference(
    subject: Candidate,
    other: Candidate,
    tracks: Tracks,
    clips: Sequence[Clip],
    limits: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Return by how much the subject's accuracy is above another model's, per clip and per common span.

    Returns
    -------
    For ``clip`` and ``span``: ``count``, ``recordings``, ``subject_better_by`` (a difference of accuracies, -1 to 1), ``same_label`` and
    ``mean_change``, the mean absolute difference of the posteriors.
    """
    del other, limits  # the forced choice has no thresholds
    truth, groups = truths(clips, subject.labels), _groups(clips)
    own, theirs = tracks
    labelled = truth >= 0
    pairs: dict[str, tuple[Judgements, Judgements]] = {
        "clip": (joined(own).of(labelled).per_clip(), joined(theirs).of(labelled).per_clip()),
        "span": (over_spans(own, own).of(labelled), over_spans(theirs, own).of(labelled)),
    }
    result: dict[str, Any] = {}
    for name, (first, second) in pairs.items():
        answer = truth[first.clip_of]
        ours, others = forced(first.values).argmax(axis=1), forced(second.values).argmax(axis=1)
        resamples = Resamples(groups[first.clip_of])
        gain = resamples.share((ours == answer).astype(float) - (others == answer).astype(float))
        change = np.abs(first.values - second.values).mean(axis=1)
        result[name] = {"count": len(first), "recordings": resamples.n_groups}
        result[name] |= resamples.figure("subject_better_by", gain)
        result[name] |= resamples.figure("same_label", resamples.share(ours == others))
        result[name] |= resamples.figure("mean_change", resamples.share(change))
    return result


def detection_difference(
    subject: Candidate,
    other: Candidate,
    tracks: Tracks,
    clips: Sequence[Clip],
    limits: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Return how far two models of labels that each stand alone differ over common spans, on the labels that both have.

    Returns
    -------
    For ``span``: ``count``, ``recordings``, ``mean_change`` and ``same_side``, the share of spans and labels on the same side of each
    model's threshold.
    """
    own, theirs = (over_spans(part, tracks[0]) for part in tracks)
    both = np.flatnonzero(np.isfinite(own.values).all(axis=0) & np.isfinite(theirs.values).all(axis=0))
    first, second = own.values[:, both], theirs.values[:, both]
    sides = []
    for model, values in ((subject, first), (other, second)):
        chosen = [limits[model.name].get(subject.labels[i], DEFAULT_THRESHOLD) for i in both]
        sides.append(values >= np.asarray(chosen))
    resamples = Resamples(_groups(clips)[own.clip_of])
    result: dict[str, Any] = {"count": len(own), "recordings": resamples.n_groups}
    result |= resamples.figure("mean_change", resamples.share(np.abs(first - second).mean(axis=1)))
    result |= resamples.figure("same_side", resamples.share((sides[0] == sides[1]).mean(axis=1)))
    return {"span": result}


def _groups(clips: Sequence[Clip]) -> np.ndarray[Any, Any]:
    return np.asarray(np.unique([clip.group for clip in clips], return_inverse=True)[1])

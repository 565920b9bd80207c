"""The windows on which a network is watched while it trains, and by which its best epoch is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamcls.training.sampling import targets_of

if TYPE_CHECKING:
    from streamcls.training.recipe import Recipe
    from streamcls.training.soft_labels import SoftLabels
    from streamcls.training.teacher import TeacherTrack
    from streamcls.training.windows import WindowSet
    from streamcls.types import FloatArray

__all__ = ["ValidationSet", "labelled_targets", "taught_targets"]


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Windows, shape (n, n_frames, n_features), with their targets and weights, each (n, n_labels)."""

    features: FloatArray
    targets: FloatArray
    weights: FloatArray

    def joined(self, other: ValidationSet) -> ValidationSet:
        """Put another set behind this one, both with the same total weight; an empty one changes nothing."""
        if not other.weights.any() or not self.weights.any():
            return self if self.weights.any() else other
        even = np.float32(self.weights.sum() / max(float(other.weights.sum()), 1e-12))
        return ValidationSet(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.targets, other.targets]),
            np.concatenate([self.weights, other.weights * even]),
        )


def labelled_targets(windows: WindowSet, recipe: Recipe) -> ValidationSet:
    """Return labelled windows with what is known of them.

    Where labels exclude each other, all labels weigh the same however many windows they have.
    """
    exclusive, labels = recipe.activation == "softmax", tuple(recipe.labels)
    if not len(windows):
        empty = np.zeros((0, len(labels)), np.float32)
        return ValidationSet(windows.features, empty, empty)
    pairs = [targets_of(clip, labels, exclusive=exclusive, background=recipe.background) for clip in windows.clips]
    targets, weights = (np.stack(part)[windows.clip_of] for part in zip(*pairs, strict=True))
    if exclusive:
        known = weights.max(axis=1)
        totals = (targets * known[:, None]).sum(axis=0)
        weights = weights * (targets @ (1.0 / np.maximum(totals, 1.0)).astype(np.float32))[:, None]
        weights *= np.float32(known.sum() / max(float(weights.max(axis=1).sum()), 1e-12))
    return ValidationSet(windows.features, targets, weights)


def taught_targets(windows: WindowSet, tracks: list[TeacherTrack], soft: SoftLabels, recipe: Recipe) -> ValidationSet:
    """Return windows of which nothing is known with what a teacher says of them.

    Parameters
    ----------
    tracks
        The scores of the recipe's labels along each clip of the set.
    """
    spec, window = recipe.spec, recipe.window
    hop_s, context_s = spec.hop_length / spec.sample_rate, recipe.distillation.context_s
    length_s = ((window.n_frames - 1) * spec.hop_length + spec.frame_length) / spec.sample_rate
    targets = np.zeros((len(windows), len(recipe.labels)), np.float32)
    for i, (clip, first) in enumerate(zip(windows.clip_of, windows.first_frames, strict=True)):
        start_s = float(first) * hop_s
        targets[i] = soft.targets(tracks[clip].over(start_s - context_s, start_s + length_s + context_s))
    known = np.ones(len(recipe.labels)) if recipe.activation == "softmax" else soft.mapped
    return ValidationSet(windows.features, targets, np.tile(known.astype(np.float32), (len(windows), 1)))

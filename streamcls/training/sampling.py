"""Drawing training batches: label, then recording, then clip, then a place in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.augment import Augmenter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamcls.frontend import Frames
    from streamcls.training.corpora import Clip
    from streamcls.training.recipe import Recipe
    from streamcls.training.soft_labels import SoftLabels
    from streamcls.training.space import FeatureSpace
    from streamcls.training.teacher import TeacherTrack
    from streamcls.types import FloatArray

__all__ = ["Batch", "Example", "Sampler", "active_starts", "make_examples", "none_of", "targets_of"]

_DOMINANT_DB: Final = 12.0
"""In a mixture, the labels of a sound that lies further below the other one are treated as unknown."""
_PRESENT: Final = 0.5
"""Targets from which on a label counts as there."""
_HEARD: Final = 0.3
"""Score from which on a teacher has heard a label; its posteriors of what it does hear are seldom higher."""
_UNLABELLED: Final = "?unlabelled"
_NEGATIVE: Final = "?negative"
"""Strata beside the labels, by names that no label may have."""
_TINY: Final = 1e-12
_MIX_UP_ALPHA: Final = 0.3


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step of the optimiser sees.

    Attributes
    ----------
    features
        Shape (batch, n_frames, n_features).
    targets, weights
        Shape (batch, n_labels); a weight of 0 marks a label of which nothing is known.
    teacher
        Shape (batch, n_classes): the teacher's posteriors, NaN where it said nothing; (batch, 0) without a teacher.
    """

    features: FloatArray
    targets: FloatArray
    weights: FloatArray
    teacher: FloatArray


@dataclass(frozen=True, slots=True)
class Example:
    """One training clip in memory.

    Attributes
    ----------
    bands
        Log-mel decibels, shape (n, n_bands).
    starts
        Frames at which a window may begin.
    targets, weights
        As in :class:`Batch`, from what is known of the clip.
    track, scores
        What a teacher says along it of its own classes, and of the recipe's labels; None where it says nothing.
    """

    clip: Clip
    bands: FloatArray
    starts: np.ndarray[Any, np.dtype[np.int64]]
    targets: FloatArray
    weights: FloatArray
    track: TeacherTrack | None
    scores: TeacherTrack | None = None


def active_starts(
    power: np.ndarray[Any, Any], n_frames: int, within_db: float | None
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the frames at which a window may begin so that its loudest frame comes within so many dB of the clip's loudest.

    Parameters
    ----------
    power
        Shape (n,): mean square of each frame.
    """
    count = len(power) - n_frames + 1
    if count < 1:
        return np.zeros(0, np.int64)
    if within_db is None:
        return np.arange(count)
    loudest = np.lib.stride_tricks.sliding_window_view(power, n_frames).max(axis=1)
    needed = max(float(power.max()), _TINY) * 10.0 ** (-within_db / 10.0)
    return np.flatnonzero(loudest >= needed)


def targets_of(
    clip: Clip, labels: tuple[str, ...], *, exclusive: bool, background: tuple[str, ...] = ()
) -> tuple[FloatArray, FloatArray]:
    """Return a clip's targets and their weights, each of shape (n_labels,).

    Where labels exclude each other, a negative clip (no label) asks for the first background label, and without one for the uniform
    distribution: the model is to be unsure.
    """
    targets = np.array([label in clip.labels for label in labels], np.float32)
    weights = np.array([label not in clip.unknown for label in labels], np.float32)
    if exclusive:
        if clip.unknown:
            weights[:] = 0.0
        elif not clip.labels:
            targets = none_of(labels, background)
        else:
            targets /= targets.sum()
    return targets, weights


def none_of(labels: tuple[str, ...], background: tuple[str, ...]) -> FloatArray:
    """Return the targets, shape (n_labels,), of a window that has none of the labels, where these exclude each other."""
    if not background:
        return np.full(len(labels), 1.0 / len(labels), np.float32)
    return np.array([label == background[0] for label in labels], np.float32)


def make_examples(
    heard: Iterable[tuple[Clip, Frames, TeacherTrack | None]],
    recipe: Recipe,
    space: FeatureSpace,
    soft: SoftLabels | None = None,
) -> list[Example]:
    """Bring clips into memory, each with what a teacher says along it; those too short for a window are left out."""
    labels, n_frames = tuple(recipe.labels), recipe.window.n_frames
    exclusive = recipe.activation == "softmax"
    examples = []
    for clip, part, track in heard:
        starts = active_starts(part.power, n_frames, clip.active_within_db)
        if not len(starts) or (clip.short == "skip" and len(part) <= n_frames):
            continue
        targets, weights = targets_of(clip, labels, exclusive=exclusive, background=recipe.background)
        scores = track.mapped(soft) if track is not None and soft is not None else None
        examples.append(Example(clip, space.bands(part), starts, targets, weights, track, scores))
    return examples


class _Stratum:
    """Recordings among which one is drawn: each as often as its corpus's ``share`` says, or that times the root of its length."""

    def __init__(self, groups: list[list[Example]], *, by_length: bool) -> None:
        self._groups = groups
        weights = np.array([group[0].clip.share for group in groups])
        if by_length:
            weights *= np.sqrt([sum(len(example.starts) for example in group) for group in groups])
        self._cumulative = np.cumsum(weights) / weights.sum()

    def draw(self, rng: np.random.Generator) -> Example:
        """Draw a recording, and one of its clips."""
        group = self._groups[min(int(np.searchsorted(self._cumulative, rng.random())), len(self._groups) - 1)]
        return group[rng.integers(len(group))]


class Sampler:
    """Draws batches for ever; deterministic by the recipe's seed.

    Labels are drawn evenly (times ``label_share``), then a recording among those of the label, so that a recording with fifty
    slices counts once, then one of its clips, then a window. Of audio without labels, long recordings are drawn more often.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        recipe: Recipe,
        space: FeatureSpace,
        n_classes: int = 0,
        soft: SoftLabels | None = None,
    ) -> None:
        self._soft = soft
        self._rng = np.random.default_rng(recipe.seed)
        self._recipe = recipe
        self._space = space
        self._n_classes = n_classes
        self._augmenter = Augmenter(recipe.augmentation, space.floor_db, self._rng)
        spec = space.spec
        self._hop_s = spec.hop_length / spec.sample_rate
        self._window_s = ((recipe.window.n_frames - 1) * spec.hop_length + spec.frame_length) / spec.sample_rate
        self._strata, self._stratum_weights = self._stratify(examples)

    def _stratify(self, examples: Sequence[Example]) -> tuple[list[_Stratum], FloatArray]:
        recipe = self._recipe
        strata: dict[str, dict[str, list[Example]]] = {}
        for example in examples:
            clip = example.clip
            keys = clip.labels or ((_UNLABELLED,) if not example.weights.any() else (_NEGATIVE,))
            for key in keys:
                strata.setdefault(key, {}).setdefault(clip.group, []).append(example)
        taught = [label for label in recipe.distillation.map if label not in strata and label not in recipe.background]
        if recipe.activation == "sigmoid" and strata.keys() & set(recipe.labels):
            for label in taught:
                if groups := self._heard_by_teacher(examples, label):
                    strata[label] = groups
        missing = [label for label in recipe.labels if label not in strata and label not in recipe.distillation.map]
        if missing:
            raise TrainingError(
                f"no training clip has the label {', '.join(missing)}; give it clips, or take it out of the recipe"
            )
        shares = {key: recipe.training.label_share.get(key.removeprefix("?"), 1.0) for key in strata}
        if _UNLABELLED in strata:
            others = sum(share for key, share in shares.items() if key != _UNLABELLED)
            part = recipe.distillation.unlabelled_share if self._n_classes else 0.0
            shares[_UNLABELLED] = others * part / max(1.0 - part, _TINY) if others else 1.0
        weights = np.array(list(shares.values()), np.float32)
        ready = [_Stratum(list(groups.values()), by_length=key == _UNLABELLED) for key, groups in strata.items()]
        return ready, weights / weights.sum()

    def _heard_by_teacher(self, examples: Sequence[Example], label: str) -> dict[str, list[Example]]:
        """Return, by recording, the windows in whose middle a teacher hears a label that no clip has."""
        column = tuple(self._recipe.labels).index(label)
        groups: dict[str, list[Example]] = {}
        for example in examples:
            if example.scores is None or example.weights[column]:
                continue
            moments = example.scores.moments(column, _HEARD)
            centres = example.starts * self._hop_s + self._window_s / 2
            near = np.abs(centres[:, None] - moments[None, :]).min(axis=1, initial=np.inf) <= self._window_s / 4
            if near.any():
                groups.setdefault(example.clip.group, []).append(replace(example, starts=example.starts[near]))
        return groups

    def batch(self, size: int) -> Batch:
        """Draw a batch."""
        table, rng = self._recipe.augmentation, self._rng
        bands, targets, weights, teacher = self._draw(size)
        if not table.is_off:
            bands = self._augmenter.colour(bands)
            if table.mix:
                bands, targets, weights, teacher = self._mix(bands, targets, weights, teacher)
            if table.nothing:
                bands, targets, weights, teacher = self._nothing(bands, targets, weights, teacher)
            bands = self._augmenter.channel(bands)
        features = self._space.features(bands)
        if table.mix_up:
            blended = rng.random(size) < table.mix_up
            first = np.where(blended, rng.beta(_MIX_UP_ALPHA, _MIX_UP_ALPHA, size), 1.0).astype(np.float32)
            order = rng.permutation(size)
            known = weights * weights[order]
            weights = np.where(blended[:, None], known, weights)
            features = _blend(features, features[order], first)
            targets = _blend(targets, targets[order], first)
            teacher = np.where(blended[:, None], _blend(teacher, teacher[order], first), teacher)
        return Batch(features, targets, weights, teacher)

    def plain(self, size: int) -> FloatArray:
        """Draw features without augmentation, shape (size, n_frames, n_features): representative data for quantisation.

        They are the same whatever has been drawn before.
        """
        state = self.getstate()
        self._rng.bit_generator.state = np.random.default_rng(self._recipe.seed).bit_generator.state
        features = self._space.features(self._draw(size)[0])
        self.setstate(state)
        return features

    def _draw(self, size: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        n_frames, rng = self._recipe.window.n_frames, self._rng
        bands = np.empty((size, n_frames, self._space.n_bands), np.float32)
        targets = np.empty((size, len(self._recipe.labels)), np.float32)
        weights = np.empty_like(targets)
        teacher = np.full((size, self._n_classes), np.nan, np.float32)
        for i, stratum in enumerate(rng.choice(len(self._strata), size, p=self._stratum_weights)):
            example = self._strata[stratum].draw(rng)
            start = int(example.starts[rng.integers(len(example.starts))])
            bands[i] = example.bands[start : start + n_frames]
            targets[i], weights[i] = example.targets, example.weights
            from_s, to_s = start * self._hop_s, start * self._hop_s + self._window_s
            if example.track is not None:
                teacher[i] = example.track.over(from_s, to_s)
            if example.scores is not None and self._soft is not None:
                context_s = self._recipe.distillation.context_s
                said = self._soft.targets(example.scores.over(from_s - context_s, to_s + context_s))
                self._teach(targets[i], weights[i], said, self._soft.mapped)
        return bands, targets, weights, teacher

    def _teach(self, targets: FloatArray, weights: FloatArray, said: FloatArray, mapped: np.ndarray[Any, Any]) -> None:
        """Let a teacher's targets for one window take the place of what nobody knows, and their share in what is known."""
        share = np.float32(self._recipe.distillation.label_share)
        if self._recipe.activation == "softmax":
            known = bool(weights.max() > 0)
            targets[:] = (1.0 - share) * targets + share * said if known else said
            weights[:] = 1.0
            return
        given = weights > 0
        targets[:] = np.where(given, np.where(mapped, (1.0 - share) * targets + share * said, targets), said)
        weights[mapped] = 1.0

    def getstate(self) -> dict[str, Any]:
        """Return the state of the generator, as JSON can hold it."""
        return dict(self._rng.bit_generator.state)

    def setstate(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._rng.bit_generator.state = state

    def _mix(
        self, bands: FloatArray, targets: FloatArray, weights: FloatArray, teacher: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        rng, table = self._rng, self._recipe.augmentation
        mixed = np.flatnonzero(rng.random(len(bands)) < table.mix)
        if not len(mixed):
            return bands, targets, weights, teacher
        other_bands, other_targets, other_weights, other_teacher = self._draw(len(mixed))
        snr = rng.uniform(*table.mix_snr_db, len(mixed)).astype(np.float32)
        bands, targets, weights, teacher = bands.copy(), targets.copy(), weights.copy(), teacher.copy()
        bands[mixed] = self._augmenter.mix(bands[mixed], self._augmenter.colour(other_bands), snr)
        # A label of the softer sound alone, far below the louder one, is neither right nor wrong.
        here, there = targets[mixed] >= _PRESENT, other_targets >= _PRESENT
        drowned = (there & ~here & (snr[:, None] > _DOMINANT_DB)) | (here & ~there & (snr[:, None] < -_DOMINANT_DB))
        either = np.maximum(targets[mixed], other_targets)
        known = (weights[mixed] * other_weights > 0) | (here & (weights[mixed] > 0)) | (there & (other_weights > 0))
        targets[mixed], weights[mixed] = either, (known & ~drowned).astype(np.float32)
        teacher[mixed] = np.maximum(teacher[mixed], other_teacher)
        return bands, targets, weights, teacher

    def _nothing(
        self, bands: FloatArray, targets: FloatArray, weights: FloatArray, teacher: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        rng, recipe = self._rng, self._recipe
        chosen = np.flatnonzero(rng.random(len(bands)) < recipe.augmentation.nothing)
        if not len(chosen):
            return bands, targets, weights, teacher
        bands, targets, weights, teacher = bands.copy(), targets.copy(), weights.copy(), teacher.copy()
        bands[chosen] = self._augmenter.noise((len(chosen), *bands.shape[1:]))
        silent = chosen[rng.random(len(chosen)) < 0.5]  # noqa: PLR2004 - one half
        bands[silent] = np.float32(self._space.floor_db)
        targets[chosen] = none_of(tuple(recipe.labels), recipe.background) if recipe.activation == "softmax" else 0.0
        weights[chosen] = 1.0
        teacher[chosen] = np.nan
        return bands, targets, weights, teacher


def _blend(first: FloatArray, second: FloatArray, share: FloatArray) -> FloatArray:
    """Blend two batches: ``share`` of the first, shape (batch,)."""
    weight = share.reshape(-1, *([1] * (first.ndim - 1)))
    return first * weight + second * (1.0 - weight)

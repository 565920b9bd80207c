"""What a run trains on and watches: examples, windows of the validation split, and what a teacher says of both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.corpora import expand_variables
from streamcls.training.features import FeatureCache
from streamcls.training.renditions import render_all
from streamcls.training.sampling import Sampler, make_examples
from streamcls.training.soft_labels import SoftLabels, class_names
from streamcls.training.space import FeatureSpace
from streamcls.training.teacher import Teacher
from streamcls.training.validation import ValidationSet, labelled_targets, taught_targets
from streamcls.training.windows import cut_windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streamcls.frontend import Frames
    from streamcls.training.corpora import Clip
    from streamcls.training.recipe import Recipe
    from streamcls.training.teacher import TeacherTrack
    from streamcls.training.windows import WindowSet

__all__ = ["Material", "gather"]

_MOST_VALIDATION_WINDOWS: Final = 4_000


@dataclass(frozen=True, slots=True)
class Material:
    """All that a run needs besides the recipe.

    Attributes
    ----------
    labelled
        Windows of the validation split of which something is known: for calibration and goldens.
    valid
        The same with their targets, and beside them what a teacher says of unlabelled audio, where it maps to the labels.
    unlabelled, taught
        Windows of the test split of which only the teacher speaks, and what it says of them; None without such a teacher.
    n_classes
        Classes of the teacher, 0 for none.
    """

    sampler: Sampler
    space: FeatureSpace
    labelled: WindowSet
    valid: ValidationSet
    unlabelled: WindowSet | None
    taught: ValidationSet | None
    n_classes: int


def gather(recipe: Recipe, clips: Sequence[Clip], cache: Path, data: Mapping[str, Path]) -> Material:
    """Read the training and validation clips of a recipe.

    Raises
    ------
    TrainingError
        A split is empty, a label has no clip, or the teacher cannot be used.
    AudioError
        A file cannot be decoded.
    """
    parts = {split: [clip for clip in clips if clip.split == split] for split in ("train", "valid")}
    for split, part in parts.items():
        if not part:
            raise TrainingError(f"the split {split!r} has no clip: give the corpora more recordings, or other groups")
    space = FeatureSpace(recipe.spec)
    store = FeatureCache(cache, recipe.spec, recipe.window.n_frames)
    teacher = _teacher(recipe, cache, data)
    soft = _soft_labels(recipe, data)
    if soft is not None and teacher is not None and soft.n_classes != teacher.n_classes:
        raise TrainingError(
            f"distillation.classes names {soft.n_classes} classes, and the teacher puts out {teacher.n_classes} values"
        )
    heard = list(_plain(parts["train"], store, teacher))
    if soft is not None:
        _learn_typical(soft, [track for _, _, track in heard if track is not None])
    heard += render_all(parts["train"], store, teacher, recipe.broadcast)
    n_classes = teacher.n_classes if teacher is not None else 0
    sampler = Sampler(make_examples(heard, recipe, space, soft), recipe, space, n_classes, soft)
    known = _windows(recipe, [clip for clip in parts["valid"] if not _is_unknown(clip, recipe)], store)
    valid, unlabelled, taught = labelled_targets(known, recipe), None, None
    if teacher is not None and soft is not None:
        unknown, said = _taught(recipe, parts["valid"], store, teacher, soft)
        valid = valid.joined(said)
        known = known if len(known) else unknown
        unlabelled, taught = _taught(recipe, [clip for clip in clips if clip.split == "test"], store, teacher, soft)
    if not valid.weights.any():
        raise TrainingError(
            "of no window of the validation split is anything known, so that no epoch can be called the best: "
            "give it labelled recordings, or a teacher with distillation.map"
        )
    return Material(sampler, space, known, valid, unlabelled, taught, n_classes)


def _plain(
    clips: Sequence[Clip], store: FeatureCache, teacher: Teacher | None
) -> Iterator[tuple[Clip, Frames, TeacherTrack | None]]:
    tracks = teacher.tracks(clips) if teacher is not None else [None] * len(clips)
    yield from zip(clips, store.all_frames(clips), tracks, strict=True)


def _teacher(recipe: Recipe, cache: Path, data: Mapping[str, Path]) -> Teacher | None:
    table = recipe.distillation
    if not table.teacher:
        return None
    model = data.get("teacher") or Path(expand_variables(table.teacher, "distillation.teacher", "teacher"))
    return Teacher(model, table.sample_rate, cache)


def _soft_labels(recipe: Recipe, data: Mapping[str, Path]) -> SoftLabels | None:
    table = recipe.distillation
    if not table.map:
        return None
    path = data.get("classes") or Path(expand_variables(table.classes, "distillation.classes", "classes"))
    return SoftLabels(
        table.map,
        class_names(path),
        tuple(recipe.labels),
        exclusive=recipe.activation == "softmax",
        typical=table.typical,
    )


def _learn_typical(soft: SoftLabels, tracks: list[TeacherTrack]) -> None:
    if tracks:
        soft.learn_typical(np.stack([soft.scores(track.mean) for track in tracks]))


def _is_unknown(clip: Clip, recipe: Recipe) -> bool:
    """Tell whether nothing at all is known of a clip."""
    return len(clip.unknown) >= len(recipe.labels)


def _windows(recipe: Recipe, clips: list[Clip], store: FeatureCache) -> WindowSet:
    window = recipe.window
    cut = cut_windows(clips, store.all_frames(clips), recipe.spec, window.n_frames, window.stride_frames)
    return cut.thinned(_MOST_VALIDATION_WINDOWS, recipe.seed)


def _taught(
    recipe: Recipe, clips: list[Clip], store: FeatureCache, teacher: Teacher, soft: SoftLabels
) -> tuple[WindowSet, ValidationSet]:
    """Return windows of the clips of which nothing is known, and what a teacher says of them."""
    unknown = _windows(recipe, [clip for clip in clips if clip.row is None and _is_unknown(clip, recipe)], store)
    tracks = [teacher.track(clip.path).mapped(soft) for clip in unknown.clips]
    return unknown, taught_targets(unknown, tracks, soft, recipe)

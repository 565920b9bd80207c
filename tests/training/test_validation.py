from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamcls.training.corpora import Clip
from streamcls.training.recipe import parse_recipe
from streamcls.training.soft_labels import SoftLabels
from streamcls.training.teacher import TeacherTrack
from streamcls.training.validation import ValidationSet, labelled_targets, taught_targets
from streamcls.training.windows import WindowSet

RECIPE = """
name = "m"
version = "1"
task = "t"
activation = "{activation}"
{extra}
[labels]
a = ""
b = ""
other = ""
[front_end]
sample_rate = 16000
frame_length = 512
hop_length = 160
n_fft = 512
fmax = 8000.0
n_mels = 8
n_mfcc = 8
kind = "log_mel"
[window]
n_frames = 100
stride_frames = 100
[[corpus]]
name = "x"
path = "x"
[distillation]
teacher = "t"
classes = "c"
context_s = {context}
[distillation.map]
a = ["A"]
other = ["O"]
"""


def recipe(activation: str = "softmax", context: float = 0.0):
    extra = 'background = ["other"]' if activation == "softmax" else ""
    return parse_recipe(RECIPE.format(activation=activation, extra=extra, context=context))


def clip(*labels: str, unknown: tuple[str, ...] = ()) -> Clip:
    return Clip(Path("f"), "x", labels, unknown, "", "g", "valid")


def windows(clips: list[Clip], clip_of: list[int], first: list[int] | None = None) -> WindowSet:
    n = len(clip_of)
    return WindowSet(
        tuple(clips), np.zeros((n, 100, 8), np.float32), np.array(clip_of), np.array(first or [0] * n, np.int64)
    )


def test_labels_weigh_the_same_however_many_windows_they_have_and_nothing_is_background():
    valid = labelled_targets(windows([clip("a"), clip("b"), clip()], [0, 0, 0, 1, 2, 2]), recipe())
    np.testing.assert_array_equal(valid.targets.argmax(axis=1), [0, 0, 0, 1, 2, 2])
    totals = (valid.targets * valid.weights).sum(axis=0)
    np.testing.assert_allclose(totals, totals[0], rtol=1e-5)


def test_a_teacher_speaks_of_the_stretch_that_a_window_hears():
    soft = SoftLabels({"a": ("A",), "other": ("O",)}, ("A", "O"), ("a", "b", "other"), exclusive=True)
    rows = np.array([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4, np.float32)
    track = TeacherTrack(rows, 0.5).mapped(soft)
    cut = windows([clip(unknown=("a", "b", "other"))], [0, 0], [0, 250])
    near = taught_targets(cut, [track], soft, recipe())
    np.testing.assert_array_equal(near.targets.argmax(axis=1), [0, 2])
    np.testing.assert_array_equal(near.weights, 1.0)
    wide = taught_targets(cut, [track], soft, recipe(context=60.0))
    assert wide.targets[0] == pytest.approx(wide.targets[1])


def test_of_independent_labels_only_those_on_the_map_are_taught():
    soft = SoftLabels({"a": ("A",), "other": ("O",)}, ("A", "O"), ("a", "b", "other"), exclusive=False)
    track = TeacherTrack(np.array([[0.7, 0.2]], np.float32), 0.5).mapped(soft)
    taught = taught_targets(windows([clip()], [0]), [track], soft, recipe("sigmoid"))
    np.testing.assert_allclose(taught.targets, [[0.7, 0.0, 0.2]], atol=1e-6)
    np.testing.assert_array_equal(taught.weights, [[1.0, 0.0, 1.0]])


def test_joined_sets_have_the_same_weight_and_an_empty_one_changes_nothing():
    def made(n: int, weight: float) -> ValidationSet:
        return ValidationSet(
            np.zeros((n, 4, 2), np.float32), np.zeros((n, 3), np.float32), np.full((n, 3), weight, np.float32)
        )

    joined = made(2, 1.0).joined(made(6, 3.0))
    assert joined.weights[:2].sum() == pytest.approx(joined.weights[2:].sum())
    assert len(joined.features) == 8
    assert made(2, 1.0).joined(made(0, 1.0)).weights.sum() == 6.0
    assert len(made(0, 1.0).joined(made(2, 1.0)).features) == 2


def test_a_set_of_which_nothing_is_known_does_not_silence_the_other():
    features, zeros = np.zeros((2, 4, 2), np.float32), np.zeros((2, 3), np.float32)
    nothing, taught = ValidationSet(features, zeros, zeros), ValidationSet(features, zeros, zeros + 1)
    assert nothing.joined(taught).weights.all()
    assert taught.joined(nothing).weights.all()

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.frontend import Frames
from streamcls.training.corpora import Clip
from streamcls.training.recipe import parse_recipe
from streamcls.training.sampling import Sampler, active_starts, make_examples, targets_of
from streamcls.training.soft_labels import SoftLabels
from streamcls.training.space import FeatureSpace
from streamcls.training.teacher import TeacherTrack

N_FRAMES, BANDS = 8, 16
HEAD = """
name = "m"
version = "1"
task = "t"
{extra}
[labels]
a = ""
b = ""
c = ""
[front_end]
kind = "log_mel"
n_mels = 16
n_mfcc = 16
[window]
n_frames = 8
stride_frames = 4
[[corpus]]
name = "x"
path = "x"
"""
OFF = """
[augmentation]
gain_db = [0.0, 0.0]
equalise_db = 0.0
band_limit = 0.0
noise = 0.0
nothing = {nothing}
mix = {mix}
mix_snr_db = [{snr}, {snr}]
mix_up = 0.0
jitter_db = 0.0
shift_bands = 0
time_mask = 0.0
band_mask = 0.0
"""


def recipe(activation: str = "sigmoid", mix: float = 0.0, snr: float = 0.0, nothing: float = 0.0):
    return parse_recipe(
        HEAD.format(extra=f'activation = "{activation}"') + OFF.format(mix=mix, snr=snr, nothing=nothing)
    )


def clip(name: str, *labels: str, group: str = "", unknown: tuple[str, ...] = ()) -> Clip:
    return Clip(Path(name), "x", labels, unknown, "found", group or name, "train")


def sampler(plan, *clips: Clip) -> Sampler:
    """A sampler over clips whose bands all have the level of their place in the list, -10 dB apart."""
    space = FeatureSpace(plan.spec)
    frames = []
    for number in range(len(clips)):
        bands = np.full((30, BANDS), -10.0 * (number + 1), np.float32)
        moments = np.zeros(30)
        frames.append(Frames(0, bands, moments, moments, np.ones(30)))
    return Sampler(make_examples(zip(clips, frames, repeat(None), strict=False), plan, space), plan, space)


def test_a_window_counts_only_near_the_clips_loudest_frame():
    power = np.full(40, 1e-6)
    power[20] = 1.0
    assert active_starts(power, 8, 12.0).tolist() == list(range(13, 21))
    assert len(active_starts(power, 8, None)) == 33
    assert len(active_starts(power[:5], 8, None)) == 0


def test_targets_of_one_of_many_labels():
    labels = ("a", "b", "c", "d")
    assert targets_of(clip("1", "b"), labels, exclusive=True)[0].tolist() == [0, 1, 0, 0]
    negative, weights = targets_of(clip("1"), labels, exclusive=True)
    assert negative.tolist() == [0.25] * 4
    assert weights.tolist() == [1] * 4
    assert targets_of(clip("1", "b", unknown=("c",)), labels, exclusive=True)[1].tolist() == [0] * 4


def test_an_unknown_label_weighs_nothing():
    targets, weights = targets_of(clip("1", "a", unknown=("c",)), ("a", "b", "c"), exclusive=False)
    assert targets.tolist() == [1, 0, 0]
    assert weights.tolist() == [1, 1, 0]


def test_labels_are_drawn_evenly_and_recordings_within_a_label_too():
    slices = [clip(f"slice{i}", "a", group="one recording") for i in range(9)]
    drawn = sampler(recipe(), *slices, clip("alone", "a"), clip("b", "b"), clip("c", "c")).batch(3_000)
    counts = drawn.targets.sum(axis=0) / 3_000
    np.testing.assert_allclose(counts, 1 / 3, atol=0.04)
    levels = Counter(drawn.features[drawn.targets[:, 0] > 0].mean(axis=(1, 2)).round().tolist())
    assert levels[-100.0] == pytest.approx(500, rel=0.2)


def test_batches_repeat_by_seed():
    clips = (clip("a", "a"), clip("b", "b"), clip("c", "c"))
    one, two = sampler(recipe(mix=0.5), *clips), sampler(recipe(mix=0.5), *clips)
    for _ in range(3):
        np.testing.assert_array_equal(one.batch(16).features, two.batch(16).features)


def test_a_mixture_has_the_labels_of_both_sounds():
    drawn = sampler(recipe(mix=1.0, snr=0.0), clip("a", "a"), clip("b", "b"), clip("c", "c")).batch(200)
    assert set(drawn.targets.sum(axis=1)) == {1.0, 2.0}
    assert drawn.weights.all()


def test_the_labels_of_a_drowned_sound_are_unknown():
    drawn = sampler(recipe(mix=1.0, snr=20.0), clip("a", "a"), clip("b", "b"), clip("c", "c")).batch(200)
    both = drawn.targets.sum(axis=1) == 2.0
    assert both.any()
    assert set((drawn.targets * drawn.weights)[both].sum(axis=1)) == {1.0}


def test_what_is_unknown_of_either_sound_is_unknown_of_the_mixture_unless_the_other_has_it():
    clips = (clip("a", "a", unknown=("c",)), clip("b", "b"), clip("c", "c"))
    drawn = sampler(recipe(mix=1.0, snr=0.0), *clips).batch(400)
    rows = {tuple(target): tuple(weight) for target, weight in zip(drawn.targets, drawn.weights, strict=True)}
    assert rows[1.0, 1.0, 0.0] == (1.0, 1.0, 0.0)
    assert rows[1.0, 0.0, 1.0] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("activation", "expected"), [("sigmoid", 0.0), ("softmax", 1 / 3)])
def test_silence_and_noise_alone_have_no_label(activation, expected):
    drawn = sampler(recipe(activation, nothing=1.0), clip("a", "a"), clip("b", "b"), clip("c", "c")).batch(50)
    np.testing.assert_allclose(drawn.targets, expected)
    assert drawn.weights.all()


def test_a_label_without_clips_is_named():
    with pytest.raises(TrainingError, match="no training clip has the label b, c"):
        sampler(recipe(), clip("a", "a"))


def test_audio_for_a_teacher_alone_is_not_drawn_without_one():
    clips = (clip("a", "a"), clip("b", "b"), clip("c", "c"), clip("u", unknown=("a", "b", "c")))
    assert sampler(recipe(), *clips).batch(300).weights.all()


def test_a_corpus_of_a_larger_share_is_drawn_more_often():
    rare, often = clip("rare", "a"), replace(clip("often", "a"), share=3.0)
    drawn = sampler(recipe(), rare, often, clip("b", "b"), clip("c", "c")).batch(4_000)
    levels = Counter(drawn.features[drawn.targets[:, 0] > 0].mean(axis=(1, 2)).round().tolist())
    assert levels[-20.0] / levels[-10.0] == pytest.approx(3.0, rel=0.2)


def test_the_background_is_what_a_clip_without_label_asks_for():
    targets, weights = targets_of(clip("x"), ("a", "b", "c"), exclusive=True, background=("c",))
    np.testing.assert_array_equal(targets, [0, 0, 1])
    np.testing.assert_array_equal(weights, 1)


def taught_sampler(activation: str, label_share: float, context_s: float = 0.0) -> Sampler:
    """One clip with the label a and one of which nothing is known; a teacher says 0.8 a, 0.2 b of every moment of both."""
    text = HEAD.format(extra=f'activation = "{activation}"') + OFF.format(mix=0.0, snr=0.0, nothing=0.0)
    text += '[distillation]\nteacher = "t"\nclasses = "c"\n'
    text += f"label_share = {label_share}\nunlabelled_share = 0.5\ncontext_s = {context_s}\n"
    text += '[distillation.map]\na = ["A"]\nb = ["B"]\nc = ["C"]\n'
    plan = parse_recipe(text)
    space = FeatureSpace(plan.spec)
    soft = SoftLabels(plan.distillation.map, "ABC", tuple(plan.labels), exclusive=activation == "softmax")
    track = TeacherTrack(np.tile(np.array([[0.8, 0.2, 0.0]], np.float32), (4, 1)), 0.5)
    frames = Frames(0, np.zeros((30, BANDS), np.float32), np.zeros(30), np.zeros(30), np.ones(30))
    heard = [(item, frames, track) for item in (clip("known", "a"), clip("unknown", unknown=("a", "b", "c")))]
    return Sampler(make_examples(heard, plan, space, soft), plan, space, 3, soft)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_teacher_labels_what_nobody_knows_and_takes_its_share_of_what_is_known(activation):
    batch = taught_sampler(activation, 0.25).batch(400)
    np.testing.assert_array_equal(batch.weights, 1)
    known = batch.targets[:, 0] > 0.9
    assert 0.3 < known.mean() < 0.7
    np.testing.assert_allclose(batch.targets[known], [[0.95, 0.05, 0.0]] * int(known.sum()), atol=2e-3)
    np.testing.assert_allclose(batch.targets[~known], [[0.8, 0.2, 0.0]] * int((~known).sum()), atol=2e-3)
    np.testing.assert_allclose(batch.teacher, [[0.8, 0.2, 0.0]] * 400, atol=1e-6)


def test_a_sampler_goes_on_from_a_state():
    first = taught_sampler("softmax", 0.0)
    first.batch(7)
    state = first.getstate()
    expected = first.batch(9)
    other = taught_sampler("softmax", 0.0)
    other.setstate(state)
    again = other.batch(9)
    np.testing.assert_array_equal(again.targets, expected.targets)


def test_windows_in_which_a_teacher_hears_a_label_without_clips_are_sought_out():
    text = HEAD.format(extra='activation = "sigmoid"') + OFF.format(mix=0.0, snr=0.0, nothing=0.0)
    text += '[distillation]\nteacher = "t"\nclasses = "c"\n[distillation.map]\nc = ["C"]\n'
    plan = parse_recipe(text)
    space = FeatureSpace(plan.spec)
    soft = SoftLabels(plan.distillation.map, "ABC", tuple(plan.labels), exclusive=False)
    n = 2_000
    said = np.zeros((round(n * 512 / 22_050 / 0.5), 3), np.float32)
    said[40, 2] = 0.9
    frames = Frames(0, np.zeros((n, BANDS), np.float32), np.zeros(n), np.zeros(n), np.ones(n))
    heard = [
        (clip("a", "a"), frames, None),
        (clip("b", "b"), frames, None),
        (clip("long", unknown=("a", "b", "c")), frames, TeacherTrack(said, 0.975)),
    ]
    drawn = Sampler(make_examples(heard, plan, space, soft), plan, space, 3, soft).batch(900)
    assert (drawn.targets[:, 2] > 0.5).mean() == pytest.approx(0.25, abs=0.06)

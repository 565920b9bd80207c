from __future__ import annotations

import numpy as np
import pytest

from streamcls.frontend import features_of
from streamcls.training.augment import Augmenter, add_powers, level_of
from streamcls.training.recipe_tables import AugmentationTable
from streamcls.training.space import FeatureSpace
from streamcls.types import FrontEndSpec

FLOOR = -100.0
OFF = {
    "equalise_db": 0.0, "band_limit": 0.0, "noise": 0.0, "mix_up": 0.0, "nothing": 0.0, "jitter_db": 0.0, "shift_bands": 0,
    "time_mask": 0.0, "band_mask": 0.0, "gain_db": (0.0, 0.0),
}  # fmt: skip


def augmenter(seed: int = 0, **changes: float) -> Augmenter:
    return Augmenter(AugmentationTable(**(OFF | changes)), FLOOR, np.random.default_rng(seed))


def bands(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(-30, 10, (6, 20, 16)).astype(np.float32)


def test_adding_two_equal_sounds_gives_three_decibels():
    np.testing.assert_allclose(
        add_powers(np.float32([-20.0]), np.float32([-20.0])), [-20.0 + 10 * np.log10(2)], rtol=1e-5
    )


def test_adding_the_spectra_of_two_noises_is_near_the_spectrum_of_their_sum():
    rng = np.random.default_rng(2)
    spec = FrontEndSpec()
    space = FeatureSpace(spec)
    first, second = (gain * rng.standard_normal(22_050 * 4).astype(np.float32) for gain in (0.1, 0.05))
    separate = add_powers(*(space.bands(features_of(signal, spec)) for signal in (first, second)))
    together = space.bands(features_of(first + second, spec))
    assert abs(float((separate - together).mean())) < 0.5


def test_a_mixture_has_the_wanted_ratio():
    first, second = bands(1), bands(2) - 25.0
    snr = np.float32([-5, 0, 3, 6, 10, 20])
    mixed = augmenter().mix(first, second, snr)
    expected = level_of(first) + 10 * np.log10(1 + 10 ** (-snr / 10))
    np.testing.assert_allclose(level_of(mixed), expected, atol=0.01)


def test_with_everything_off_nothing_changes():
    original = bands()
    plain = augmenter()
    np.testing.assert_array_equal(plain.channel(plain.colour(original)), original)


@pytest.mark.parametrize(
    "change",
    [
        {"equalise_db": 6.0}, {"band_limit": 1.0}, {"noise": 1.0}, {"jitter_db": 1.0}, {"shift_bands": 3},
        {"time_mask": 0.9}, {"band_mask": 0.9},
    ],
)  # fmt: skip
def test_each_augmentation_changes_the_copy_and_not_the_original_and_repeats_by_seed(change):
    original = bands()
    before = original.copy()
    one, two, other = augmenter(4, **change), augmenter(4, **change), augmenter(5, **change)
    result = one.channel(one.colour(original))
    np.testing.assert_array_equal(original, before)
    assert not np.array_equal(result, original)
    np.testing.assert_array_equal(result, two.channel(two.colour(original)))
    assert not np.array_equal(result, other.channel(other.colour(original)))
    assert result.min() >= FLOOR
    assert result.dtype == np.float32


def test_equalisation_is_the_same_for_all_frames():
    change = augmenter(equalise_db=6.0).colour(bands()) - bands()
    np.testing.assert_allclose(change, np.broadcast_to(change[:, :1], change.shape), atol=1e-4)
    assert np.abs(np.diff(change[:, 0], axis=1)).max() < 12.0


def test_masks_touch_neighbouring_frames_only():
    changed = np.any(augmenter(time_mask=0.5).channel(bands()) != bands(), axis=2)
    assert changed.any()
    for row in changed:
        assert np.abs(np.diff(row.astype(int))).sum() <= 2
        assert row.sum() <= 10


def test_a_gain_moves_a_window_as_a_whole_but_not_below_the_floor():
    before = bands()
    before[:, :, 0] = FLOOR
    after = augmenter(gain_db=(-20.0, 10.0)).channel(before)
    assert after.min() >= FLOOR
    gains = np.median(after[:, :, 1:] - before[:, :, 1:], axis=(1, 2))
    assert len(set(gains.round(3).tolist())) == len(gains)
    assert gains.min() >= -20.0
    assert gains.max() <= 10.0

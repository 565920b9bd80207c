from __future__ import annotations

import numpy as np
import pytest
from signals import noise

from streamcls.runtime.lane import Lane
from streamcls.types import FrontEndSpec

SPEC = FrontEndSpec(
    kind="log_mel", sample_rate=16_000, frame_length=512, hop_length=256, n_fft=512, n_mels=40, n_mfcc=40, fmax=8000.0
)


def test_each_consumer_gets_windows_of_its_own_length_and_stride() -> None:
    lane = Lane("radio", 16_000, SPEC)
    assert (lane.add(10, 5), lane.add(30, 1)) == (0, 1)
    lane.reset(0)
    windows = lane.push(noise(16_000))
    frames = 1 + (16_000 - 512) // 256
    for consumer, n_frames, stride in ((0, 10, 5), (1, 30, 1)):
        own = [entry.window for entry in windows if entry.consumer == consumer]
        assert [w.first_sample for w in own] == list(range(0, (frames - n_frames) * 256 + 1, stride * 256))
        assert {(w.stream, w.sample_rate, w.features.shape, w.end_sample - w.first_sample) for w in own} == {
            ("radio", 16_000, (n_frames, 40), (n_frames - 1) * 256 + 512)
        }


@pytest.mark.parametrize(
    ("rate", "first", "end"), [(16_000, 1280, 4096), (8000, 640, 2048), (44_100, 3528, 11_290), (22_050, 1764, 5645)]
)
def test_a_window_covers_whole_samples_of_the_source(rate: int, first: int, end: int) -> None:
    """From the last sample not after its beginning to the first not before its end: model samples 1280 to 4096."""
    lane = Lane("radio", rate, SPEC)
    lane.add(10, 5)
    lane.reset(0)
    windows = lane.push(noise(rate)) + lane.flush()
    assert (windows[1].window.first_sample, windows[1].window.end_sample) == (first, end)


def test_a_reset_forgets_samples_and_frames() -> None:
    lane = Lane("radio", 44_100, SPEC)
    lane.add(10, 5)
    lane.reset(0)
    lane.push(np.ones(30_000, np.float32))
    lane.reset(1_000_000)
    got = lane.push(noise(44_100)) + lane.flush()
    fresh = Lane("radio", 44_100, SPEC)
    fresh.add(10, 5)
    fresh.reset(1_000_000)
    expected = fresh.push(noise(44_100)) + fresh.flush()
    assert [e.window.first_sample for e in got] == [e.window.first_sample for e in expected]
    assert got[0].window.first_sample >= 1_000_000
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.window.features, other.window.features)


def test_nothing_in_nothing_out() -> None:
    lane = Lane("radio", 44_100, SPEC)
    lane.add(10, 5)
    lane.reset(0)
    assert lane.push(np.zeros(0, np.float32)) == []
    assert lane.flush() == []


@pytest.mark.parametrize("first", [0, 999])
def test_without_resampling_a_lane_has_reached_what_it_was_given(first: int) -> None:
    lane = Lane("radio", 16_000, SPEC)
    lane.add(10, 5)
    lane.reset(first)
    lane.push(noise(5000))
    assert lane.reached == first + 5000

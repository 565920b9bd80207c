from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import noise, programme, real_signal

from streamcls.frontend import Frames, StreamingFrontEnd, Windower, features_of, windows_of
from streamcls.types import FrontEndSpec

MFCC = FrontEndSpec(n_mels=40, n_mfcc=20, normalise="window")
LOG_MEL = FrontEndSpec(kind="log_mel", normalise="window")


def _frames(first: int, n: int, spec: FrontEndSpec = LOG_MEL) -> Frames:
    index = np.arange(first, first + n, dtype=np.float64)
    features = np.repeat(index[:, None], spec.n_features, axis=1).astype(np.float32)
    return Frames(first, features, index, index**2, np.full(n, 0.01))


@settings(max_examples=200, deadline=None)
@given(
    first=st.integers(0, 500),
    parts=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    n_frames=st.integers(1, 30),
    stride=st.integers(1, 40),
)
def test_windows_begin_at_multiples_of_the_stride_and_none_is_left_out(
    first: int, parts: list[int], n_frames: int, stride: int
) -> None:
    plain = replace(LOG_MEL, normalise="none")
    windower, position, got = Windower(plain, n_frames, stride), first, []
    for n in parts:
        got += windower.push(_frames(position, n))
        position += n
    assert [w.first_frame for w in got] == [k for k in range(first, position - n_frames + 1) if k % stride == 0]
    for window in got:
        assert window.features[:, 0].tolist() == list(range(window.first_frame, window.first_frame + n_frames))
        assert window.level_dbfs == pytest.approx(-20.0)
    assert len(windower._kept) < n_frames + stride


def test_frames_that_do_not_follow_are_refused_unless_the_windower_is_reset() -> None:
    windower = Windower(LOG_MEL, 10, 1)
    windower.push(_frames(0, 5))
    with pytest.raises(ValueError, match="frame 7 follows frame 4: reset the windower at a gap"):
        windower.push(_frames(7, 5))
    windower.reset()
    assert [w.first_frame for w in windower.push(_frames(7, 10))] == [7]


@pytest.mark.parametrize(("n_frames", "stride"), [(0, 1), (1, 0)])
def test_a_window_of_nothing_is_refused(n_frames: int, stride: int) -> None:
    with pytest.raises(ValueError, match=f"n_frames is {n_frames} and stride {stride}"):
        Windower(LOG_MEL, n_frames, stride)


def _plain(log_mel: np.ndarray) -> np.ndarray:
    return (log_mel - log_mel.mean()) / max(log_mel.std(), 1e-3)


def test_a_normalised_window_is_the_log_mel_less_its_mean_over_its_deviation() -> None:
    signal = programme(22_050, 4.0)
    raw = features_of(signal, replace(LOG_MEL, normalise="none")).features.astype(np.float64)
    for window in windows_of(StreamingFrontEnd(LOG_MEL).push(signal), LOG_MEL, 40, 10):
        expected = _plain(raw[window.first_frame : window.first_frame + 40])
        np.testing.assert_allclose(window.features, expected, atol=2e-4)


@pytest.mark.parametrize("dct_norm", ["ortho", "none"])
def test_a_normalised_window_of_mfcc_is_the_dct_of_the_normalised_log_mel(dct_norm: str) -> None:
    from scipy.fft import dct

    spec = replace(MFCC, dct_norm=dct_norm)
    signal = programme(22_050, 4.0)
    raw = features_of(signal, replace(spec, kind="log_mel", normalise="none")).features.astype(np.float64)
    for window in windows_of(StreamingFrontEnd(spec).push(signal), spec, 40, 10):
        normal = _plain(raw[window.first_frame : window.first_frame + 40])
        expected = dct(normal, type=2, norm="ortho" if dct_norm == "ortho" else None, axis=1)[:, :20]
        scale = 1.0 if dct_norm == "ortho" else 2 * math.sqrt(40)
        np.testing.assert_allclose(window.features, expected, atol=1e-3 * scale)


@pytest.mark.parametrize(("gain", "tolerance"), [(2.0**-7, 1e-3), (0.01, 0.05)])
@pytest.mark.parametrize("spec", [MFCC, LOG_MEL], ids=["mfcc", "log-mel"])
def test_normalisation_cancels_any_gain(spec: FrontEndSpec, gain: float, tolerance: float) -> None:
    """As long as the bands stay above the floor: with the default floor of -100 dB those of faint audio do not."""
    spec = replace(spec, log_floor=1e-20)
    signal = real_signal("gtzan_full30/rock/*.ogg", 6.0)
    loud, quiet = (
        windows_of(StreamingFrontEnd(spec).push(s), spec, 130, 43) for s in (signal, signal * np.float32(gain))
    )
    assert len(loud) == len(quiet) > 0
    for one, other in zip(loud, quiet, strict=True):
        np.testing.assert_allclose(one.features, other.features, atol=tolerance)
        assert one.level_dbfs - other.level_dbfs == pytest.approx(-20 * math.log10(gain), abs=0.01)


@settings(max_examples=50, deadline=None)
@given(shift=st.floats(-100, 100), scale=st.floats(0.02, 50))
def test_normalisation_cancels_any_affine_standardisation_of_the_log_mel(shift: float, scale: float) -> None:
    """As in precomputed features that were standardised over their clip."""
    raw = features_of(noise(3 * 22_050), replace(LOG_MEL, normalise="none"))
    changed = raw.features.astype(np.float64) * scale + shift
    moments = changed.mean(axis=1), np.square(changed).mean(axis=1)
    standardised = Frames(0, changed.astype(np.float32), *moments, raw.power)
    for one, other in zip(windows_of(raw, LOG_MEL, 100, 20), windows_of(standardised, LOG_MEL, 100, 20), strict=True):
        np.testing.assert_allclose(one.features, other.features, atol=2e-3)


def test_digital_silence_is_normalised_to_zero_and_has_the_lowest_level() -> None:
    for spec in (MFCC, LOG_MEL):
        (window,) = windows_of(StreamingFrontEnd(spec).push(np.zeros(22_050, np.float32)), spec, 30, 30)
        assert np.all(np.isfinite(window.features))
        np.testing.assert_allclose(window.features, 0.0, atol=0.1)
        assert window.level_dbfs == -120.0


def test_without_normalisation_features_pass_as_they_are() -> None:
    spec = replace(MFCC, normalise="none")
    frames = StreamingFrontEnd(spec).push(noise(22_050))
    (window,) = windows_of(frames, spec, 30, 30)
    np.testing.assert_array_equal(window.features, frames.features[:30])


def test_windows_share_no_memory_with_their_frames_and_cannot_be_written() -> None:
    spec = replace(LOG_MEL, normalise="none")
    frames = StreamingFrontEnd(spec).push(noise(22_050))
    (window,) = windows_of(frames, spec, 30, 30)
    before = window.features.copy()
    frames.features[:] = 0
    np.testing.assert_array_equal(window.features, before)
    with pytest.raises(ValueError, match="read-only"):
        window.features[0] = 0


def test_the_level_is_that_of_a_full_scale_sine() -> None:
    time = np.arange(22_050) / 22_050
    signal = np.sin(2 * np.pi * 441 * time).astype(np.float32)
    (window,) = windows_of(StreamingFrontEnd(LOG_MEL).push(signal), LOG_MEL, 30, 30)
    assert window.level_dbfs == pytest.approx(-3.01, abs=0.02)

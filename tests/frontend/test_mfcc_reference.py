"""Both front ends against librosa, on noise, on a wide dynamic range, and on real music."""

from __future__ import annotations

from dataclasses import replace

import librosa
import numpy as np
import pytest
from signals import noise, programme, real_signal

from streamcls.frontend import StreamingFrontEnd, features_of
from streamcls.frontend.frames import analysis_window
from streamcls.frontend.mel import dct_matrix, hz_to_mel, mel_matrix, mel_to_hz
from streamcls.types import FrontEndSpec

SPECS = {
    "defaults": FrontEndSpec(),
    "htk": FrontEndSpec(mel_scale="htk"),
    "htk-unnormed-magnitude": FrontEndSpec(mel_scale="htk", mel_norm="none", power=1.0),
    "unnormed": FrontEndSpec(mel_norm="none"),
    "magnitude": FrontEndSpec(power=1.0),
    "40-bands-13": FrontEndSpec(n_mels=40, n_mfcc=13),
    "128-bands-40": FrontEndSpec(n_mels=128, n_mfcc=40),
    "narrow": FrontEndSpec(fmin=300.0, fmax=3400.0, n_mels=40, n_mfcc=40),
    "rectangular": FrontEndSpec(window="rectangular"),
    "unscaled-dct": FrontEndSpec(n_mels=40, n_mfcc=20, dct_norm="none"),
    "padded": FrontEndSpec(frame_length=551, hop_length=220, n_fft=1024, n_mels=40, n_mfcc=40),
    "16-khz": FrontEndSpec(
        sample_rate=16_000, frame_length=400, hop_length=160, n_fft=512, n_mels=64, n_mfcc=64, fmax=7_500.0
    ),
    "log-mel": FrontEndSpec(kind="log_mel", n_mels=128),
}


def _librosa(signal: np.ndarray, spec: FrontEndSpec) -> np.ndarray:
    """Return librosa's features of each whole frame, shape (n_frames, n_features); a short frame is padded at its end, as ours is."""
    if spec.frame_length == spec.n_fft:
        window = spec.window if spec.window == "hann" else np.ones(spec.frame_length)
        spectrum = (
            np.abs(librosa.stft(signal, n_fft=spec.n_fft, hop_length=spec.hop_length, window=window, center=False))
            ** spec.power
        )
    else:
        # librosa centres a short window in the FFT; a magnitude does not know where the window lies.
        frames = librosa.util.frame(signal, frame_length=spec.frame_length, hop_length=spec.hop_length)
        taper = librosa.filters.get_window(spec.window, spec.frame_length)
        spectrum = np.abs(np.fft.rfft(frames * taper[:, None], spec.n_fft, axis=0)) ** spec.power
    mel = librosa.feature.melspectrogram(
        S=spectrum,
        sr=spec.sample_rate,
        n_fft=spec.n_fft,
        n_mels=spec.n_mels,
        fmin=spec.fmin,
        fmax=spec.fmax,
        htk=spec.mel_scale == "htk",
        norm="slaney" if spec.mel_norm == "slaney" else None,
    )
    decibels = librosa.power_to_db(mel, ref=1.0, amin=spec.log_floor, top_db=None)
    if spec.kind == "log_mel":
        return decibels.T
    return librosa.feature.mfcc(S=decibels, n_mfcc=spec.n_mfcc, norm="ortho" if spec.dct_norm == "ortho" else None).T


def _tolerance(spec: FrontEndSpec) -> float:
    """Without the orthonormal scale coefficients are larger by 2 sqrt(n_mels) to 2 sqrt(2 n_mels): so is their rounding."""
    return 1e-3 if spec.dct_norm == "ortho" else 1e-3 * 2 * np.sqrt(spec.n_mels)


def _signals(kind: str, spec: FrontEndSpec) -> np.ndarray:
    if kind == "noise":
        return noise(3 * spec.sample_rate)
    if kind == "quiet":
        return noise(3 * spec.sample_rate) * np.float32(1e-4)
    if kind == "dynamic":
        return programme(spec.sample_rate, 4.0)
    if kind == "silence":
        return np.zeros(spec.sample_rate, np.float32)
    return real_signal(kind, 6.0)


@pytest.mark.parametrize(
    "kind", ["noise", "quiet", "dynamic", "silence", "gtzan_full30/rock/*.ogg", "gtzan_full30/classical/*.ogg"]
)
@pytest.mark.parametrize("name", list(SPECS))
def test_both_front_ends_equal_librosa(name: str, kind: str) -> None:
    spec = SPECS[name]
    signal = _signals(kind, spec)
    expected = _librosa(signal, spec)
    whole = features_of(signal, spec)
    streamed = StreamingFrontEnd(spec).push(signal)
    assert whole.features.shape == streamed.features.shape == expected.shape
    assert whole.features.dtype == streamed.features.dtype == np.float32
    np.testing.assert_allclose(whole.features, expected, atol=_tolerance(spec), rtol=0)
    np.testing.assert_allclose(streamed.features, expected, atol=_tolerance(spec), rtol=0)
    for moment in ("mean", "mean_square", "power"):
        np.testing.assert_allclose(
            getattr(streamed, moment), getattr(whole, moment), rtol=1e-5, atol=1e-5 if moment != "power" else 0
        )


def test_the_whole_call_of_librosa_gives_the_same() -> None:
    """Nothing of librosa but its public function, with its own defaults where the design states none."""
    signal, spec = noise(22_050), FrontEndSpec(n_mels=128, n_mfcc=20)
    mel = librosa.feature.melspectrogram(y=signal, sr=22_050, n_fft=2048, hop_length=512, center=False)
    expected = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=20)
    np.testing.assert_allclose(StreamingFrontEnd(spec).push(signal).features, expected.T, atol=1e-3)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_the_mel_scale_is_librosas_and_its_inverse_inverts_it(scale: str) -> None:
    hz = np.concatenate([[0.0, 999.999, 1000.0, 1000.001], np.linspace(0, 22_050, 500)])
    np.testing.assert_allclose(hz_to_mel(hz, scale), librosa.hz_to_mel(hz, htk=scale == "htk"), rtol=1e-12)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz, scale), scale), hz, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.n_mels <= 64])
def test_the_filter_bank_is_librosas(name: str) -> None:
    spec = SPECS[name]
    expected = librosa.filters.mel(
        sr=spec.sample_rate,
        n_fft=spec.n_fft,
        n_mels=spec.n_mels,
        fmin=spec.fmin,
        fmax=spec.fmax,
        htk=spec.mel_scale == "htk",
        norm="slaney" if spec.mel_norm == "slaney" else None,
    )
    np.testing.assert_allclose(mel_matrix(spec), expected, atol=1e-7)


def test_the_hann_window_is_the_periodic_one_and_the_dct_is_orthonormal() -> None:
    spec = FrontEndSpec()
    np.testing.assert_allclose(analysis_window(spec), librosa.filters.get_window("hann", 2048, fftbins=True), atol=1e-7)
    np.testing.assert_allclose(dct_matrix(spec) @ dct_matrix(spec).T, np.eye(64), atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 2047, 2048, 2559, 2560])
def test_frames_lie_wholly_inside_the_signal(n: int) -> None:
    spec = FrontEndSpec()
    expected = 0 if n < 2048 else 1 + (n - 2048) // 512
    assert len(features_of(noise(n), spec)) == len(StreamingFrontEnd(spec).push(noise(n))) == expected


def test_a_waveform_front_end_hands_out_the_samples() -> None:
    spec = FrontEndSpec(kind="waveform", frame_length=512)
    signal = noise(5000)
    for frames in (features_of(signal, spec), StreamingFrontEnd(spec).push(signal)):
        np.testing.assert_array_equal(frames.features.reshape(-1), signal[: 9 * 512])
        np.testing.assert_allclose(
            frames.power, np.mean(np.square(signal[: 9 * 512].reshape(9, 512)), axis=1), rtol=1e-5
        )


def test_the_waveform_frames_are_a_copy_that_the_caller_may_not_change_from_outside() -> None:
    signal = noise(2048)
    frames = StreamingFrontEnd(FrontEndSpec(kind="waveform", frame_length=512)).push(signal)
    before = frames.features.copy()
    signal[:] = 0
    np.testing.assert_array_equal(frames.features, before)


def test_the_lowest_energy_counts_as_the_floor() -> None:
    spec = replace(FrontEndSpec(kind="log_mel"), log_floor=1e-6)
    np.testing.assert_allclose(StreamingFrontEnd(spec).push(np.zeros(4096, np.float32)).features, -60.0, atol=1e-4)

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamcls.audio import Resampler, down_mix
from streamcls.audio.decode import read_file
from streamcls.frontend import StreamingFrontEnd, Windower
from streamcls.training.corpora import Clip
from streamcls.training.features import FeatureCache, frames_of_file, repeat_to
from streamcls.training.space import FeatureSpace
from streamcls.training.windows import cut_windows
from streamcls.types import FrontEndSpec

N_FRAMES, STRIDE = 43, 22
SPEC = FrontEndSpec(normalise="window")


def as_the_daemon(path: Path, spec: FrontEndSpec, rng: np.random.Generator) -> np.ndarray:
    """Feed a file in random pieces through resampler, front end and windower, as a live stream would come."""
    samples, rate = read_file(path)
    resampler, front_end, windower = (
        Resampler(rate, spec.sample_rate),
        StreamingFrontEnd(spec),
        Windower(spec, N_FRAMES, STRIDE),
    )
    front_end.reset(resampler.reset(0))
    windows, position = [], 0
    while position < len(samples):
        length = int(rng.integers(1, 9_000))
        piece = resampler.push(down_mix(samples[position : position + length]))
        windows += windower.push(front_end.push(piece))
        position += length
    windows += windower.push(front_end.push(resampler.flush()))
    return np.stack([window.features for window in windows])


def trained_on(path: Path, spec: FrontEndSpec, cache: Path) -> np.ndarray:
    clip = Clip(path, "c", ("a",), (), "a", "g", "train")
    return cut_windows([clip], FeatureCache(cache, spec, N_FRAMES).all_frames([clip]), spec, N_FRAMES, STRIDE).features


@pytest.mark.parametrize(("rate", "channels"), [(22_050, 1), (44_100, 2), (48_000, 1)])
def test_training_sees_what_the_daemon_sees_whatever_the_chunks(tmp_path, rate, channels):
    rng = np.random.default_rng(rate)
    path = tmp_path / "clip.wav"
    soundfile.write(path, 0.1 * rng.standard_normal((rate * 4, channels)), rate, subtype="FLOAT")
    kept = trained_on(path, SPEC, tmp_path / "cache")
    for _ in range(3):
        np.testing.assert_array_equal(as_the_daemon(path, SPEC, rng), kept)
    np.testing.assert_array_equal(trained_on(path, SPEC, tmp_path / "cache"), kept)


def test_training_sees_what_the_daemon_sees_on_real_music(tmp_path):
    data = os.environ.get("STREAMCLS_DATA")
    if not data:
        pytest.skip("STREAMCLS_DATA is not set: no real audio here")
    path = Path(data) / "gtzan_full30" / "blues" / "blues.00000.ogg"
    np.testing.assert_array_equal(as_the_daemon(path, SPEC, np.random.default_rng(1)), trained_on(path, SPEC, tmp_path))


def test_a_cached_file_is_read_again_only_when_its_content_changes(tmp_path):
    rng = np.random.default_rng(0)
    path, cache = tmp_path / "clip.wav", FeatureCache(tmp_path / "cache", SPEC)
    soundfile.write(path, 0.1 * rng.standard_normal(22_050), 22_050)
    first = cache.frames(path)
    kept = next((tmp_path / "cache").rglob("*.npz"))
    stamp = kept.stat().st_mtime_ns
    np.testing.assert_array_equal(cache.frames(path).features, first.features)
    assert kept.stat().st_mtime_ns == stamp
    soundfile.write(path, 0.1 * rng.standard_normal(22_050), 22_050)
    assert not np.array_equal(cache.frames(path).features, first.features)


def test_a_damaged_cache_is_made_anew(tmp_path):
    path, cache = tmp_path / "clip.wav", FeatureCache(tmp_path / "cache", SPEC)
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(22_050), 22_050)
    first = cache.frames(path)
    next((tmp_path / "cache").rglob("*.npz")).write_bytes(b"PK\x03\x04 broken")
    np.testing.assert_array_equal(cache.frames(path).features, first.features)


def test_front_ends_do_not_share_a_cache(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(22_050), 22_050)
    fewer = FrontEndSpec(n_mels=32, n_mfcc=32)
    FeatureCache(tmp_path / "cache", SPEC).frames(path)
    assert FeatureCache(tmp_path / "cache", fewer).frames(path).features.shape[1] == 32


def test_a_short_clip_is_repeated_until_it_fills_a_window(tmp_path):
    path = tmp_path / "short.wav"
    signal = 0.1 * np.random.default_rng(0).standard_normal(5_000).astype(np.float32)
    soundfile.write(path, signal, 22_050, subtype="FLOAT")
    frames = frames_of_file(path, SPEC, N_FRAMES)
    assert len(frames) == N_FRAMES
    long = repeat_to(signal, 42 * 512 + 2_048)
    np.testing.assert_array_equal(long[5_000:10_000], signal)
    np.testing.assert_array_equal(StreamingFrontEnd(SPEC).push(long).features, frames.features)


@pytest.mark.parametrize("kind", ["mfcc", "log_mel"])
@pytest.mark.parametrize("normalise", ["window", "none"])
def test_the_augmentation_space_gives_the_front_ends_windows_back(tmp_path, kind, normalise):
    spec = FrontEndSpec(kind=kind, normalise=normalise)
    path = tmp_path / "clip.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(22_050 * 2), 22_050)
    space = FeatureSpace(spec)
    bands = space.bands(frames_of_file(path, spec))
    expected = trained_on(path, spec, tmp_path / "cache")
    again = space.features(np.stack([bands[i * STRIDE : i * STRIDE + N_FRAMES] for i in range(len(expected))]))
    np.testing.assert_allclose(again, expected, atol=2e-3 if normalise == "none" else 2e-4)

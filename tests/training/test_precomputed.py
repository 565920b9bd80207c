from __future__ import annotations

import sys

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.frontend import features_of, windows_of
from streamcls.training.precomputed import PrecomputedRows
from streamcls.types import FrontEndSpec

SPEC = FrontEndSpec(kind="log_mel", normalise="window")


def file_with(folder, signal: np.ndarray, **changes: np.ndarray):
    librosa = pytest.importorskip("librosa")
    log_mel = librosa.power_to_db(librosa.feature.melspectrogram(y=signal, sr=22_050), ref=np.max)
    values = (log_mel - log_mel.mean()) / log_mel.std()
    content = {
        "x": np.clip(np.rint(values * 24), -128, 127).astype(np.int8)[None],
        "scale": np.float32(24),
        "genre": np.array(["jazz"]),
        "clip": np.array(["jazz.00001"]),
        "split": np.array(["train"]),
    } | changes
    path = folder / "rows.npz"
    np.savez(path, **content)
    return path


def music_like(rng: np.random.Generator) -> np.ndarray:
    time = np.arange(22_050 * 3) / 22_050
    tones = sum(np.sin(2 * np.pi * f * time) * rng.uniform(0.1, 1) for f in rng.uniform(80, 6_000, 12))
    beat = 1.0 + np.sin(2 * np.pi * 2 * time)
    return (0.02 * tones * beat + 0.003 * rng.standard_normal(len(time))).astype(np.float32)


def test_a_row_comes_near_the_front_ends_own_window(tmp_path):
    signal = music_like(np.random.default_rng(0))
    theirs = PrecomputedRows(file_with(tmp_path, signal)).frames(0, SPEC)
    own = features_of(signal, SPEC)
    # librosa centres its frames, ours begin at their first sample: two frames of 512 apart.
    first = windows_of(
        type(own)(0, *(v[:100] for v in (own.features, own.mean, own.mean_square, own.power))), SPEC, 100, 100
    )
    shifted = type(theirs)(0, *(v[2:102] for v in (theirs.features, theirs.mean, theirs.mean_square, theirs.power)))
    second = windows_of(shifted, SPEC, 100, 100)
    correlation = np.corrcoef(first[0].features.ravel(), second[0].features.ravel())[0, 1]
    assert correlation > 0.95


def test_a_front_end_that_keeps_the_level_cannot_use_them(tmp_path):
    rows = PrecomputedRows(file_with(tmp_path, music_like(np.random.default_rng(0))))
    with pytest.raises(TrainingError, match=r"set front_end\.normalise to window"):
        rows.frames(0, FrontEndSpec(kind="log_mel"))


def test_a_file_of_another_kind_is_named(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(TrainingError, match=r"other\.npz: precomputed features lack scale, genre, clip, split"):
        PrecomputedRows(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(TrainingError, match=r"text\.npz: precomputed features cannot be read"):
        PrecomputedRows(tmp_path / "text.npz")


def test_without_scipy_it_says_what_to_install(tmp_path, monkeypatch):
    path = file_with(tmp_path, music_like(np.random.default_rng(1)))
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(TrainingError, match="needs scipy"):
        PrecomputedRows(path).frames(0, SPEC)

"""The baseline: MFCC and a support vector machine, on sounds made here."""

from __future__ import annotations

import numpy as np
import pytest

from streamcls.errors import TrainingError
from streamcls.training.corpora import read_plain
from streamcls.training.evaluation.baseline import summaries, train_baseline
from streamcls.training.evaluation.candidates import Candidate
from streamcls.training.evaluation.compare import Extras, compare
from streamcls.types import FrontEndSpec

LABELS = ("clicks", "noise", "tone")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Features, computed once for all tests here."""
    return tmp_path_factory.mktemp("cache")


def like(spec: FrontEndSpec, n_frames: int, *, exclusive: bool) -> Candidate:
    return Candidate("like", "1", LABELS, exclusive, spec, n_frames, 16, lambda f: f, lambda f: f)


def test_summaries_are_means_and_deviations_of_coefficients_and_slopes():
    ramp = np.arange(10, dtype=np.float32)[None, :, None] * np.ones((1, 1, 3), np.float32)
    values = summaries(ramp)
    assert values.shape == (1, 12)
    assert values[0, ::3] == pytest.approx([4.5, np.std(np.arange(10)), 1.0, 0.0])
    assert summaries(np.zeros((2, 5, 40), np.float32)).shape == (2, 80)


@pytest.mark.parametrize("exclusive", [True, False])
def test_it_learns_to_tell_simple_sounds_apart(sounds, cache, exclusive):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    clips = read_plain(sounds, LABELS)
    spec = FrontEndSpec(n_mels=32, n_mfcc=32, normalise="window")
    svm = train_baseline(like(spec, 32, exclusive=exclusive), clips, cache)
    figures = compare([svm], clips, cache, "test", Extras(time=False)).figures
    part = figures["candidates"]["svm"]
    if exclusive:
        assert part["clip"]["accuracy"] >= 0.9
        assert part["window"]["answered"]["coverage"] > 0.5
    else:
        assert min(row["roc_auc"] for row in part["labels"].values()) > 0.95
    assert "trained on" in figures["remarks"][0]


def test_beside_a_model_of_the_waveform_it_has_windows_of_the_same_length(sounds, cache):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    waveform = FrontEndSpec(
        kind="waveform", sample_rate=16_000, frame_length=7_800, hop_length=7_800, n_fft=8_192, fmax=8_000.0
    )
    svm = train_baseline(like(waveform, 2, exclusive=True), read_plain(sounds, LABELS), cache)
    assert svm.spec.kind == "mfcc"
    assert svm.window_s == pytest.approx(2 * 7_800 / 16_000, abs=0.1)


def test_without_training_clips_it_says_so(sounds, cache):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    clips = [clip for clip in read_plain(sounds, LABELS) if clip.split == "test"]
    spec = FrontEndSpec(n_mels=32, n_mfcc=32, normalise="window")
    with pytest.raises(TrainingError, match="split 'train' has no labelled window"):
        train_baseline(like(spec, 32, exclusive=True), clips, cache)

from __future__ import annotations

import numpy as np
import pytest

from streamcls.inference import Calibration
from streamcls.training import metrics
from streamcls.training.calibrate import fit_temperature, fit_thresholds


def test_per_class_figures_follow_from_the_confusion_matrix():
    matrix = metrics.confusion(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0]), 3)
    assert matrix.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    figures = metrics.per_class(matrix, ("a", "b", "c"))
    assert figures["a"] == {"count": 3, "precision": 0.6667, "recall": 0.6667, "f1": 0.6667}
    assert figures["c"] == {"count": 1, "precision": None, "recall": 0.0, "f1": 0.0}


def test_a_confident_liar_has_a_large_calibration_error_and_an_honest_one_none():
    correct = np.array([True] * 60 + [False] * 40)
    assert metrics.expected_calibration_error(np.full(100, 0.6, np.float32), correct) == pytest.approx(0.0, abs=1e-4)
    assert metrics.expected_calibration_error(np.full(100, 0.95, np.float32), correct) == pytest.approx(0.35, abs=1e-4)


def test_average_precision_of_a_perfect_and_of_a_reversed_order():
    truth = np.array([1, 1, 0, 0])
    assert metrics.average_precision(np.float32([0.9, 0.8, 0.2, 0.1]), truth) == 1.0
    assert metrics.average_precision(np.float32([0.1, 0.2, 0.8, 0.9]), truth) == pytest.approx(
        (1 / 3 + 2 / 4) / 2, abs=1e-4
    )
    assert metrics.average_precision(np.float32([0.5]), np.array([0])) is None


def test_the_interval_is_wider_when_few_recordings_stand_behind_many_windows():
    rng = np.random.default_rng(0)
    correct_by_recording = rng.random(20) < 0.7
    correct = np.repeat(correct_by_recording, 50)
    many = metrics.bootstrap_interval(np.arange(1_000), lambda i: float(correct[i].mean()))
    few = metrics.bootstrap_interval(np.repeat(np.arange(20), 50), lambda i: float(correct[i].mean()))
    assert many is not None
    assert few is not None
    assert few[1] - few[0] > 3 * (many[1] - many[0])
    assert metrics.bootstrap_interval(np.zeros(5, int), lambda i: 1.0) is None


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_temperature_undoes_overconfidence(activation):
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 2, (4_000, 3)).astype(np.float32)
    posteriors = np.stack([Calibration(activation).posterior(row) for row in honest])
    if activation == "softmax":
        targets = np.eye(3, dtype=np.float32)[[rng.choice(3, p=p / p.sum()) for p in posteriors.astype(float)]]
    else:
        targets = (rng.random(posteriors.shape) < posteriors).astype(np.float32)
    temperature = fit_temperature(honest * 4, targets, np.ones_like(targets), activation)
    assert temperature == pytest.approx(4.0, rel=0.15)


def test_without_known_labels_the_temperature_is_one():
    zeros = np.zeros((3, 2), np.float32)
    assert fit_temperature(zeros, zeros, zeros, "sigmoid") == 1.0


def test_thresholds_hold_the_false_positive_rate_and_ignore_the_unknown():
    rng = np.random.default_rng(2)
    posteriors = rng.random((2_000, 2)).astype(np.float32)
    targets = np.zeros_like(posteriors)
    weights = np.ones_like(posteriors)
    weights[:1_000, 1] = 0.0
    posteriors[:1_000, 1] = 1.0
    thresholds = fit_thresholds(posteriors, targets, weights, ("a", "b"), rate=0.05, lowest=0.5)
    assert thresholds["a"] == pytest.approx(0.95, abs=0.02)
    assert thresholds["b"] == pytest.approx(0.95, abs=0.03)
    assert (posteriors[:, 0] > thresholds["a"]).mean() <= 0.05
    lowest = fit_thresholds(posteriors * 0.1, targets, weights * 0 + 1, ("a", "b"), rate=0.5, lowest=0.6)
    assert lowest["a"] == 0.6

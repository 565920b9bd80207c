from __future__ import annotations

import numpy as np
import pytest

from streamcls.inference import Calibration
from streamcls.training.calibrate import fit_temperature, fit_thresholds


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

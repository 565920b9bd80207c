from __future__ import annotations

import numpy as np
import pytest

from streamcls.training.evaluation.taught import taught_figures, taught_markdown

LABELS = ("a", "b", "other")


def scores(n: int = 60, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([0.4, 0.4, 0.4], n).astype(np.float32)


def groups(n: int = 60) -> np.ndarray:
    return np.array([f"g{i % 12}" for i in range(n)])


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_student_that_says_what_its_teacher_says_leaves_nothing_open(exclusive):
    figures = taught_figures(scores(), scores(), LABELS, groups(), exclusive=exclusive)
    assert figures["same_label" if exclusive else "explained"] == pytest.approx(1.0, abs=1e-3)
    assert (figures["windows"], figures["recordings"]) == (60, 12)
    assert all(row["average_precision"] == 1.0 for row in figures["labels"].values())
    assert figures["mean_average_precision"] == 1.0


def test_one_that_says_the_means_explains_nothing_and_one_that_says_nonsense_less():
    targets = scores()
    means = np.tile(targets.mean(axis=0), (60, 1))
    assert taught_figures(means, targets, LABELS, groups(), exclusive=False)["explained"] == pytest.approx(
        0.0, abs=1e-6
    )
    assert taught_figures(scores(seed=2), targets, LABELS, groups(), exclusive=False)["explained"] < 0


def test_half_way_lies_between_with_an_interval():
    targets = scores()
    half = (targets + targets.mean(axis=0)) / 2
    figures = taught_figures(half, targets, LABELS, groups(), exclusive=False)
    low, high = figures["explained_95"]
    assert 0.3 < low < figures["explained"] < high < 1.0


def test_of_exclusive_labels_the_likeliest_are_compared():
    targets = scores()
    turned = targets.copy()
    turned[:15] = turned[:15, [1, 2, 0]]
    assert taught_figures(turned, targets, LABELS, groups(), exclusive=True)["same_label"] == pytest.approx(0.75)


def test_a_label_that_the_teacher_seldom_hears_has_no_figure():
    targets = scores()
    targets[:, 1] = 0.01
    assert "b" not in taught_figures(targets, targets, LABELS, groups(), exclusive=False)["labels"]


def test_the_report_states_counts_and_intervals():
    targets = scores()
    text = taught_markdown(taught_figures((targets + 0.33) / 2, targets, LABELS, groups(), exclusive=True))
    assert "60 windows of 12 recordings" in text
    assert "find the same label likeliest in" in text
    assert "| other |" in text

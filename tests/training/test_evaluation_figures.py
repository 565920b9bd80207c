"""Figures and their intervals, on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from streamcls.training.evaluation.agreement import agreement
from streamcls.training.evaluation.bootstrap import Resamples
from streamcls.training.evaluation.counts import confusion_cells, confusion_figures, detection_figures
from streamcls.training.evaluation.exclusive import abstains, exclusive_figures, forced
from streamcls.training.evaluation.ranking import areas, curves
from streamcls.training.evaluation.reliability import reliability
from streamcls.training.evaluation.spans import over_spans
from streamcls.training.evaluation.tracks import Judgements, Track


def alone(n: int) -> Resamples:
    return Resamples(np.arange(n))


def figures_of(truth: list[int], predicted: list[int], labels: tuple[str, ...]) -> dict:
    resamples, n = alone(len(truth)), len(labels)
    cells = confusion_cells(np.array(truth), np.array(predicted), n)
    return confusion_figures(resamples.totals(cells, n * n).reshape(-1, n, n), labels, resamples)


def test_figures_per_label_follow_from_the_confusion_matrix():
    figures = figures_of([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0], ("a", "b", "c"))
    assert figures["confusion"] == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert figures["accuracy"] == pytest.approx(4 / 6, abs=1e-4)
    assert figures["mean_recall"] == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-4)
    a, c = figures["per_label"]["a"], figures["per_label"]["c"]
    assert [a[name] for name in ("count", "precision", "recall", "f1")] == [3, 0.6667, 0.6667, 0.6667]
    assert [c[name] for name in ("count", "precision", "recall", "f1")] == [1, None, 0.0, 0.0]
    assert c["precision_95"] is None


def test_a_label_that_does_not_occur_takes_no_part_in_the_mean_recall():
    figures = figures_of([0, 0, 1], [0, 0, 2], ("a", "b", "c"))
    assert figures["mean_recall"] == 0.5
    assert figures["per_label"]["c"]["recall"] is None


def test_every_figure_lies_inside_its_interval():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 300)
    predicted = np.where(rng.random(300) < 0.7, truth, rng.integers(0, 3, 300))
    figures = figures_of(truth.tolist(), predicted.tolist(), ("a", "b", "c"))
    rows = [figures, *figures["per_label"].values()]
    for row in rows:
        for name in [key for key in row if key.endswith("_95")]:
            low, high = row[name]
            assert low < row[name.removesuffix("_95")] < high, name


def test_the_interval_is_wider_when_few_recordings_stand_behind_many_windows():
    correct = np.repeat(np.random.default_rng(0).random(20) < 0.7, 50)
    few, many = Resamples(np.repeat(np.arange(20), 50)), alone(1_000)
    (low, high), (low_many, high_many) = (r.interval(r.share(correct)) for r in (few, many))
    assert high - low > 3 * (high_many - low_many)


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution():
    resamples = alone(400)
    low, high = resamples.interval(resamples.share(np.arange(400) < 120))
    deviation = np.sqrt(0.3 * 0.7 / 400)
    assert (low, high) == pytest.approx((0.3 - 1.96 * deviation, 0.3 + 1.96 * deviation), abs=0.008)


def test_one_recording_has_no_interval():
    resamples = Resamples(np.zeros(5, int))
    assert resamples.figure("share", resamples.share(np.ones(5))) == {"share": 1.0, "share_95": None}


def test_detection_counts_hits_misses_and_false_alarms():
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    above = np.array([1, 1, 0, 1, 0, 0, 0, 0], bool)
    figures = detection_figures(truth, above, alone(8))
    assert figures["recall"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["precision"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["false_positive_rate"] == 0.2


def test_areas_of_a_perfect_a_reversed_and_a_tied_order():
    truth = np.array([1, 1, 0, 0])
    perfect = areas(np.float32([0.9, 0.8, 0.2, 0.1]), truth, alone(4))
    assert (perfect["roc_auc"], perfect["average_precision"]) == (1.0, 1.0)
    reverse = areas(np.float32([0.1, 0.2, 0.8, 0.9]), truth, alone(4))
    assert (reverse["roc_auc"], reverse["average_precision"]) == (0.0, pytest.approx((1 / 3 + 2 / 4) / 2, abs=1e-4))
    tied = areas(np.full(4, 0.5, np.float32), truth, alone(4))
    assert (tied["roc_auc"], tied["average_precision"]) == (0.5, 0.5)
    assert areas(np.float32([0.5]), np.array([0]), alone(1))["roc_auc"] is None


def test_areas_equal_those_of_scikit_learn_also_with_ties():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(5)
    truth = rng.random(2_000) < 0.1
    values = np.round(np.clip(rng.normal(0.3 + 0.2 * truth, 0.15), 0, 1), 2).astype(np.float32)
    figures = areas(values, truth, Resamples(rng.integers(0, 200, 2_000)))
    assert figures["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, values), abs=1e-4)
    assert figures["average_precision"] == pytest.approx(metrics.average_precision_score(truth, values), abs=1e-4)
    for name in ("roc_auc", "average_precision"):
        assert figures[f"{name}_95"][0] < figures[name] < figures[f"{name}_95"][1]


def test_curves_run_from_the_highest_threshold_to_all():
    points = curves(np.float32([0.9, 0.8, 0.7, 0.1]), np.array([1, 0, 1, 0]))
    assert points == {
        "false_positive_rate": [0.0, 0.5, 0.5, 1.0],
        "recall": [0.5, 0.5, 1.0, 1.0],
        "precision": [1.0, 0.5, 0.6667, 0.5],
    }
    assert curves(np.float32([0.9]), np.array([1])) is None


def test_a_confident_liar_has_a_large_calibration_error_and_an_honest_one_none():
    correct = np.array([True] * 60 + [False] * 40)
    honest = reliability(np.full(100, 0.6, np.float32), correct, alone(100))
    liar = reliability(np.full(100, 0.95, np.float32), correct, alone(100))
    assert honest["calibration_error"] == pytest.approx(0.0, abs=1e-4)
    assert liar["calibration_error"] == pytest.approx(0.35, abs=1e-4)
    assert liar["reliability"] == [[0.95, 0.6, 100]]


def test_a_model_abstains_where_none_wins_or_nothing_stands_out():
    values = np.float32([[0.6, 0.1, 0.3], [0.46, 0.04, 0.5], [0.4, 0.35, 0.25], [0.45, 0.3, 0.25]])
    assert abstains(values).tolist() == [False, True, True, False]
    assert forced(values)[0] == pytest.approx([6 / 7, 1 / 7])


def test_forced_choice_and_abstention_are_counted_apart():
    values = np.float32([[0.9, 0.1, 0.0], [0.1, 0.05, 0.85], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    truth = np.array([0, 0, 0, -1])
    figures = exclusive_figures(Judgements(values, np.arange(4)), truth, np.arange(4), ("a", "b"))
    assert (figures["count"], figures["accuracy"]) == (3, pytest.approx(2 / 3, abs=1e-4))
    answered = figures["answered"]
    assert (answered["count"], answered["coverage"]) == (2, pytest.approx(2 / 3, abs=1e-4))
    assert (answered["accuracy"], answered["wrong_of_all"]) == (0.5, pytest.approx(1 / 3, abs=1e-4))


def track(values: list[float], step_s: float, window_s: float) -> Track:
    column = np.float32(values)[:, None]
    return Track(column, np.arange(len(values)) * step_s, np.ones(len(values), bool), window_s)


def test_spans_average_the_windows_inside_them_whatever_their_length():
    long = track([1, 2, 3], 1.0, 3.0)
    short = track([0, 0, 0, 0, 0, 6, 6, 6, 6], 0.5, 1.0)
    assert over_spans([long], [long]).values[:, 0].tolist() == [1, 2, 3]
    assert over_spans([short], [long]).values[:, 0] == pytest.approx([0, 2.4, 4.8])
    assert over_spans([track([5, 7], 4.0, 4.0)], [long]).values[:, 0].tolist() == [5, 5, 5]


def test_spans_without_an_active_window_of_the_reference_are_left_out():
    reference = track([1, 1, 1, 1, 1], 1.0, 1.0)
    quiet = Track(reference.values, reference.start_s, np.array([1, 0, 0, 0, 0], bool), 1.0)
    assert len(over_spans([reference], [reference])) == 3
    assert len(over_spans([reference], [quiet])) == 1


def test_clips_are_averaged_or_give_their_largest_posterior():
    judgements = Judgements(np.float32([[0.0], [1.0], [0.5]]), np.array([2, 2, 4]))
    assert judgements.per_clip().values[:, 0].tolist() == [0.5, 0.5]
    assert judgements.largest_per_clip().values[:, 0].tolist() == [1.0, 0.5]
    assert judgements.per_clip().clip_of.tolist() == [2, 4]


def test_agreement_asks_only_clips_on_which_the_peer_is_confident():
    pytest.importorskip("scipy")
    own = np.float32([[0.8, 0.1, 0.1, 0], [0.2, 0.7, 0.1, 0], [0.3, 0.4, 0.3, 0], [0.1, 0.2, 0.7, 0]])
    peer = np.float32([[0.7, 0.1, 0.1, 0.1], [0.6, 0.3, 0.0, 0.1], [0.34, 0.33, 0.33, 0], [0, 0, 0.01, 0.99]])
    figures = agreement(own, peer, np.arange(4), ("a", "b", "c"))
    assert (figures["all"]["count"], figures["all"]["same"]) == (4, 0.5)
    assert (figures["confident"]["count"], figures["confident"]["same"]) == (2, 0.5)
    assert figures["confident"]["in_best_two"] == 1.0
    assert figures["peer_says"] == {"a": 2, "b": 0, "c": 0}


def test_rank_correlation_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(6)
    own, peer = (np.pad(rng.dirichlet(np.ones(3), 40), ((0, 0), (0, 1))).astype(np.float32) for _ in range(2))
    row = agreement(own, peer, np.arange(40), ("a", "b", "c"))["correlation"]["b"]
    assert row["correlation"] == pytest.approx(stats.spearmanr(own[:, 1], peer[:, 1]).statistic, abs=1e-4)
    assert row["correlation_95"][0] < row["correlation"] < row["correlation_95"][1]

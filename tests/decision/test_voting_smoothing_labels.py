from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcls.decision import KOfN, LabelMap, MovingAverage


@settings(deadline=None)
@given(n=st.integers(1, 8), data=st.data(), answers=st.lists(st.booleans(), max_size=40))
def test_k_of_n_counts_the_last_n_answers(n: int, data: st.DataObject, answers: list[bool]) -> None:
    k = data.draw(st.integers(1, n))
    votes = KOfN(k, n)
    for i, answer in enumerate(answers):
        recent = answers[max(0, i - n + 1) : i + 1]
        assert votes.push(i * 100, answer) == (sum(recent) >= k)
        expected = next(((max(0, i - n + 1) + j) * 100 for j, a in enumerate(recent) if a), None)
        assert votes.earliest == expected
    votes.reset()
    assert votes.earliest is None
    assert votes.push(0, answer=True) == (k == 1)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (2, 1), (-1, 3)])
def test_votes_that_cannot_be_won_are_refused(k: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"k is {k} and n {n}"):
        KOfN(k, n)


@settings(deadline=None)
@given(steps=st.lists(st.integers(1, 50), min_size=1, max_size=30), span=st.integers(0, 120))
def test_the_average_covers_the_last_span_and_nothing_older(steps: list[int], span: int) -> None:
    average, at, seen = MovingAverage(span), 0, []
    for i, step in enumerate(steps):
        at += step
        value = np.array([i, -i], np.float32)
        seen.append((at, value))
        expected = np.mean([v for when, v in seen if when >= at - span], axis=0)
        got = average.push(at, value)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_reset_average_begins_with_the_next_value() -> None:
    average = MovingAverage(1000)
    average.push(0, np.array([1.0], np.float32))
    average.reset()
    assert average.push(10, np.array([0.0], np.float32)).tolist() == [0.0]


def test_a_negative_span_is_refused() -> None:
    with pytest.raises(ValueError, match="span is -1"):
        MovingAverage(-1)


LABELS = ("siren", "police", "gun", "rain")


@pytest.mark.parametrize(("exclusive", "expected"), [(True, [0.5, 0.3]), (False, [0.3, 0.3])])
def test_outputs_under_one_label_add_up_or_give_their_maximum(exclusive: bool, expected: list[float]) -> None:
    mapped = LabelMap(LABELS, {"siren": "alarm", "police": "alarm", "gun": "shot"}, exclusive=exclusive)
    assert mapped.labels == ("alarm", "shot")
    np.testing.assert_allclose(mapped.apply(np.array([0.2, 0.3, 0.3, 0.2], np.float32)), expected, atol=1e-7)


def test_without_a_map_labels_stand_for_themselves() -> None:
    mapped = LabelMap(LABELS, {}, exclusive=True)
    assert mapped.labels == LABELS
    values = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    np.testing.assert_array_equal(mapped.apply(values), values)


def test_sums_stay_probabilities() -> None:
    mapped = LabelMap(("a", "b"), {"a": "x", "b": "x"}, exclusive=True)
    assert mapped.apply(np.array([0.9, 0.2], np.float32)).tolist() == [1.0]


def test_a_map_from_a_label_that_the_model_lacks_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="map names 'horn', 'wind', which the model does not put out"):
        LabelMap(LABELS, {"wind": "x", "siren": "y", "horn": "z"}, exclusive=True)

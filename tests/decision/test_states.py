"""What is remembered goes through JSON and comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opinions import context

from streamcls.decision import Finding, KOfN, MovingAverage

PROBABILITY = st.floats(0.0, 1.0)
SINGLE = st.floats(0.0, 1.0, width=32)


def through_json(state: Any) -> Any:
    return json.loads(json.dumps(state, allow_nan=False))


@given(answers=st.lists(st.booleans(), max_size=12), more=st.lists(st.booleans(), max_size=6), n=st.integers(1, 8))
def test_a_vote_goes_on(answers: list[bool], more: list[bool], n: int) -> None:
    vote, again = KOfN(1 + n // 2, n), KOfN(1 + n // 2, n)
    for at, answer in enumerate(answers):
        vote.push(at, answer)
    again.restore(through_json(vote.state()))
    for at, answer in enumerate(more, len(answers)):
        assert vote.push(at, answer) == again.push(at, answer)
        assert vote.earliest == again.earliest


@given(values=st.lists(st.lists(SINGLE, min_size=3, max_size=3), max_size=10), more=st.lists(SINGLE, max_size=4))
def test_an_average_goes_on_to_the_last_bit(values: list[list[float]], more: list[float]) -> None:
    average, again = MovingAverage(4), MovingAverage(4)
    for at, one in enumerate(values):
        average.push(at, np.array(one, np.float32))
    again.restore(through_json(average.state()), 3)
    for at, value in enumerate(more, len(values)):
        one = np.full(3, value, np.float32)
        assert average.push(at, one).tobytes() == again.push(at, one).tobytes()


@given(probabilities=st.lists(PROBABILITY, max_size=20), more=st.lists(PROBABILITY, min_size=1, max_size=5))
def test_a_finding_goes_on_to_the_last_digit(probabilities: list[float], more: list[float]) -> None:
    where = context(["jazz"])
    finding = Finding(where, "genre.segment", "jazz", 10, 20, 1_000, extra={"cause": "silence"})
    for number, probability in enumerate(probabilities):
        finding.extend(20 + number, probability)
    finding.event("opened", 30)
    again = Finding.from_state(where, through_json(finding.state()))
    assert again == finding
    for probability in more:
        finding.extend(99, probability)
        again.extend(99, probability)
    assert again.event("closed", 99, "over") == finding.event("closed", 99, "over")
    assert (again.id, again.mean) == (finding.id, finding.mean)


def test_a_state_is_a_copy() -> None:
    finding = Finding(context(["jazz"]), "genre.segment", "jazz", 10, 20, 1_000, extra={"cause": "silence"})
    state = finding.state()
    finding.extra["cause"] = "other"
    assert state["extra"] == {"cause": "silence"}


@pytest.mark.parametrize("change", [{"label": 3}, {"windows": "4"}, {"peak": None}, {"unknown": 1}])
def test_a_state_of_something_else_is_no_finding(change: dict[str, Any]) -> None:
    finding = Finding(context(["jazz"]), "genre.segment", "jazz", 10, 20, 1_000)
    with pytest.raises(ValueError, match="no state of a finding"):
        Finding.from_state(finding.context, finding.state() | change)


def test_a_state_of_something_else_is_no_vote_and_no_average() -> None:
    with pytest.raises(ValueError, match="pairs of index and answer"):
        KOfN(1, 2).restore([[1, 0.5]])
    with pytest.raises(ValueError, match="3 answers, expected at most 2"):
        KOfN(1, 2).restore([[1, True], [2, True], [3, False]])
    with pytest.raises(ValueError, match="an average over 3 values"):
        MovingAverage(4).restore([[1, [0.5, 0.5]]], 3)

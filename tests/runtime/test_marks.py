from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamcls.audio import Run, SampleRing
from streamcls.runtime.marks import Marks
from streamcls.types import Chunk

RATE = 1_000


def run(first: int, n: int, *marked: int) -> Run:
    return Run(np.zeros((n, 1), np.float32), RATE, first, None, tuple((at, {"at": at}) for at in marked))


def test_the_newest_mark_at_or_before_what_is_wanted_is_given() -> None:
    marks = Marks()
    assert not marks
    for first in range(0, 3_000, 500):
        marks.add(run(first, 500, first))
    assert marks.newest(1_600, 1_600) == {"at": 1_500}
    assert marks.newest(1_999, 1_999) == {"at": 1_500}
    assert marks.newest(2_000, 2_000) == {"at": 2_000}


def test_what_is_wanted_beyond_what_is_needed_may_be_missing() -> None:
    marks = Marks()
    marks.add(run(1_000, 500, 1_000))
    assert marks.newest(1_200, 200) == {"at": 1_000}
    assert marks.newest(900, 200) is None


def test_marks_that_lie_close_together_are_thinned_out() -> None:
    marks = Marks()
    for first in range(0, 10_000, 10):
        marks.add(run(first, 10, first))
    assert marks.newest(5_055, 5_055)["at"] >= 5_055 - 100
    kept = [marks.newest(at, at)["at"] for at in range(5_100, 9_900, 50)]
    assert len(set(kept)) <= 54, "every 90 samples, where they came every 10"


def test_the_first_mark_behind_a_gap_stays() -> None:
    marks = Marks()
    marks.add(run(0, 1_000, 0, 500, 980))
    marks.add(run(1_001, 10, 1_001))
    marks.add(run(1_011, 10, 1_011))
    marks.add(run(1_021, 10, 1_021))
    assert marks.newest(1_010, 1_010) == {"at": 1_001}


def test_an_index_that_went_back_makes_earlier_marks_useless() -> None:
    marks = Marks()
    marks.add(run(5_000, 500, 5_000))
    marks.add(run(100, 500, 100))
    assert marks.newest(5_400, 5_400) == {"at": 100}


def test_another_source_begins_without_marks() -> None:
    marks = Marks()
    marks.add(run(0, 500, 0))
    marks.clear()
    assert not marks


def test_they_are_bounded_whatever_is_needed() -> None:
    marks = Marks()
    for first in range(0, 10_000 * 200, 200):
        marks.add(run(first, 200, first))
    assert marks.newest(0, 0) == {"at": 0}
    assert len(marks._kept) <= 4_096


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    reads=st.lists(st.integers(1, 70), min_size=1, max_size=8),
    gaps=st.sets(st.integers(0, 29)),
    timed=st.booleans(),
)
def test_the_ring_hands_every_mark_on_with_the_samples_that_it_belongs_to(sizes, reads, gaps, timed) -> None:
    ring, first, sent = SampleRing(10_000, 1, RATE), 0, []
    for number, n in enumerate(sizes):
        first += 5 if number in gaps else 0
        mark = {"number": number} if number % 3 else None
        ring.write(Chunk("s", np.zeros((n, 1), np.float32), RATE, first, 1.0 if timed else None, mark))
        if mark is not None:
            sent.append((first, mark))
        first += n
    got, turn = [], 0
    while (part := ring.read(reads[turn % len(reads)])) is not None:
        assert all(part.first_sample <= at < part.end_sample for at, _ in part.marks)
        got += part.marks
        turn += 1
    assert got == sent

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamcls.audio import Run, SampleRing
from streamcls.types import Chunk

RATE = 1000
CAPACITY = 9_000


def _chunk(first: int, n: int, captured_at: float | None = None, channels: int = 2) -> Chunk:
    index = np.arange(first, first + n, dtype=np.float32)
    return Chunk(
        "s", np.stack([index * (channel + 1) for channel in range(channels)], axis=1), RATE, first, captured_at
    )


class RingAgainstList(RuleBasedStateMachine):
    """The ring holds what a plain list of (index, time) would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = SampleRing(CAPACITY, 2, RATE)
        self.model: list[int] = []
        self.times: dict[int, float] = {}
        self.next = 0

    @rule(n=st.integers(0, 5_000), jump=st.sampled_from([0, 0, 0, 1, 700]), timed=st.booleans())
    def write(self, n: int, jump: int, timed: bool) -> None:
        first = self.next + jump
        time = first / RATE + 50.0 if timed else None
        taken = self.ring.write(_chunk(first, n, time))
        assert taken == (n <= CAPACITY - len(self.model))
        if taken and n:
            self.model += range(first, first + n)
            self.next = first + n
            if time is not None:
                self.times.update({first + i: time + i / RATE for i in range(n)})

    @precondition(lambda self: self.model)
    @rule(limit=st.integers(1, 6_000))
    def read(self, limit: int) -> None:
        run = self.ring.read(limit)
        assert run is not None
        first, n = self.model[0], 1
        while n < min(limit, len(self.model)) and self.model[n] == first + n:
            n += 1
        assert (run.first_sample, len(run.samples), run.end_sample) == (first, n, first + n)
        expected = np.arange(first, first + n, dtype=np.float32)
        np.testing.assert_array_equal(run.samples, np.stack([expected, expected * 2], axis=1))
        if first in self.times:
            assert run.captured_at == pytest.approx(self.times[first])
        else:
            assert run.captured_at is None
        del self.model[:n]

    @precondition(lambda self: not self.model)
    @rule()
    def read_nothing(self) -> None:
        assert self.ring.read(10) is None

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.ring) == len(self.model)
        assert self.ring.room == CAPACITY - len(self.model)


TestRingAgainstList = RingAgainstList.TestCase
TestRingAgainstList.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_chunk_that_does_not_fit_is_refused_whole() -> None:
    ring = SampleRing(10, 2, RATE)
    assert ring.write(_chunk(0, 8))
    assert not ring.write(_chunk(8, 3))
    assert ring.write(_chunk(8, 2))
    run = ring.read(100)
    assert run is not None
    assert run.end_sample == 10


def test_what_was_read_stays_as_it_is_when_the_storage_is_used_again() -> None:
    ring = SampleRing(10, 1, RATE)
    ring.write(_chunk(0, 10, channels=1))
    run = ring.read(10)
    assert run is not None
    before = run.samples.copy()
    ring.write(_chunk(10, 10, channels=1))
    np.testing.assert_array_equal(run.samples, before)


def test_a_small_stream_takes_little_memory() -> None:
    ring = SampleRing(10_000_000, 1, RATE)
    for first in range(0, 1_000_000, 1000):
        ring.write(_chunk(first, 1000, channels=1))
        ring.read(1000)
    assert ring._data.nbytes <= 4096 * 4


@pytest.mark.parametrize("chunk", [_chunk(0, 5, channels=1), Chunk("s", np.zeros((5, 2), np.float32), 48_000, 0)])
def test_another_format_is_refused(chunk: Chunk) -> None:
    with pytest.raises(ValueError, match=r"the ring holds 2 at 1000 Hz"):
        SampleRing(10, 2, RATE).write(chunk)


def test_a_ring_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity is 0"):
        SampleRing(0, 1, RATE)


def test_a_run_knows_where_it_ends() -> None:
    assert Run(np.zeros((5, 1), np.float32), RATE, 7, None).end_sample == 12
    assert _chunk(7, 5).end_sample == 12

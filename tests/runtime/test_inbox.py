from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamcls.audio import Run
from streamcls.runtime.inbox import Inbox
from streamcls.types import Chunk, EndOfStream, StreamItem, StreamStatus

RATE = 1000


def _chunk(first: int, n: int, rate: int = RATE, channels: int = 1) -> Chunk:
    index = np.arange(first, first + n, dtype=np.float32)
    return Chunk("s", np.repeat(index[:, None], channels, axis=1), rate, first)


class InboxAgainstList(RuleBasedStateMachine):
    """Everything that was taken comes out, in order, samples with their index and format, marks in their place."""

    def __init__(self) -> None:
        super().__init__()
        self.inbox = Inbox(2.0)
        self.model: list[tuple] = []
        self.next = 0

    @rule(
        n=st.integers(1, 1500),
        jump=st.sampled_from([0, 0, 7]),
        rate=st.sampled_from([RATE, RATE, 2000]),
        channels=st.sampled_from([1, 1, 2]),
    )
    def offer_audio(self, n: int, jump: int, rate: int, channels: int) -> None:
        first = self.next + jump
        waiting = sum(1 / entry[2] for entry in self.model if entry[0] == "sample")
        taken = self.inbox.offer(_chunk(first, n, rate, channels))
        if waiting == 0 or waiting + n / rate <= 2.0 - 1e-9:
            assert taken
        if waiting and waiting + n / rate > 2.0 + 1e-9:
            assert not taken
        if taken:
            self.model += [("sample", i, rate, channels) for i in range(first, first + n)]
            self.next = first + n

    @rule(end=st.booleans())
    def offer_mark(self, end: bool) -> None:
        item: StreamItem = EndOfStream("s") if end else StreamStatus("s", "retrying")
        assert self.inbox.offer(item)
        self.model.append(("mark", item))

    @rule(limit_s=st.sampled_from([0.0001, 0.3, 5.0]))
    def take(self, limit_s: float) -> None:
        piece = self.inbox.take(limit_s)
        if not self.model:
            assert piece is None
            return
        if self.model[0][0] == "mark":
            assert piece == self.model.pop(0)[1]
            return
        assert isinstance(piece, Run)
        n = len(piece.samples)
        assert 1 <= n <= max(1, round(limit_s * piece.sample_rate))
        channels = piece.samples.shape[1]
        assert self.model[:n] == [("sample", piece.first_sample + i, piece.sample_rate, channels) for i in range(n)]
        np.testing.assert_array_equal(
            piece.samples[:, 0], np.arange(piece.first_sample, piece.end_sample, dtype=np.float32)
        )
        del self.model[:n]

    @invariant()
    def knows_whether_something_waits(self) -> None:
        assert bool(self.inbox) == bool(self.model)
        waiting = sum(1 / entry[2] for entry in self.model if entry[0] == "sample")
        assert self.inbox.waiting_s == pytest.approx(waiting)


TestInboxAgainstList = InboxAgainstList.TestCase
TestInboxAgainstList.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_chunk_longer_than_the_buffer_is_taken_where_nothing_waits() -> None:
    inbox = Inbox(1.0)
    assert inbox.offer(_chunk(0, 5000))
    assert not inbox.offer(_chunk(5000, 1))
    run = inbox.take(10.0)
    assert isinstance(run, Run)
    assert len(run.samples) == 5000
    assert inbox.offer(_chunk(5000, 1))


def test_marks_are_bounded_and_room_comes_back() -> None:
    inbox = Inbox(1.0)
    taken = 0
    while inbox.offer(StreamStatus("s", "stalled")):
        taken += 1
        assert taken <= 1000
    assert taken == 1000
    assert not inbox.offer(_chunk(0, 10)), "a change from marks to audio is bounded too"
    inbox.take(1.0)
    assert inbox.offer(_chunk(0, 10))


def test_a_stream_that_keeps_its_format_uses_one_ring() -> None:
    inbox = Inbox(1.0)
    for first in range(0, 50_000, 100):
        assert inbox.offer(_chunk(first, 100))
        assert isinstance(inbox.take(1.0), Run)
    assert len(inbox._parts) == 1

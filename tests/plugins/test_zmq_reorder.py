"""Whatever the order of arrival, the samples leave in the order of their index, each once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcls import Chunk, EndOfStream
from streamcls_zmq.ingest import Arrival
from streamcls_zmq.reorder import ORDER_COUNTERS, StreamOrder

RATE = 1_000
REORDER_S = 0.5
WINDOW = 500


def arrival(first: int, length: int, *, end: bool = False, rate: int = RATE, channels: int = 1) -> Arrival:
    """Audio in which every sample is its own index."""
    samples = np.repeat(np.arange(first, first + length, dtype=np.float32)[:, None], channels, axis=1)
    return Arrival(Chunk("s", samples, rate, first, captured_at=first / rate), end)


class Order(StreamOrder):
    """A stream of which the counters are at hand."""

    def __init__(self, reorder_s: float = REORDER_S) -> None:
        self.counts = dict.fromkeys(ORDER_COUNTERS, 0)
        super().__init__("s", reorder_s, self.counts)

    def feed(self, *arrivals: Arrival, now: float = 0.0):
        return spans([item for one in arrivals for item in self.push(one, now)])


def spans(items) -> list:
    """First and end index of each chunk, "end" for the end; the samples are held against the indices."""
    result: list = []
    for item in items:
        if isinstance(item, EndOfStream):
            result.append("end")
            continue
        assert item.samples[:, 0].tolist() == list(range(item.first_sample, item.end_sample))
        assert item.captured_at == pytest.approx(item.first_sample / item.sample_rate)
        result.append((item.first_sample, item.end_sample))
    return result


def test_chunks_in_order_pass_at_once():
    order = Order()

    assert order.feed(arrival(70, 10)) == [(70, 80)]
    assert order.feed(arrival(80, 5)) == [(80, 85)]
    assert order.expected == 85


def test_two_chunks_that_changed_places_are_put_right():
    order = Order()
    order.feed(arrival(0, 10))

    assert order.feed(arrival(20, 10)) == []
    assert order.feed(arrival(10, 10)) == [(10, 20), (20, 30)]
    assert order.counts["reordered"] == 1
    assert order.counts["gaps"] == order.counts["late"] == 0
    assert order.waiting_bytes == 0


def test_a_chunk_sent_twice_is_dropped_and_counted():
    order = Order()

    assert order.feed(arrival(0, 10), arrival(0, 10), arrival(0, 4)) == [(0, 10)]
    assert order.counts["late"] == 2


def test_a_waiting_chunk_sent_twice_waits_once():
    order = Order()
    order.feed(arrival(0, 10), arrival(20, 10))
    before = order.waiting_bytes

    assert order.feed(arrival(20, 10)) == []
    assert order.waiting_bytes == before
    assert order.feed(arrival(10, 10)) == [(10, 20), (20, 30)]
    assert order.counts["late"] == 1


def test_an_overlap_is_cut_off_the_front():
    order = Order()

    assert order.feed(arrival(0, 10), arrival(6, 10)) == [(0, 10), (10, 16)]
    assert order.counts["trimmed"] == 1


def test_a_missing_chunk_is_given_up_when_enough_later_audio_has_come():
    order = Order()
    order.feed(arrival(0, 100))

    assert order.feed(*(arrival(index, 100) for index in range(200, 700, 100))) == []
    assert order.feed(arrival(700, 1)) == [(index, index + 100) for index in range(200, 700, 100)] + [(700, 701)]
    assert order.counts["gaps"] == 1
    assert order.feed(arrival(100, 100)) == []
    assert order.counts["late"] == 1


def test_a_missing_chunk_is_given_up_when_the_time_is_over():
    order = Order()
    order.feed(arrival(0, 100), now=10.0)
    order.feed(arrival(200, 100), now=11.0)

    assert order.expire(11.4) == []
    assert spans(order.expire(11.5)) == [(200, 300)]


def test_each_hole_has_its_own_time():
    order = Order()
    order.feed(arrival(0, 10))
    order.feed(arrival(20, 10), now=1.0)
    order.feed(arrival(40, 10), now=1.3)

    assert spans(order.expire(1.5)) == [(20, 30)]
    assert spans(order.expire(1.8)) == [(40, 50)]


def test_without_patience_a_hole_is_a_gap_at_once():
    order = Order(reorder_s=0.0)

    assert order.feed(arrival(0, 10), arrival(20, 10)) == [(0, 10), (20, 30)]


def test_a_jump_of_any_size_costs_nothing():
    order = Order()
    far = (1 << 53) - 1_000

    assert order.feed(arrival(0, 10)) == [(0, 10)]
    jump = Arrival(Chunk("s", np.zeros((20, 1), np.float32), RATE, far))
    assert order.push(jump, 0.0) == []
    (chunk,) = order.expire(0.5)
    assert (chunk.first_sample, order.expected) == (far, far + 20)


def test_one_chunk_from_the_far_future_does_not_stop_the_stream():
    order = Order()
    order.feed(arrival(0, 100))
    order.push(Arrival(Chunk("s", np.zeros((100, 1), np.float32), RATE, 1 << 40)), 0.0)

    assert order.feed(*(arrival(index, 100) for index in (100, 200, 300))) == [(100, 200), (200, 300), (300, 400)]


def test_the_number_of_waiting_chunks_is_bounded():
    order = Order()
    order.feed(arrival(0, 1))
    for index in range(2, 2_000, 2):
        order.feed(arrival(index, 1))
        assert order.waiting_bytes <= 257 * 516


def test_the_memory_of_waiting_chunks_is_bounded():
    order = Order(reorder_s=10.0)
    rate = 768_000
    order.feed(arrival(0, 1, rate=rate, channels=64))
    for index in range(10_000, 200_000, 10_000):
        order.push(arrival(index, 9_999, rate=rate, channels=64), 0.0)
        assert order.waiting_bytes <= 8 << 20


def test_the_end_closes_the_stream():
    order = Order()

    assert order.feed(arrival(0, 10), arrival(10, 5, end=True)) == [(0, 10), (10, 15), "end"]
    assert order.over
    assert order.counts["ended"] == 1


def test_an_end_without_audio_closes_the_stream():
    order = Order()

    assert order.feed(arrival(0, 10), arrival(10, 0, end=True)) == [(0, 10), "end"]


def test_an_end_with_an_index_that_lies_behind_is_believed():
    order = Order()

    assert order.feed(arrival(5_000, 10), arrival(0, 0, end=True)) == [(5_000, 5_010), "end"]


def test_an_end_that_overtook_audio_waits_for_it():
    order = Order()

    assert order.feed(arrival(0, 10), arrival(20, 0, end=True)) == [(0, 10)]
    assert order.feed(arrival(10, 10)) == [(10, 20), "end"]


def test_an_end_whose_audio_is_lost_comes_when_the_time_is_over():
    order = Order()
    order.feed(arrival(0, 10), arrival(20, 0, end=True))

    assert spans(order.expire(0.5)) == ["end"]
    assert order.over


def test_an_end_told_only_by_the_second_copy_of_a_waiting_chunk_is_heard():
    order = Order()
    order.feed(arrival(0, 10), arrival(20, 10), arrival(20, 10, end=True))

    assert order.feed(arrival(10, 10)) == [(10, 20), (20, 30), "end"]


def test_what_waits_beyond_the_end_is_dropped():
    order = Order()

    assert order.feed(arrival(0, 10), arrival(30, 5), arrival(10, 10, end=True)) == [(0, 10), (10, 20), "end"]
    assert (order.counts["late"], order.waiting_bytes) == (1, 0)


def test_an_end_before_any_audio_is_nothing():
    order = Order()

    assert order.feed(arrival(0, 0, end=True)) == []
    assert order.over


def test_a_sender_that_begins_anew_is_heard_from_its_first_sample():
    order = Order()
    order.feed(arrival(9_000, 1_000))

    assert order.feed(arrival(0, 10), arrival(10, 10)) == []
    assert order.feed(arrival(20, 10)) == ["end", (0, 10), (10, 20), (20, 30)]
    assert (order.counts["restarts"], order.counts["late"]) == (1, 0)
    assert order.feed(arrival(30, 10)) == [(30, 40)]


def test_a_short_stream_begun_anew_is_complete_at_its_end():
    order = Order()
    order.feed(arrival(9_000, 1_000))

    assert order.feed(arrival(0, 10), arrival(10, 0, end=True)) == ["end", (0, 10), "end"]
    assert order.over


def test_a_single_chunk_with_an_end_is_a_new_stream():
    order = Order()
    order.feed(arrival(9_000, 1_000))

    assert order.feed(arrival(0, 10, end=True)) == ["end", (0, 10), "end"]


def test_a_new_beginning_is_believed_when_the_old_stream_is_silent():
    order = Order()
    order.feed(arrival(9_000, 1_000))
    order.feed(arrival(0, 10), now=1.0)

    assert order.expire(1.4) == []
    assert spans(order.expire(1.5)) == ["end", (0, 10)]


def test_the_end_of_the_old_stream_after_a_new_beginning_ends_only_the_old_one():
    order = Order()
    order.feed(arrival(9_000, 1_000))
    order.feed(arrival(0, 10))

    assert order.feed(arrival(10_000, 0, end=True)) == ["end", (0, 10)]
    assert order.expire(100.0) == []
    assert not order.over


def test_another_rate_is_a_new_stream():
    order = Order()
    order.feed(arrival(0, 1_000))

    new = [arrival(index, 10, rate=2_000) for index in (1_000, 1_010, 1_020)]
    assert order.feed(*new) == ["end", (1_000, 1_010), (1_010, 1_020), (1_020, 1_030)]


def test_another_number_of_channels_is_a_new_stream():
    order = Order()
    order.feed(arrival(0, 1_000))

    new = [arrival(index, 10, channels=2) for index in (1_000, 1_010, 1_020)]
    assert order.feed(*new) == ["end", (1_000, 1_010), (1_010, 1_020), (1_020, 1_030)]


@pytest.mark.parametrize("stray", [arrival(0, 10), arrival(5_000, 10, rate=8_000), arrival(5_000, 10, channels=2)])
def test_a_second_sender_of_the_same_name_does_not_tear_the_stream_apart(stray):
    order = Order()
    result = []
    for index in range(5_000, 6_000, 100):
        result += order.feed(arrival(index, 100), stray)

    assert result == [(index, index + 100) for index in range(5_000, 6_000, 100)]
    order.release(0.0)
    assert (order.counts["late"], order.counts["restarts"], order.waiting_bytes) == (10, 0, 0)


def test_chunks_that_are_merely_late_never_begin_a_stream():
    order = Order()
    order.feed(arrival(0, 10), arrival(400, 100))
    order.expire(1.0)

    assert order.feed(*(arrival(index, 10) for index in range(10, 400, 10))) == []
    assert (order.counts["late"], order.counts["restarts"]) == (39, 0)


def test_chunks_that_come_for_a_hole_after_all_never_begin_a_stream():
    order = Order()
    order.feed(arrival(0, 10), arrival(400, 100))
    order.expire(1.0)
    order.feed(*(arrival(index, 100) for index in range(500, 9_000, 100)))

    assert order.feed(*(arrival(index, 10) for index in range(10, 400, 10))) == []
    assert (order.counts["late"], order.counts["restarts"]) == (39, 0)


def test_a_sender_that_jumped_far_ahead_and_comes_back_is_heard_again():
    order = Order()
    order.feed(arrival(0, 100))
    order.push(Arrival(Chunk("s", np.zeros((100, 1), np.float32), RATE, 1 << 40)), 0.0)
    order.expire(1.0)

    back = [arrival(index, 100) for index in (100, 200, 300)]
    assert order.feed(*back) == ["end", (100, 200), (200, 300), (300, 400)]


@pytest.mark.parametrize("later", [2_000, 20_000])
def test_a_new_beginning_is_complete_though_the_old_stream_had_a_hole_there(later):
    order = Order()
    order.feed(arrival(0, 10), arrival(400, 100))
    order.expire(1.0)
    order.feed(*(arrival(index, 500) for index in range(500, 20_000, 500)))
    again = order.feed(*(arrival(index, 500) for index in range(0, later, 500)))

    assert again == ["end", *((index, index + 500) for index in range(0, later, 500))]
    once_more = order.feed(*(arrival(index, 100) for index in range(0, 400, 100)))
    assert once_more == ["end", (0, 100), (100, 200), (200, 300), (300, 400)]


def test_release_passes_on_what_waits():
    order = Order()
    order.feed(arrival(0, 10), arrival(20, 10), arrival(40, 10))

    assert spans(order.release(0.0)) == [(20, 30), (40, 50)]
    assert order.waiting_bytes == 0


def test_finish_passes_on_what_waits_and_what_was_set_aside_and_ends():
    order = Order()
    order.feed(arrival(9_000, 10), arrival(9_020, 10), arrival(0, 10))

    assert spans(order.finish(0.0)) == [(9_020, 9_030), "end", (0, 10), "end"]
    assert order.over


@settings(deadline=None)
@given(st.data())
def test_any_disorder_within_the_window_is_undone(data):
    """Chunks of any lengths, some lost, some doubled, some overlapping, displaced by at most the window."""
    lengths = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=40))
    start = data.draw(st.integers(0, 1_000))
    edges = np.cumsum([start + 10, *lengths]).tolist()
    sent = []
    covered = set(range(start, start + 10))
    for edge, last in pairwise(edges):
        fate = data.draw(st.sampled_from(["sent", "sent", "sent", "lost", "twice", "overlapping"]))
        if fate == "lost":
            continue
        reach = data.draw(st.integers(0, 30)) if fate == "overlapping" else 0
        first = max(start, edge - reach)
        sent += [(first, last - first)] * (2 if fate == "twice" else 1)
        covered.update(range(first, last))
    # Each chunk moves back by at most 200 samples' worth of others: with doubles and overlaps that stays within 500.
    delays = [first + data.draw(st.integers(0, 200)) for first, _ in sent]
    order = Order()
    items = order.push(arrival(start, 10), 0.0)
    for _, (first, length) in sorted(zip(delays, sent, strict=True)):
        items += order.push(arrival(first, length), 0.0)
    items += order.release(0.0)

    got = [index for first, last in spans(items) for index in range(first, last)]
    assert got == sorted(covered)
    assert order.counts["restarts"] == 0
    assert order.waiting_bytes == 0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 3_000), st.sampled_from([1 << 40, (1 << 53) - 500])),
            st.integers(0, 300),
            st.sampled_from([1, 1, 1, 2]),
            st.sampled_from([False] * 9 + [True]),
            st.sampled_from([0.0, 0.0, 0.01, 0.6]),
        ),
        max_size=80,
    )
)
def test_whatever_comes_indices_rise_within_a_stream_and_nothing_is_left_over(messages):
    order = Order()
    now = 0.0
    last_end = None
    for first, length, channels, end, pause in messages:
        if order.over:
            assert order.waiting_bytes == 0
            order, last_end = Order(), None
        now += pause
        chunk = Chunk("s", np.zeros((length, channels), np.float32), RATE, first)
        if not length and not end:
            continue
        for item in order.push(Arrival(chunk, end), now) + ([] if order.over else order.expire(now)):
            if isinstance(item, EndOfStream):
                last_end = None
            else:
                assert len(item.samples)
                assert last_end is None or item.first_sample >= last_end
                last_end = item.end_sample
    if not order.over:
        items = order.finish(now)
        assert isinstance(items[-1], EndOfStream)
    assert order.waiting_bytes == 0

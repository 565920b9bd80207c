"""Number, memory and life of streams are bounded, and the log says what was wrong without being flooded."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from streamcls import Chunk, EndOfStream, StreamStatus
from streamcls_zmq.config import ZmqConfig
from streamcls_zmq.streams import StreamTable, new_counters


def message(stream: str, first: int = 0, length: int = 100, **more) -> list[bytes]:
    header = {"version": 1, "sample_rate": 1_000, "channels": 1, "encoding": "pcm_s16le", "first_sample": first}
    return [stream.encode(), json.dumps(header | more).encode(), np.zeros(length, "<i2").tobytes()]


def table(**settings) -> tuple[StreamTable, dict[str, int]]:
    counters = new_counters()
    return StreamTable(ZmqConfig(bind="inproc://x", **settings), "ingest", counters), counters


@pytest.fixture
def lines(caplog):
    """Return what was logged so far."""
    caplog.set_level(logging.WARNING, "streamcls_zmq")
    return lambda: caplog.messages


def test_streams_do_not_touch_each_other():
    streams, counters = table()
    items = [item for index in (0, 100, 200) for name in "abc" for item in streams.push(message(name, index), 0.0)]

    for name in "abc":
        assert [item.first_sample for item in items if item.stream == name] == [0, 100, 200]
    assert counters["streams"] == counters["opened"] == 3
    assert counters["messages"] == counters["chunks"] == 9


def test_streams_beyond_the_limit_are_refused_until_one_ends(lines):
    streams, counters = table(max_streams=2)
    streams.push(message("a"), 0.0)
    streams.push(message("b"), 0.0)

    assert streams.push(message("c"), 0.0) == []
    assert (len(streams), counters["refused"]) == (2, 1)
    assert lines() == ["ingest: stream c refused: max_streams allows 2 at a time"]

    assert streams.push(message("a", 100, 0, end=True), 0.0) == [EndOfStream("a")]
    (chunk,) = streams.push(message("c", 100), 0.0)
    assert isinstance(chunk, Chunk)
    assert (len(streams), counters["streams"], counters["opened"], counters["ended"]) == (2, 2, 3, 1)


def test_a_stream_of_which_nothing_comes_expires(lines):
    streams, counters = table(idle_s=5.0)
    streams.push(message("a"), 0.0)
    streams.push(message("b"), 3.0)
    streams.push(message("a", 100), 4.0)

    assert streams.expire(7.9) == []
    status, end = streams.expire(8.0)
    assert isinstance(status, StreamStatus)
    assert (status.stream, status.state, status.reason) == ("b", "stalled", "nothing received for 5 s")
    assert end == EndOfStream("b")
    assert lines() == ["ingest: stream b ended: nothing received for 5 s, and its sender did not say that it is over"]
    assert (len(streams), counters["streams"], counters["idle"]) == (1, 1, 1)


def test_an_expiring_stream_passes_on_what_waited():
    streams, _ = table(idle_s=0.1)
    streams.push(message("a"), 0.0)
    streams.push(message("a", 200), 0.0)

    chunk, status, end = streams.expire(1.0)
    assert (chunk.first_sample, status.state, end) == (200, "stalled", EndOfStream("a"))
    assert streams.waiting_bytes == 0


def test_messages_that_bring_nothing_keep_no_stream_open():
    streams, counters = table()

    assert streams.push(message("a", 0, 0, end=True), 0.0) == []
    assert (len(streams), counters["opened"], counters["late"]) == (0, 0, 1)


def test_a_waiting_chunk_is_passed_on_in_time():
    streams, counters = table()
    streams.push(message("a"), 0.0)
    assert streams.push(message("a", 200), 1.0) == []
    assert streams.waiting_bytes > 0

    assert streams.expire(1.4) == []
    (chunk,) = streams.expire(1.5)
    assert (chunk.first_sample, counters["gaps"], streams.waiting_bytes) == (200, 1, 0)


def test_the_memory_of_all_streams_together_is_bounded():
    streams, counters = table(max_message_bytes=1 << 22, reorder_s=10.0, max_chunk_s=60.0)
    length = 1 << 20
    more = {"sample_rate": 192_000}
    for number in range(40):
        streams.push(message(f"s{number}", 0, 1, **more), 0.0)
        streams.push(message(f"s{number}", 10, length, **more), 0.0)
        assert streams.waiting_bytes <= 64 << 20
    assert counters["gaps"] == 40 - 15


def test_a_malformed_message_is_counted_by_reason_and_touches_no_stream(lines):
    streams, counters = table()

    assert streams.push([b"a", b"{}", b""], 0.0) == []
    assert streams.push([b"a"], 0.0) == []
    assert (counters["malformed"], counters["malformed_version"], counters["malformed_frames"]) == (2, 1, 1)
    assert len(streams) == 0
    assert len(lines()) == 2
    assert lines()[0] == "ingest: malformed message dropped: stream a: version is missing, expected 1"


def test_a_flood_of_malformed_messages_is_one_line_at_once_and_one_later(lines):
    streams, counters = table()
    for number in range(1_000):
        streams.push([b"a"], number / 1_000)
        streams.expire(number / 1_000)
    assert len(lines()) == 1

    streams.expire(9.9)
    assert len(lines()) == 1
    streams.expire(10.0)
    assert lines()[1:] == [
        "ingest: malformed message dropped: 1 frames, expected 3: stream, header and audio (999 such in 10 s)"
    ]
    streams.expire(20.0)
    streams.push([b"a"], 20.0)
    assert len(lines()) == 3
    assert counters["malformed"] == 1_001


def test_a_sender_that_begins_anew_is_named_in_the_log(lines):
    streams, counters = table()
    streams.push(message("a", 50_000), 0.0)
    for index in (0, 100, 200):
        items = streams.push(message("a", index), 0.0)

    assert items[0] == EndOfStream("a")
    assert [item.first_sample for item in items[1:]] == [0, 100, 200]
    assert counters["restarts"] == 1
    assert lines() == ["ingest: stream a began anew: its sender left the order, sample 50100 was expected"]

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from fakes import LONG_S, NO_MODELS, RATE, Collector, FakeBackend, audio, plan_with

from streamcls import Chunk, EndOfStream, StreamStatus
from streamcls.runtime.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamcls.runtime.models import StreamPlan
    from streamcls.runtime.slot import StreamSlot

NEVER = threading.Event()


@pytest.fixture
def events() -> Collector:
    return Collector()


@pytest.fixture
def worker(events: Collector) -> Iterator[Worker]:
    made = Worker(0, events, buffer_s=2.0)
    yield made
    if made.ident is not None:
        made.finish("shutdown", 0.0)
        made.join(LONG_S)
    assert not made.is_alive()


def feed(
    worker: Worker, slot: StreamSlot, *items: Chunk | StreamStatus | EndOfStream, live: bool = False
) -> list[bool]:
    return [worker.deliver(slot, item, live=live, stop=NEVER) for item in items]


def stop(worker: Worker, drain_s: float = LONG_S) -> None:
    worker.finish("shutdown", drain_s)
    worker.join(LONG_S)
    assert not worker.is_alive()


class Gate:
    """Holds a classifier up at its first window until a test lets it go on."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, _window: object) -> None:
        self.reached.set()
        assert self.go.wait(LONG_S)


def held_up(worker: Worker, gate: Gate, plan: StreamPlan, *, live: bool = False) -> tuple[StreamSlot, int]:
    """Start a stream whose worker is held up at its first window; return its next sample. Nothing waits in its inbox."""
    slot = worker.open("radio-1", plan, "")
    worker.start()
    piece = RATE // 2
    n = -(-round(plan.models[0][0].bundle.window_s * RATE + 100) // piece) * piece
    feed(worker, slot, audio(0, n), live=live)
    assert gate.reached.wait(LONG_S)
    assert not slot.inbox
    return slot, n


def test_streams_have_their_turn_piece_by_piece(worker: Worker, events: Collector) -> None:
    """Two seconds wait of each of three streams: no stream is finished before every other has begun."""
    names = ["a", "b", "c"]
    seconds = 2
    for name in names:
        slot = worker.open(name, NO_MODELS, "")
        feed(worker, slot, *(audio(second * RATE, RATE, name) for second in range(seconds)), EndOfStream(name))
    worker.start()
    events.wait_for(lambda all_: sum(e.data["state"] == "ended" for e in all_) == len(names))
    order = [(e.stream, e.data["state"]) for e in events.events]
    assert order == [(name, "running") for name in names] + [(name, "ended") for name in names]
    assert len(worker) == 0, "streams that ended are forgotten"


def test_audio_that_is_not_live_waits_for_room_and_none_is_lost(
    worker: Worker, events: Collector, tmp_path: Path
) -> None:
    gate = Gate()
    slot = worker.open("radio-1", plan_with(tmp_path, FakeBackend(gate)), "")
    total_s, done = 12, threading.Event()

    def deliver() -> None:
        assert all(
            feed(worker, slot, *(audio(second * RATE, RATE) for second in range(total_s)), EndOfStream("radio-1"))
        )
        done.set()

    worker.start()
    thread = threading.Thread(target=deliver)
    thread.start()
    assert gate.reached.wait(LONG_S)
    assert not done.wait(0.3)
    assert slot.inbox.waiting_s <= 2.0
    gate.go.set()
    assert done.wait(LONG_S)
    thread.join()
    events.wait_for(lambda all_: "ended" in [e.data.get("state") for e in all_])
    assert events.states() == ["running", "ended"], "no gap"
    ended = next(e for e in events.events if e.data.get("state") == "ended")
    assert ended.sample == total_s * RATE
    assert slot.dropped_samples == 0


def test_a_wait_for_room_ends_when_the_source_or_the_worker_is_stopped(worker: Worker, tmp_path: Path) -> None:
    gate = Gate()
    slot, at = held_up(worker, gate, plan_with(tmp_path, FakeBackend(gate)))
    feed(worker, slot, audio(at, 2 * RATE))
    stopped = threading.Event()
    stopped.set()
    assert worker.deliver(slot, audio(at + 2 * RATE, RATE), live=False, stop=stopped) is False
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.extend(feed(worker, slot, audio(at + 2 * RATE, RATE))))
    thread.start()
    worker.finish("shutdown", 0.0)
    thread.join(LONG_S)
    assert answers == [False]
    gate.go.set()


def test_live_audio_without_room_is_dropped_whole_counted_and_shows_as_a_gap(
    worker: Worker, events: Collector, tmp_path: Path
) -> None:
    gate = Gate()
    slot, at = held_up(worker, gate, plan_with(tmp_path, FakeBackend(gate)), live=True)
    assert feed(worker, slot, *(audio(at + n * RATE, RATE) for n in range(5)), live=True) == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert slot.dropped_samples == 3 * RATE
    assert worker.deliver(slot, StreamStatus("radio-1", "stalled"), live=True, stop=NEVER), (
        "words of the source are not dropped"
    )
    gate.go.set()
    events.wait_for(lambda all_: "stalled" in [e.data.get("state") for e in all_])
    feed(worker, slot, audio(at + 5 * RATE, RATE), EndOfStream("radio-1"), live=True)
    events.wait_for(lambda all_: "ended" in [e.data.get("state") for e in all_])
    (gap,) = [e for e in events.events if e.data.get("state") == "gap"]
    assert (gap.data["first_sample"], gap.data["end_sample"]) == (at + 2 * RATE, at + 5 * RATE)


def test_what_raises_costs_its_stream_only_and_is_given_up_after_five(
    worker: Worker, events: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_window: object) -> None:
        raise RuntimeError("boom")

    bad = worker.open("bad", plan_with(tmp_path, FakeBackend(fail)), "")
    good = worker.open("good", NO_MODELS, "")
    worker.start()
    position = 0
    while not bad.given_up:
        feed(worker, bad, audio(position, RATE, "bad"))
        feed(worker, good, audio(position, RATE, "good"))
        position += RATE
    feed(worker, bad, audio(position, RATE, "bad"), EndOfStream("bad"))
    feed(worker, good, EndOfStream("good"))
    events.wait_for(lambda all_: "ended" in [e.data.get("state") for e in all_ if e.stream == "good"])
    stop(worker)
    states = events.states("bad")
    assert [state for state in states if state != "running"] == ["retrying"] * 4 + ["failed"]
    assert states[-1] == "failed"
    reasons = [e.data["reason"] for e in events.of("bad") if e.data["state"] in {"retrying", "failed"}]
    assert reasons == ["RuntimeError: boom; it begins anew"] * 4 + ["RuntimeError: boom; it is given up"]
    assert events.states("good") == ["running", "ended"]
    assert caplog.text.count("its pipeline raised") == 5
    assert len(worker) == 0


def test_a_stream_that_was_given_up_and_ended_may_come_again(worker: Worker, events: Collector, tmp_path: Path) -> None:
    broken = [True]

    def fail(_window: object) -> None:
        if broken[0]:
            raise RuntimeError("boom")

    plan = plan_with(tmp_path, FakeBackend(fail))
    slot = worker.open("radio-1", plan, "")
    worker.start()
    position = 0
    while not slot.given_up:
        feed(worker, slot, audio(position, RATE))
        position += RATE
    broken[0] = False
    feed(worker, slot, EndOfStream("radio-1"))
    again = worker.open("radio-1", plan, "")
    feed(worker, again, audio(0, 6 * RATE), EndOfStream("radio-1"))
    events.wait_for(lambda all_: "ended" in [e.data.get("state") for e in all_])
    assert any(e.kind == "fake.window" for e in events.events)
    assert len(worker) == 0


def test_a_failing_stream_is_well_again_after_a_thousand_good_pieces(
    worker: Worker, events: Collector, tmp_path: Path
) -> None:
    bad = {0, 1, 2, 3, 1_010, 2_020}
    count = 0

    slot = worker.open("radio-1", NO_MODELS, "")
    worker.start()
    for count in range(2_100):
        status = StreamStatus("radio-1", "stalled", metadata=None if count in bad else {})  # type: ignore[arg-type]
        feed(worker, slot, status)
    events.wait_for(lambda all_: len(all_) == count + 1)
    assert events.states().count("retrying") == len(bad)
    assert "failed" not in events.states()
    assert slot.failures == 1


@pytest.mark.parametrize("state", ["retrying", "failed"])
def test_when_its_source_is_lost_what_is_open_is_closed(
    worker: Worker, events: Collector, tmp_path: Path, state: str
) -> None:
    slot = worker.open("radio-1", plan_with(tmp_path, FakeBackend()), "")
    worker.start()
    lost = StreamStatus("radio-1", state, "unplugged")  # type: ignore[arg-type]
    feed(worker, slot, audio(0, 6 * RATE), lost, audio(9 * RATE, RATE), EndOfStream("radio-1"))
    events.wait_for(lambda all_: [e.data.get("state") for e in all_].count("ended") == 2)
    assert events.states() == ["running", "ended", state, "gap", "running", "ended"]
    assert [e.data["reason"] for e in events.events if e.kind == "fake.segment"] == ["source lost"]
    assert [e.data["reason"] for e in events.events if e.data.get("state") == "ended"] == [
        "source lost",
        "end of stream",
    ]


def test_a_stop_classifies_what_waits_and_closes_what_is_open(
    worker: Worker, events: Collector, tmp_path: Path
) -> None:
    gate = Gate()
    backend = FakeBackend(gate)
    slot, at = held_up(worker, gate, plan_with(tmp_path, backend))
    feed(worker, slot, audio(at, 2 * RATE))
    worker.finish("shutdown", LONG_S)
    gate.go.set()
    worker.join(LONG_S)
    assert events.states() == ["running", "ended"]
    assert [e.data["reason"] for e in events.events if e.kind == "fake.segment"] == ["shutdown"]
    assert events.events[-1].sample == at + 2 * RATE
    assert [made.closed for made in backend.made] == [1], "one classifier for the worker, closed by it"


def test_a_stop_that_has_no_time_says_what_was_not_classified(
    worker: Worker, events: Collector, tmp_path: Path
) -> None:
    gate = Gate()
    slot, at = held_up(worker, gate, plan_with(tmp_path, FakeBackend(gate)))
    feed(worker, slot, audio(at, 2 * RATE))
    worker.finish("shutdown", 0.0)
    gate.go.set()
    worker.join(LONG_S)
    assert events.states() == ["running", "gap", "ended"]
    reason = next(e.data["reason"] for e in events.events if e.data.get("state") == "gap")
    assert reason == "2.00 s of audio that had arrived were not classified before the stop"


def test_a_policy_that_raises_at_the_stop_does_not_keep_the_others_open(
    worker: Worker, events: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_with(tmp_path, FakeBackend())
    for name in ("a", "b"):
        feed(worker, worker.open(name, plan, ""), audio(0, 6 * RATE, name))
    worker.start()
    events.wait_for(lambda all_: {"a", "b"} <= {e.stream for e in all_ if e.kind == "fake.window"})
    pipeline = next(slot for slot in worker.slots() if slot.name == "a").pipeline
    assert pipeline is not None

    def fail(at_sample: int, reason: str) -> list[object]:
        raise RuntimeError("boom")

    for policy in pipeline._policies():
        policy.close = fail  # type: ignore[method-assign, assignment]
    stop(worker)
    assert [e.stream for e in events.events if e.kind == "fake.segment"] == ["b"]
    assert "stream a: closing it raised" in caplog.text


def test_a_stream_that_ends_and_comes_again_at_once_stays_in_order(worker: Worker, events: Collector) -> None:
    """The second begins while the first one's end still waits; neither overtakes the other."""
    for _ in range(3):
        slot = worker.open("radio-1", NO_MODELS, "")
        feed(worker, slot, *(audio(n * 2_000, 2_000) for n in range(3)), EndOfStream("radio-1"))
    worker.start()
    events.wait_for(lambda all_: [e.data["state"] for e in all_].count("ended") == 3)
    assert events.states() == ["running", "ended"] * 3
    assert [e.sample for e in events.events] == [0, 6_000] * 3
    assert len(worker) == 0
    assert not worker.has("radio-1")


def test_a_reopened_stream_is_closed_at_the_stop_like_any_other(worker: Worker, events: Collector) -> None:
    first = worker.open("radio-1", NO_MODELS, "")
    feed(worker, first, audio(0, RATE // 2), EndOfStream("radio-1"))
    second = worker.open("radio-1", NO_MODELS, "")
    feed(worker, second, audio(0, RATE))
    worker.start()
    events.wait_for(lambda all_: [e.data["state"] for e in all_].count("running") == 2)
    assert worker.has("radio-1")
    stop(worker)
    assert [e.data["reason"] for e in events.events if e.data["state"] == "ended"] == ["end of stream", "shutdown"]


def test_a_bus_that_has_stopped_stops_the_worker_and_it_says_so(tmp_path: Path) -> None:
    def refuse(event: object) -> None:
        raise OSError("the bus has stopped")

    worker = Worker(0, refuse, buffer_s=2.0)
    slot = worker.open("radio-1", NO_MODELS, "")
    feed(worker, slot, audio(0, RATE))
    seen: list[object] = []
    previous, threading.excepthook = threading.excepthook, seen.append
    try:
        worker.start()
        worker.join(LONG_S)
    finally:
        threading.excepthook = previous
    assert isinstance(worker.failure, OSError)
    assert len(seen) == 1


def test_each_model_is_loaded_once_per_worker_however_many_streams(
    worker: Worker, events: Collector, tmp_path: Path
) -> None:
    backend = FakeBackend()
    plan: StreamPlan = plan_with(tmp_path, backend)
    for name in ("a", "b", "c"):
        feed(worker, worker.open(name, plan, ""), audio(0, 5 * RATE, name), EndOfStream(name))
    worker.start()
    events.wait_for(lambda all_: [e.data.get("state") for e in all_].count("ended") == 3)
    stop(worker)
    assert len(backend.made) == 1

"""Streams that fall silent, and sources that do not heed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from fakes import LONG_S, NO_MODELS, Collector, FakeBackend, FakeClassifier, ListSource, audio, plan_with

from streamcls import EndOfStream, RetryableSourceError, StreamStatus
from streamcls.runtime.liveness import BEAT_S, Liveness
from streamcls.runtime.supervisor import Router, SourceThread
from streamcls.runtime.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEVER = threading.Event()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def events() -> Collector:
    return Collector()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(events: Collector) -> Iterator[Worker]:
    made = Worker(0, events, buffer_s=2.0)
    made.start()
    yield made
    made.finish("shutdown", LONG_S)
    made.join(LONG_S)


@pytest.fixture
def router(worker: Worker, events: Collector, clock: Clock) -> Router:
    return Router([worker], lambda _: NO_MODELS, events, "EPOCH", stall_s=30.0, clock=clock)


def after(router: Router, clock: Clock, seconds: float) -> None:
    """Let time pass, with a look each second as in the daemon's main loop."""
    for _ in range(round(seconds)):
        clock.now += 1.0
        router.tick()


class TestStalls:
    def test_a_live_stream_that_falls_silent_is_stalled_once_and_running_with_the_next_audio(
        self, router: Router, clock: Clock, events: Collector
    ) -> None:
        router.route("mic", audio(0, 100), live=True, stop=NEVER)
        after(router, clock, 29.0)
        after(router, clock, 2.0)
        for _ in range(100):
            after(router, clock, 10.0)
        router.route("mic", audio(100, 100), live=True, stop=NEVER)
        router.route("mic", audio(200, 100), live=True, stop=NEVER)
        router.route("mic", EndOfStream("radio-1"), live=True, stop=NEVER)
        events.wait_for(lambda _: "ended" in events.states())
        assert events.states() == ["running", "stalled", "running", "ended"]
        reasons = [event.data["reason"] for event in events.of("radio-1")]
        assert reasons[1:3] == ["nothing has come from source mic for 30 s", "audio comes again"]

    def test_it_stalls_again(self, router: Router, clock: Clock, events: Collector) -> None:
        for turn in range(3):
            router.route("mic", audio(turn * 100, 100), live=True, stop=NEVER)
            after(router, clock, 31.0)
        events.wait_for(lambda all_: len(all_) == 6)
        assert events.states() == ["running", "stalled"] * 3

    def test_a_process_that_stood_still_blames_no_source_for_it(
        self, router: Router, clock: Clock, events: Collector
    ) -> None:
        router.route("mic", audio(0, 100), live=True, stop=NEVER)
        after(router, clock, 20.0)
        clock.now += 3600.0
        after(router, clock, 29.0)
        router.route("mic", audio(100, 100), live=True, stop=NEVER)
        after(router, clock, 31.0)
        events.wait_for(lambda _: "stalled" in events.states())
        assert events.states() == ["running", "stalled"]

    def test_each_stream_of_a_source_for_itself(self, router: Router, clock: Clock, events: Collector) -> None:
        router.route("zmq", audio(0, 100, "a"), live=True, stop=NEVER)
        for turn in range(8):
            router.route("zmq", audio(turn * 100, 100, "b"), live=True, stop=NEVER)
            after(router, clock, 5.0)
        events.wait_for(lambda _: "stalled" in events.states("a"))
        assert events.states("a") == ["running", "stalled"]
        assert events.states("b") == ["running"]

    @pytest.mark.parametrize("never", ["not live", "nothing yet", "ended", "retrying", "said itself", "switched off"])
    def test_never(self, never: str, worker: Worker, clock: Clock, events: Collector) -> None:
        stall_s = 0.0 if never == "switched off" else 30.0
        router = Router([worker], lambda _: NO_MODELS, events, "EPOCH", stall_s=stall_s, clock=clock)
        live = never != "not live"
        first = StreamStatus("radio-1", "connecting", "x") if never == "nothing yet" else audio(0, 100)
        router.route("mic", first, live=live, stop=NEVER)
        then: dict[str, Any] = {
            "ended": EndOfStream("radio-1"),
            "retrying": StreamStatus("radio-1", "retrying", "unplugged"),
            "said itself": StreamStatus("radio-1", "stalled", "nothing received for 1.5 s"),
        }
        if never in then:
            router.route("mic", then[never], live=live, stop=NEVER)
        for _ in range(10):
            after(router, clock, 60.0)
        router.route("mic", audio(100, 100, "last"), live=live, stop=NEVER)
        events.wait_for(lambda _: events.of("last"))
        reasons = [event.data["reason"] for event in events.of("radio-1")]
        assert not [reason for reason in reasons if "nothing has come" in reason or "comes again" in reason]

    def test_a_full_inbox_holds_up_nobody_and_it_is_said_later(
        self, clock: Clock, events: Collector, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = Worker(0, events, buffer_s=2.0)  # does not run yet
        router = Router([worker], lambda _: NO_MODELS, events, "EPOCH", stall_s=30.0, clock=clock)
        for _ in range(999):
            router.route("mic", StreamStatus("radio-1", "gap", ""), live=True, stop=NEVER)
        router.route("mic", audio(0, 100), live=True, stop=NEVER)
        after(router, clock, 31.0)
        assert caplog.records == []
        worker.start()
        events.wait_for(lambda _: "running" in events.states())
        after(router, clock, 1.0)
        events.wait_for(lambda _: "stalled" in events.states())
        worker.finish("shutdown", LONG_S)
        worker.join(LONG_S)


class TestAbandonedSource:
    def test_its_streams_end_and_what_it_delivers_later_is_not_taken(
        self, router: Router, worker: Worker, events: Collector
    ) -> None:
        release = threading.Event()
        source = ListSource([audio(0, 100), lambda _: release.wait(LONG_S), audio(100, 100), audio(200, 100)])
        thread = SourceThread("radio-1", source, router, retry_s=1.0, retry_max_s=8.0)
        thread.start()
        events.wait_for(lambda _: "running" in events.states())
        thread.abandon("it did not heed the stop within 0.6 s")
        events.wait_for(lambda _: not len(worker))
        assert (thread.state, thread.reason) == ("failed", "it did not heed the stop within 0.6 s")
        assert events.states()[:2] == ["running", "ended"]
        assert "failed" in events.states()
        assert thread.is_alive()
        router.route("other", audio(500, 100), live=False, stop=NEVER)
        release.set()
        thread.join(LONG_S)
        assert not thread.is_alive()
        assert router.streams_of("other") == ["radio-1"], "who has the name now keeps it"
        assert thread.state == "failed"

    def test_at_the_end_the_workers_close_its_streams(self, router: Router, worker: Worker, events: Collector) -> None:
        release = threading.Event()
        source = ListSource([audio(0, 100), lambda _: release.wait(LONG_S), RetryableSourceError("too late")])
        thread = SourceThread("radio-1", source, router, retry_s=1.0, retry_max_s=8.0)
        thread.start()
        events.wait_for(lambda _: "running" in events.states())
        thread.abandon("it did not heed the stop", end_streams=False)
        worker.finish("shutdown", LONG_S)
        worker.join(LONG_S)
        release.set()
        thread.join(LONG_S)
        assert [(e.data["state"], e.data["reason"]) for e in events.of("radio-1")][1:] == [("ended", "shutdown")]


class TestBeats:
    def test_a_worker_and_a_source_beat_and_one_that_hangs_is_named_with_its_stream(
        self, tmp_path: Path, events: Collector, clock: Clock
    ) -> None:
        hung, release = threading.Event(), threading.Event()

        def hang(_: object) -> None:
            hung.set()
            release.wait(LONG_S)

        from streamcls.runtime.stacks import current_frames

        liveness = Liveness(clock, current_frames)
        worker = Worker(0, events, buffer_s=2.0, beat=liveness.register("worker-0", 10.0))
        worker.start()
        router = Router([worker], lambda _: plan_with(tmp_path, FakeBackend(hang)), events, "EPOCH")
        pieces = [audio(n * 11_025, 11_025) for n in range(20)]
        source = liveness.register("source-file", 10.0)
        thread = SourceThread("file", ListSource(pieces), router, retry_s=1.0, retry_max_s=1.0, beat=source)
        thread.start()
        assert hung.wait(LONG_S)
        while "no room" not in source.doing:
            NEVER.wait(0.01)
        for _ in range(9):
            clock.now += 1.0
            assert liveness.look() == []
        while source.silent_s(clock.now):  # it goes on to show that it waits
            NEVER.wait(0.01)
        clock.now += 2.0
        (stuck,) = liveness.look()
        assert (stuck.name, stuck.doing) == ("worker-0", "stream radio-1")
        assert stuck.call.startswith(f"{FakeClassifier.__name__}.logits (fakes.py:")
        release.set()
        thread.join(LONG_S)
        worker.finish("shutdown", LONG_S)
        worker.join(LONG_S)
        clock.now += 3600.0
        assert liveness.stuck() == [], "who has ended is not missed"

    def test_an_idle_worker_beats(self, events: Collector) -> None:
        times: list[float] = []
        beaten = threading.Semaphore(0)
        liveness = Liveness()
        beat = liveness.register("worker-0", 10.0)

        class Counted:
            name, limit_s = "worker-0", 10.0

            def __call__(self, doing: str = "") -> None:
                beat(doing)
                times.append(0.0)
                beaten.release()

            def rest(self) -> None:
                beat.rest()

        worker = Worker(0, events, buffer_s=2.0, beat=Counted())  # type: ignore[arg-type]
        worker.start()
        for _ in range(4):
            assert beaten.acquire(timeout=LONG_S)
        worker.finish("shutdown", 0.0)
        worker.join(LONG_S)
        assert BEAT_S <= 1.0

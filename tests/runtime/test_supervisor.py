from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from fakes import LONG_S, NO_MODELS, RATE, Collector, ListSource, audio

from streamcls import EndOfStream, RetryableSourceError, SourceError, StreamStatus
from streamcls.runtime.supervisor import Router, SourceThread
from streamcls.runtime.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamcls.runtime.models import StreamPlan

NEVER = threading.Event()


@pytest.fixture
def events() -> Collector:
    return Collector()


@pytest.fixture
def workers(events: Collector) -> Iterator[list[Worker]]:
    made = [Worker(number, events, buffer_s=2.0) for number in range(3)]
    for worker in made:
        worker.start()
    yield made
    for worker in made:
        worker.finish("shutdown", LONG_S)
    for worker in made:
        worker.join(LONG_S)


def known(stream: str) -> StreamPlan | None:
    return None if stream.startswith("other") else NO_MODELS


@pytest.fixture
def router(workers: list[Worker], events: Collector) -> Router:
    return Router(workers, known, events, "EPOCH")


class Pauses(threading.Event):
    """A stop event that stands for time: each wait is noted and over at once; it is set when the last one is."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.waited: list[float] = []
        self._most = most

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waited.append(timeout)
        if len(self.waited) >= self._most:
            self.set()
        return self.is_set()


def run_source(router: Router, source: ListSource, *, pauses: Pauses | None = None) -> SourceThread:
    thread = SourceThread("radio-1", source, router, retry_s=1.0, retry_max_s=8.0)
    if pauses is not None:
        thread.stop_event = pauses
    thread.start()
    thread.join(LONG_S)
    assert not thread.is_alive()
    return thread


class TestRouter:
    def test_a_stream_stays_with_its_worker_and_streams_are_spread(self, router: Router, workers: list[Worker]) -> None:
        for round_ in range(2):
            for number in range(6):
                assert router.route("zmq", audio(round_ * 100, 100, f"s{number}"), live=False, stop=NEVER)
        assert [len(worker) for worker in workers] == [2, 2, 2]

    def test_a_stream_without_settings_is_refused_and_named_once(
        self, router: Router, events: Collector, caplog: pytest.LogCaptureFixture
    ) -> None:
        for n in range(3):
            assert not router.route("zmq", audio(n * 100, 100, "other"), live=True, stop=NEVER)
        assert not router.route("zmq", EndOfStream("other"), live=True, stop=NEVER)
        (event,) = events.of("other")
        assert event.data == {"state": "failed", "reason": "no [[stream]] entry matches it, so nothing is done with it"}
        assert len(caplog.records) == 1

    def test_a_stream_has_one_owner_until_it_ends(self, router: Router, events: Collector) -> None:
        assert router.route("first", audio(0, 100), live=False, stop=NEVER)
        assert not router.route("second", audio(0, 100), live=False, stop=NEVER)
        assert not router.route("second", EndOfStream("radio-1"), live=False, stop=NEVER)
        assert router.streams_of("first") == ["radio-1"]
        assert router.streams_of("second") == []
        refused = [e for e in events.of("radio-1") if e.data["state"] == "failed"]
        assert [e.data["reason"] for e in refused] == [
            "source 'second' offers it too, but source 'first' delivers it already"
        ]
        assert router.route("first", EndOfStream("radio-1"), live=False, stop=NEVER)
        assert router.route("second", audio(0, 100), live=False, stop=NEVER)
        assert router.streams_of("second") == ["radio-1"]

    def test_a_stream_that_ended_comes_again_in_order_even_with_several_workers(
        self, router: Router, events: Collector
    ) -> None:
        for turn in range(20):
            assert router.route("zmq", audio(turn, 500), live=False, stop=NEVER)
            assert router.route("zmq", EndOfStream("radio-1"), live=False, stop=NEVER)
        events.wait_for(lambda all_: len(all_) == 40)
        assert events.states() == ["running", "ended"] * 20
        assert [e.data["first_sample"] for e in events.events if e.data["state"] == "running"] == list(range(20))

    def test_an_end_of_a_stream_that_never_was_is_nothing(self, router: Router, events: Collector) -> None:
        assert not router.route("zmq", EndOfStream("radio-1"), live=False, stop=NEVER)
        assert events.events == []

    @pytest.mark.parametrize("name", ["", "a/b", "a b", "_sync", "x" * 129, "a\nb", "é"])
    def test_a_name_that_would_spoil_topics_is_refused_under_the_sources_name(
        self, router: Router, events: Collector, name: str
    ) -> None:
        assert not router.route("zmq", audio(0, 100, name), live=True, stop=NEVER)
        (event,) = events.events
        assert (event.stream, event.data["state"]) == ("zmq", "failed")
        assert repr(name)[:40] in event.data["reason"]

    def test_refusals_are_bounded(self, router: Router, events: Collector) -> None:
        for number in range(3_000):
            router.route("zmq", audio(0, 1, f"other-{number}"), live=True, stop=NEVER)
        assert len(events.events) == 1_000

    @pytest.mark.parametrize(("live", "origin"), [(True, "EPOCH"), (False, "")])
    def test_only_a_live_sources_indices_belong_to_this_start(
        self, router: Router, workers: list[Worker], live: bool, origin: str
    ) -> None:
        router.route("mic", audio(0, 100), live=live, stop=NEVER)
        (slot,) = [slot for worker in workers for slot in worker.slots()]
        assert slot.origin == origin


class TestSource:
    def test_one_that_ends_ends_its_streams(self, router: Router, events: Collector) -> None:
        thread = run_source(router, ListSource([audio(0, 500, "a"), audio(0, 500, "b"), EndOfStream("a")]))
        assert (thread.state, thread.reason) == ("ended", "")
        events.wait_for(lambda all_: [e.data["state"] for e in all_].count("ended") == 2)
        assert router.streams_of("radio-1") == []

    def test_it_is_opened_again_after_a_pause_that_doubles_up_to_the_most_and_begins_anew_after_audio(
        self, router: Router, events: Collector
    ) -> None:
        lost = RetryableSourceError("unplugged")
        openings: list[list[Any]] = [[lost]] * 5 + [[audio(0, 500), lost]] + [[lost]] * 2
        pauses = Pauses(len(openings))
        thread = run_source(router, ListSource(*openings), pauses=pauses)
        assert pauses.waited == [1.0, 2.0, 4.0, 8.0, 8.0, 1.0, 2.0, 4.0]
        assert thread.state == "retrying"
        events.wait_for(lambda all_: sum(e.data["state"] == "retrying" for e in all_) == len(openings))
        reasons = [e.data["reason"] for e in events.of("radio-1") if e.data["state"] == "retrying"]
        assert reasons == [f"unplugged; next attempt in {pause:g} s" for pause in pauses.waited]

    def test_what_it_waits_for_before_the_first_audio_is_its_reason_until_audio_comes(self, router: Router) -> None:
        waiting = [StreamStatus("radio-1", "connecting", "/x.wav does not exist yet")]
        assert run_source(router, ListSource(waiting)).reason == "/x.wav does not exist yet"
        assert run_source(router, ListSource([*waiting, audio(0, 10)])).reason == ""

    def test_an_unexpected_exception_is_treated_the_same_and_shown_whole_in_the_log(
        self, router: Router, events: Collector, caplog: pytest.LogCaptureFixture
    ) -> None:
        openings: list[list[Any]] = [
            [ValueError("odd")],
            [ValueError("odd")],
            [audio(0, 500), ValueError("odd")],
            [ValueError("odd")],
        ]
        pauses = Pauses(len(openings))
        run_source(router, ListSource(*openings), pauses=pauses)
        assert pauses.waited == [1.0, 2.0, 1.0, 2.0]
        events.wait_for(lambda all_: sum(e.data["state"] == "retrying" for e in all_) == len(openings))
        assert "ValueError: odd; next attempt in 1 s" in [
            e.data["reason"] for e in events.events if e.data["state"] == "retrying"
        ]
        assert "Traceback" in caplog.text

    def test_it_recovers(self, router: Router, events: Collector) -> None:
        source = ListSource([audio(0, 500), RetryableSourceError("away")], [audio(900, 500)])
        thread = run_source(router, source, pauses=Pauses(9))
        assert (thread.state, thread.reason, source.opened) == ("ended", "", 2)
        events.wait_for(lambda all_: [e.data["state"] for e in all_].count("ended") == 2)
        assert events.states() == ["running", "ended", "retrying", "gap", "running", "ended"]

    def test_a_source_error_ends_it_for_good(self, router: Router, events: Collector) -> None:
        source = ListSource([audio(0, 500), SourceError("no such station")], [audio(0, 500)])
        thread = run_source(router, source)
        assert (thread.state, thread.reason, source.opened) == ("failed", "no such station", 1)
        events.wait_for(lambda all_: "failed" in [e.data["state"] for e in all_])
        assert events.states() == ["running", "ended", "failed"]

    def test_when_it_has_failed_another_may_deliver_a_stream_of_that_name(
        self, router: Router, events: Collector
    ) -> None:
        run_source(router, ListSource([audio(0, 500), SourceError("no such station")]))
        assert router.streams_of("radio-1") == []
        stop = threading.Event()
        assert router.route("another", audio(0, 500), live=False, stop=stop)
        events.wait_for(lambda all_: [e.data["state"] for e in all_].count("running") == 2)

    def test_one_that_is_lost_before_it_has_a_stream_speaks_under_its_own_name_and_opens_none(
        self, router: Router, events: Collector, workers: list[Worker]
    ) -> None:
        run_source(router, ListSource([SourceError("no such station")]))
        assert [e.data for e in events.of("radio-1")] == [{"state": "failed", "reason": "no such station"}]
        assert [slot for worker in workers for slot in worker.slots()] == []

    def test_its_own_failure_is_told_though_no_settings_match_its_stream(
        self, workers: list[Worker], events: Collector
    ) -> None:
        router = Router(workers, lambda stream: None, events, "EPOCH")
        run_source(router, ListSource([audio(0, 500), SourceError("no such station")]))
        reasons = [e.data["reason"] for e in events.of("radio-1")]
        assert reasons == ["no [[stream]] entry matches it, so nothing is done with it", "no such station"]

    def test_each_of_its_streams_learns_that_it_is_lost(self, router: Router, events: Collector) -> None:
        run_source(router, ListSource([audio(0, 500, "a"), audio(0, 500, "b"), SourceError("gone")]))
        events.wait_for(lambda all_: [e.data["state"] for e in all_].count("failed") == 2)
        assert events.states("a") == events.states("b") == ["running", "ended", "failed"]

    @pytest.mark.parametrize("error", [RetryableSourceError("closed"), ValueError("closed")])
    def test_an_error_while_it_is_stopped_is_no_loss(self, router: Router, events: Collector, error: Exception) -> None:
        def stop(event: threading.Event) -> None:
            event.set()

        thread = run_source(router, ListSource([audio(0, 500), stop, error]))
        assert thread.state == "running"
        events.wait_for(lambda all_: len(all_) == 1)
        assert events.states() == ["running"]

    def test_a_stop_is_heeded_between_items_and_the_generator_is_closed(self, router: Router) -> None:
        closed = threading.Event()
        thread: list[SourceThread] = []

        class Endless(ListSource):
            def items(self, stop: threading.Event) -> Iterator[Any]:
                try:
                    n = 0
                    while True:
                        yield audio(n, 10)
                        n += 10
                        if n == 100:
                            thread[0].stop_event.set()
                finally:
                    closed.set()

        made = SourceThread("radio-1", Endless(), router, retry_s=1.0, retry_max_s=8.0)
        thread.append(made)
        made.start()
        made.join(LONG_S)
        assert closed.is_set()
        assert made.state == "running"

    @pytest.mark.parametrize(
        "broken",
        [
            pytest.param(lambda: None, id="no iterator"),
            pytest.param(lambda: iter([42]), id="no item"),
        ],
    )
    def test_a_source_that_breaks_its_contract_costs_itself_only(
        self, router: Router, broken: Callable[[], Any]
    ) -> None:
        class Broken(ListSource):
            def items(self, stop: threading.Event) -> Any:
                return broken()

        thread = run_source(router, Broken(), pauses=Pauses(2))
        assert thread.state == "retrying"
        assert "Error: " in thread.reason

    def test_words_of_a_source_open_its_stream(self, router: Router, events: Collector) -> None:
        status = StreamStatus("radio-1", "connecting", "not there yet", {"url": "x"})
        run_source(router, ListSource([status]))
        events.wait_for(lambda all_: len(all_) == 1)
        assert events.events[0].data == {"state": "connecting", "reason": "not there yet", "url": "x"}


def test_audio_of_one_dimension_is_a_sources_fault(router: Router) -> None:
    from dataclasses import replace

    bad = replace(audio(0, RATE), samples=audio(0, RATE).samples[:, 0])
    thread = run_source(router, ListSource([bad]), pauses=Pauses(1))
    assert thread.state == "retrying"

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from busside import event, publisher
from fakes import LONG_S

from streamcls import ComponentConfig
from streamcls.bus.publisher import IN_PROCESS
from streamcls.runtime.subscribers import SubscriberThread, handle_guarded
from streamcls.testing import make_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.bus import Publisher


class Taker:
    """A subscriber that keeps what it gets, and raises when a test says so."""

    name: ClassVar[str] = "taker"

    class Config(ComponentConfig):
        pass

    def __init__(self, *, fail: int = 0, error: type[BaseException] = RuntimeError) -> None:
        self.numbers: list[int] = []
        self.attempts = 0
        self.closed = 0
        self.took = threading.Condition()
        self._fail = fail
        self._error = error

    def handle(self, event: Mapping[str, Any]) -> None:
        self.attempts += 1
        if self.attempts <= self._fail:
            raise self._error("boom")
        with self.took:
            self.numbers.append(event["data"]["number"])
            self.took.notify_all()

    def close(self) -> None:
        self.closed += 1

    def wait_for(self, count: int) -> None:
        with self.took:
            assert self.took.wait_for(lambda: len(self.numbers) >= count, LONG_S)


def started(bus: Publisher, taker: Any, **filters: Any) -> SubscriberThread:
    make = taker if callable(taker) else lambda: taker
    thread = SubscriberThread("taker", make, IN_PROCESS, bus.context, **filters)
    thread.start()
    assert thread.ready.wait(LONG_S)
    return thread


def finish(thread: SubscriberThread, drain_s: float = LONG_S) -> None:
    thread.finish(drain_s)
    thread.join(LONG_S)
    assert not thread.is_alive()


def test_nothing_is_missed_between_ready_and_finish() -> None:
    for _ in range(20):
        with publisher() as bus:
            taker = Taker()
            thread = started(bus, taker)
            for number in range(300):
                bus.publish(event(number))
            finish(thread)
        assert taker.numbers == list(range(300))
        assert (thread.handled, thread.failed, thread.missed, thread.reason, taker.closed) == (300, 0, 0, "", 1)


def test_it_gets_what_its_filters_say() -> None:
    with publisher() as bus:
        taker = Taker()
        thread = started(bus, taker, kinds=["genre.segment"], streams=["radio-*"])
        for number, (kind, stream) in enumerate(
            [("genre.window", "radio-1"), ("genre.segment", "mic"), ("genre.segment", "radio-2")]
        ):
            bus.publish(event(number, kind, stream))
        finish(thread)
    assert taker.numbers == [2]


@pytest.mark.parametrize(("fail", "handled", "failed"), [(1, 2, 0), (2, 2, 0), (3, 1, 1), (99, 0, 2)])
def test_an_event_is_offered_three_times_and_then_given_up(
    fail: int, handled: int, failed: int, caplog: pytest.LogCaptureFixture
) -> None:
    with publisher() as bus:
        taker = Taker(fail=fail)
        thread = started(bus, taker)
        bus.publish(event(0))
        bus.publish(event(1))
        finish(thread)
    assert (thread.handled, thread.failed) == (handled, failed)
    lines = [record.getMessage() for record in caplog.records if "did not take the event" in record.getMessage()]
    assert len(lines) == min(failed, 1), "the first is named; those that follow at once are counted"
    assert all("RuntimeError: boom" in line for line in lines)
    assert (f"subscriber taker did not take {failed} events in all" in caplog.text) == (failed > 0)


def test_pauses_between_attempts_double() -> None:
    pauses: list[float] = []
    taker = Taker(fail=2)
    assert handle_guarded("taker", taker, make_envelope("a.b", {"number": 1}), pauses.append)
    assert pauses == [0.1, 0.2]


def test_one_that_cannot_be_made_is_named_and_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Taker:
        raise OSError("disk on fire")

    with publisher() as bus:
        thread = started(bus, make)
        assert (thread.state, thread.reason) == ("restarting", "it cannot be made: OSError: disk on fire")
        assert "subscriber taker: restarting: it cannot be made: OSError: disk on fire" in caplog.text
        bus.publish(event(0))
        finish(thread)
    assert thread.state == "ended"


def test_one_whose_close_raises_ends_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    class Clinging(Taker):
        def close(self) -> None:
            raise RuntimeError("never")

    with publisher() as bus:
        finish(started(bus, Clinging()))
    assert "close raised" in caplog.text


def test_one_that_is_slow_at_the_stop_is_not_waited_for_longer_than_it_may_take(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Slow(Taker):
        go = threading.Event()

        def handle(self, event: Mapping[str, Any]) -> None:
            super().handle(event)
            Slow.go.wait(0.05)

    with publisher() as bus:
        taker = Slow()
        thread = started(bus, taker)
        for number in range(2_000):
            bus.publish(event(number))
        taker.wait_for(1)
        finish(thread, drain_s=0.2)
    assert len(taker.numbers) < 100
    assert taker.numbers == list(range(len(taker.numbers)))
    assert taker.closed == 1
    assert thread.reason == "it did not take all that was published within 0.2 s of the stop"


def test_one_whose_standard_output_nobody_reads_any_more_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as broken, publisher() as bus:
        monkeypatch.setattr(sys, "stdout", broken)
        taker = Taker(fail=99, error=BrokenPipeError)
        thread = started(bus, taker)
        bus.publish(event(0))
        while taker.attempts < 2:  # somebody reads: it may have been a connection of its own, and is tried again
            assert thread.is_alive()
        os.close(read)
        for number in range(5):
            bus.publish(event(number))
        thread.join(LONG_S)
    assert not thread.is_alive()
    assert thread.reason == "nobody reads standard output any more"
    assert taker.closed == 1
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "subscriber taker: nobody reads standard output any more; it has ended"
    ]


def test_a_bus_that_goes_away_ends_it_with_a_reason() -> None:
    with publisher() as bus:
        thread = started(bus, Taker())
    thread.join(LONG_S)
    assert not thread.is_alive()
    assert "cannot receive from inproc" in thread.reason or "no answer" in thread.reason

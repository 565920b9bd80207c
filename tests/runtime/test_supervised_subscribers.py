"""Subscribers in threads of the daemon that make trouble, and what that costs the others."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

from busside import event, publisher
from fakes import LONG_S, Collector
from journaling import journaled

from streamcls import ComponentConfig
from streamcls.bus.publisher import IN_PROCESS
from streamcls.runtime.subscribers import SubscriberThread
from streamcls.runtime.subscribers.circuit import Circuit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pytest

    from streamcls.bus import Publisher

KIND = "genre.segment"
"""Journaled, unlike windows."""


class Maker:
    """Makes instances of one subscriber, which share what they took, and do what ``trouble`` says."""

    name: ClassVar[str] = "maker"

    class Config(ComponentConfig):
        pass

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.made = 0
        self.closed = 0
        self.threads: list[int] = []
        self.broken: str | int | None = None
        self.hang_on: set[int] = set()
        self.release = threading.Event()
        self.changed = threading.Condition()

    def __call__(self) -> _Instance:
        with self.changed:
            self.made += 1
            self.changed.notify_all()
        if self.broken == "make":
            raise OSError("no such disk")
        return _Instance(self)

    def wait_for(self, condition: Callable[[], Any]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, LONG_S), (self.made, self.numbers)


class _Instance:
    def __init__(self, maker: Maker) -> None:
        self._maker = maker

    def handle(self, event: Mapping[str, Any]) -> None:
        maker, number = self._maker, event["data"].get("number")
        if number is None:
            return
        if number in maker.hang_on:
            maker.threads.append(threading.get_ident())
            maker.release.wait(LONG_S)
        if maker.broken == "exit":
            sys.exit(3)
        if maker.broken in {"handle", number}:
            raise RuntimeError("boom")
        with maker.changed:
            maker.numbers.append(number)
            maker.changed.notify_all()

    def close(self) -> None:
        self._maker.closed += 1


def quick() -> Circuit:
    return Circuit(0.01, 0.02, 4)


def started(bus: Publisher, maker: Maker, told: Collector | None = None, **settings: Any) -> SubscriberThread:
    settings = {"circuit": quick(), "publish": told, "daemon": "studio", **settings}
    thread = SubscriberThread("maker", maker, IN_PROCESS, bus.context, **settings)
    thread.start()
    assert thread.ready.wait(LONG_S)
    return thread


def finish(thread: SubscriberThread, drain_s: float = LONG_S) -> None:
    thread.finish(drain_s)
    thread.join(LONG_S)
    assert not thread.is_alive()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def states(told: Collector) -> list[str]:
    assert all(e.kind == "daemon.subscriber" and e.stream == "studio" for e in told.events)
    return [event.data["state"] for event in told.events]


def test_pauses_double_until_the_circuit_opens_and_a_success_closes_it() -> None:
    circuit = Circuit(1.0, 60.0, 6)
    assert [circuit.failed() for _ in range(5)] == [1, 2, 4, 8, 16]
    assert not circuit.open
    assert [circuit.failed(), circuit.open, circuit.failed()] == [60, True, 60]
    circuit.succeeded()
    assert (circuit.open, circuit.failed()) == (False, 1)


def test_one_that_raises_on_everything_loses_three_events_and_goes_on_where_it_stopped() -> None:
    told = Collector()
    with publisher() as bus:
        maker = Maker()
        maker.broken = "handle"
        thread = started(bus, maker, told)
        for number in range(10):
            bus.publish(event(number))
        until(lambda: thread.state == "open")
        assert thread.failed == 3
        assert "it raises on every event: RuntimeError: boom" in thread.reason
        maker.broken = None
        maker.wait_for(lambda: len(maker.numbers) == 7)
        finish(thread)
    assert maker.numbers == list(range(3, 10))
    assert states(told) == ["restarting", "open", "running"]
    assert (thread.handled, thread.failed, thread.missed) == (7, 3, 0)
    assert thread.restarts == maker.made - 1 == maker.closed - 1 >= 4


def test_one_bad_event_is_set_aside_and_the_order_of_the_others_stays(caplog: pytest.LogCaptureFixture) -> None:
    with publisher() as bus:
        maker = Maker()
        maker.broken = 4
        thread = started(bus, maker)
        for number in range(10):
            bus.publish(event(number))
        finish(thread)
    assert maker.numbers == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert (thread.failed, thread.restarts, maker.made) == (1, 0, 1)
    assert "did not take the event" in caplog.text


def test_one_that_cannot_be_made_is_tried_until_it_can_be(tmp_path: Path) -> None:
    told = Collector()
    with journaled(tmp_path) as bus:
        maker = Maker()
        maker.broken = "make"
        thread = started(bus, maker, told, cursors=tmp_path / "cursors")
        assert thread.state == "restarting"
        until(lambda: thread.state == "open")
        maker.broken = None
        until(lambda: thread.state == "running")
        finish(thread)
    assert states(told) == ["restarting", "open", "running"]
    assert maker.made == thread.restarts + 1 >= 5


def test_what_is_published_before_it_could_ever_be_made_is_not_lost(tmp_path: Path) -> None:
    with journaled(tmp_path) as bus:
        maker = Maker()
        maker.broken = "make"
        thread = started(bus, maker, cursors=tmp_path / "cursors")
        until(lambda: thread.state == "open")
        for number in range(10):
            bus.publish(event(number, KIND))
        finish(thread)
        maker.broken = None
        later = started(bus, maker, cursors=tmp_path / "cursors")
        maker.wait_for(lambda: len(maker.numbers) == 10)
        finish(later)
    assert maker.numbers == list(range(10))


def test_one_that_hangs_is_left_behind_and_a_fresh_one_goes_on_with_the_event() -> None:
    told = Collector()
    with publisher() as bus:
        maker = Maker()
        maker.hang_on = {2}
        thread = started(bus, maker, told, hang_s=0.3)
        for number in range(2):
            bus.publish(event(number))
        maker.wait_for(lambda: len(maker.numbers) == 2)
        bus.publish(event(2))
        until(lambda: maker.threads)
        maker.hang_on = set()
        bus.publish(event(3))
        maker.wait_for(lambda: 3 in maker.numbers)
        assert states(told)[0] == "hung"
        assert "genre.window/radio-1/3 has not returned for 0.3 s" in told.events[0].data["reason"]
        left = [other for other in threading.enumerate() if other.ident == maker.threads[0]]
        assert [other.name for other in left] == ["subscriber-maker-hand-abandoned"]
        maker.release.set()
        left[0].join(LONG_S)
        finish(thread)
    assert [number for number in maker.numbers if number != 2] == [0, 1, 3]
    assert maker.numbers.index(2) < maker.numbers.index(3)
    assert (thread.restarts, thread.failed, maker.made, maker.closed) == (1, 0, 2, 2)


def test_an_event_that_it_hangs_in_twice_is_set_aside_and_after_three_threads_nothing_more_is_tried() -> None:
    told = Collector()
    with publisher() as bus:
        maker = Maker()
        maker.hang_on = {1, 3}
        thread = started(bus, maker, told, hang_s=0.2)
        for number in range(6):
            bus.publish(event(number))
        until(lambda: thread.state == "open" and "until the daemon is restarted" in thread.reason)
        assert maker.numbers == [0, 2]
        assert thread.failed == 1
        assert len(maker.threads) == maker.made == 3
        finish(thread, 0.5)
        assert maker.made == 3
        maker.release.set()
    assert "hung" in states(told)


def test_one_whose_constructor_hangs_is_left_behind() -> None:
    release = threading.Event()
    maker = Maker()

    def make() -> Any:
        made = maker()
        if maker.made == 1:
            release.wait(LONG_S)
        return made

    with publisher() as bus:
        thread = SubscriberThread("slow", make, IN_PROCESS, bus.context, hang_s=0.2, circuit=quick())
        thread.start()
        until(lambda: maker.made == 2 and thread.state == "running")
        bus.publish(event(0))
        finish(thread)
        release.set()
    assert maker.numbers == [0]
    assert thread.restarts == 1


def test_a_healthy_one_beside_those_in_trouble_notices_nothing() -> None:
    with publisher() as bus:
        hanging, raising, healthy = Maker(), Maker(), Maker()
        hanging.hang_on, raising.broken = set(range(50)), "handle"
        threads = [
            SubscriberThread(name, maker, IN_PROCESS, bus.context, hang_s=0.2, circuit=quick())
            for name, maker in (("hanging", hanging), ("raising", raising), ("healthy", healthy))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            assert thread.ready.wait(LONG_S)
        for number in range(500):
            bus.publish(event(number))
        healthy.wait_for(lambda: len(healthy.numbers) == 500)
        until(lambda: threads[0].state != "running" and threads[1].state != "running")
        for thread in threads:
            thread.finish(0.2)
        finish(threads[2])
        hanging.release.set()
        for thread in threads:
            thread.join(LONG_S)
            assert not thread.is_alive()
    assert healthy.numbers == list(range(500))
    good = threads[2]
    assert (good.handled, good.failed, good.missed, good.restarts, good.reason) == (500, 0, 0, 0, "")


def test_one_that_was_away_goes_on_where_it_was(tmp_path: Path) -> None:
    with journaled(tmp_path) as bus:
        maker = Maker()
        settings = {"cursors": tmp_path / "cursors", "position": lambda: bus.journal.position}
        thread = started(bus, maker, **settings)
        for number in range(100):
            bus.publish(event(number, KIND))
        finish(thread)
        assert maker.numbers == list(range(100))
        assert thread.behind == 0
        for number in range(100, 1500):
            bus.publish(event(number, KIND))
        later = started(bus, maker, **settings)
        bus.publish(event(1500, KIND))
        maker.wait_for(lambda: 1500 in maker.numbers)
        finish(later)
    assert maker.numbers == list(range(1501))
    assert (later.handled, later.missed, later.failed) == (1401, 0, 0)


def test_what_it_has_not_taken_at_the_end_comes_again(tmp_path: Path) -> None:
    with journaled(tmp_path) as bus:
        maker = Maker()
        thread = started(bus, maker, cursors=tmp_path / "cursors", hang_s=LONG_S)
        maker.hang_on = {5}
        for number in range(10):
            bus.publish(event(number, KIND))
        maker.wait_for(lambda: len(maker.numbers) == 5)
        thread.finish(0.1)
        until(lambda: thread.state == "ended" or time.monotonic() > thread._deadline)
        maker.hang_on = set()
        maker.release.set()
        thread.join(LONG_S)
        taken = len(maker.numbers)
        again = started(bus, maker, cursors=tmp_path / "cursors")
        maker.wait_for(lambda: 9 in maker.numbers)
        finish(again)
    assert sorted(set(maker.numbers)) == list(range(10))
    assert taken < 10
    assert len(maker.numbers) <= 11, "at most the event at hand comes twice"


def test_while_the_circuit_is_open_it_is_not_connected_and_then_catches_up(tmp_path: Path) -> None:
    with journaled(tmp_path) as bus:
        maker = Maker()
        maker.broken = "handle"
        thread = started(bus, maker, cursors=tmp_path / "cursors", position=lambda: bus.journal.position)
        for number in range(300):
            bus.publish(event(number, KIND))
        until(lambda: thread.state == "open")
        until(lambda: bus.journal.position == 300)
        assert thread.behind >= 290
        maker.broken = None
        maker.wait_for(lambda: len(maker.numbers) == 297)
        finish(thread)
    assert maker.numbers == list(range(3, 300))
    assert (thread.failed, thread.handled, thread.behind) == (3, 297, 0)


def test_a_place_that_cannot_be_saved_is_said_and_costs_no_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with journaled(tmp_path) as bus:
        maker = Maker()
        (tmp_path / "cursors").mkdir()
        (tmp_path / "cursors" / "maker.new").mkdir()
        thread = started(bus, maker, cursors=tmp_path / "cursors")
        for number in range(50):
            bus.publish(event(number, KIND))
        maker.wait_for(lambda: len(maker.numbers) == 50)
        finish(thread)
    assert maker.numbers == list(range(50))
    assert "cannot be saved" in caplog.text
    assert thread.state == "ended"


def test_one_whose_place_is_in_use_waits_for_it(tmp_path: Path) -> None:
    with journaled(tmp_path) as bus:
        maker, told = Maker(), Collector()
        first = started(bus, maker, cursors=tmp_path / "cursors")
        second = started(bus, Maker(), told, cursors=tmp_path / "cursors")
        until(lambda: "is in use by another subscriber" in second.reason)
        finish(first)
        until(lambda: second.state == "running")
        finish(second)
    assert states(told)[-1] == "running"


def test_on_its_very_first_start_it_is_told_what_is_open(tmp_path: Path) -> None:
    with journaled(tmp_path) as bus:
        bus.publish(event(1, KIND, id="aa" * 16, phase="opened"))
        bus.publish(event(2, KIND, id="bb" * 16, phase="opened"))
        bus.publish(event(3, KIND, id="bb" * 16, phase="closed"))
        until(lambda: bus.published == 3)
        maker = Maker()
        thread = started(bus, maker, cursors=tmp_path / "cursors")
        bus.publish(event(4, KIND))
        maker.wait_for(lambda: 4 in maker.numbers)
        finish(thread)
    assert maker.numbers == [1, 4]


def test_one_that_wants_to_end_the_program_ends_nothing() -> None:
    with publisher() as bus:
        maker = Maker()
        maker.broken = "exit"
        thread = started(bus, maker)
        bus.publish(event(0))
        until(lambda: thread.failed == 1)
        maker.broken = None
        bus.publish(event(1))
        finish(thread)
    assert maker.numbers == [1]
    assert (thread.handled, thread.failed, thread.restarts) == (1, 1, 0)


def test_what_it_handled_after_the_end_was_asked_for_does_not_come_again(tmp_path: Path) -> None:
    with journaled(tmp_path) as bus:
        maker = Maker()
        maker.hang_on = {1}
        thread = started(bus, maker, cursors=tmp_path / "cursors", hang_s=LONG_S)
        for number in range(3):
            bus.publish(event(number, KIND))
        until(lambda: maker.threads)
        thread.finish(0.05)
        until(lambda: time.monotonic() > thread._deadline and thread._hand is None)
        maker.release.set()
        thread.join(LONG_S)
        maker.hang_on = set()
        again = started(bus, maker, cursors=tmp_path / "cursors")
        maker.wait_for(lambda: 2 in maker.numbers)
        finish(again)
    assert maker.numbers == [0, 1, 2]


def test_one_whose_place_cannot_be_kept_gets_what_is_published_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cursors").write_text("a file where the folder should be")
    maker = Maker()
    with journaled(tmp_path) as bus:
        thread = started(bus, maker, cursors=tmp_path / "cursors")
        bus.publish(event(1, KIND))
        maker.wait_for(lambda: maker.numbers == [1])
        thread.finish(LONG_S)
        thread.join(LONG_S)
    assert "goes on without its place in the journal" in caplog.text

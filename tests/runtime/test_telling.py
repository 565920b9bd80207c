"""What a subscriber tells of itself comes into the heartbeat, whatever its code does meanwhile."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from busside import event, publisher
from fakes import LONG_S

from streamcls import ComponentConfig
from streamcls.bus.publisher import IN_PROCESS
from streamcls.runtime.subscribers import SubscriberThread
from streamcls.runtime.subscribers.telling import own_facts, sound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KIND = "genre.segment"
TOLD = {"waiting": 3, "waited_s": 61.5, "trouble": "no answer", "counters": {"delivered": 9}}


class Telling:
    name: ClassVar[str] = "telling"
    waiting, waited_s, trouble = 3, 61.52, "no answer"

    class Config(ComponentConfig):
        pass

    def __init__(self, *_: Any) -> None:
        self.counters = {"delivered": 9}
        self.taken: list[Mapping[str, Any]] = []

    def handle(self, event: Mapping[str, Any]) -> None:
        self.taken.append(event)

    def close(self) -> None:
        """Do nothing."""


class Raising(Telling):
    @property
    def trouble(self) -> str:  # type: ignore[override]
        raise SystemExit("boom")


class Hanging(Telling):
    def __init__(self, *_: Any) -> None:
        super().__init__()
        self.release = threading.Event()

    @property
    def trouble(self) -> str:  # type: ignore[override]
        self.release.wait()
        return "late"


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def started(bus: Any, made: Telling, **settings: Any) -> SubscriberThread:
    thread = SubscriberThread("telling", lambda: made, IN_PROCESS, bus.context, **settings)
    thread.start()
    assert thread.ready.wait(LONG_S)
    return thread


def ended(thread: SubscriberThread) -> None:
    thread.finish(LONG_S)
    thread.join(LONG_S)
    assert not thread.is_alive()


def test_what_it_tells_stands_among_its_facts_also_while_no_event_comes() -> None:
    with publisher() as bus:
        made = Telling()
        thread = started(bus, made)
        until(lambda: thread.facts().get("waiting"))
        assert thread.facts().items() >= TOLD.items()
        made.waiting = 0
        until(lambda: thread.facts()["waiting"] == 0)
        ended(thread)
    assert "waiting" not in thread.facts(), "there is nobody any more who could know"


def test_one_that_raises_when_asked_is_asked_once_and_takes_its_events(caplog: pytest.LogCaptureFixture) -> None:
    with publisher() as bus:
        made = Raising()
        thread = started(bus, made)
        for number in range(20):
            bus.publish(event(number, kind=KIND))
        ended(thread)
    assert len(made.taken) == 20
    assert thread.facts().keys().isdisjoint(TOLD)
    assert [r.getMessage() for r in caplog.records if "cannot be read" in r.getMessage()] == [
        "subscriber telling: what it tells of itself cannot be read, and is left out"
    ]


def test_one_that_hangs_when_asked_holds_up_no_heartbeat_and_is_left_behind() -> None:
    with publisher() as bus:
        made = Hanging()
        thread = started(bus, made, hang_s=0.2)
        assert thread.facts()["handled"] == 0
        bus.publish(event(0, kind=KIND))
        until(lambda: thread.state == "hung")
        assert "has not returned for 0.2 s" in thread.facts()["reason"]
        made.release.set()
        until(lambda: thread.state == "running")
        ended(thread)


@pytest.mark.parametrize(
    ("told", "facts"),
    [
        (None, {}),
        ({"waiting": True, "waited_s": float("nan"), "trouble": 3, "counters": [1]}, {}),
        ({"waiting": -1, "waited_s": "5"}, {}),
        ({"trouble": "x" * 5_000}, {"trouble": "x" * 400}),
        ({"counters": {"a": 1, "b": "x", 3: 2.5, "c": None}}, {"counters": {"a": 1, "3": 2.5}}),
        ({**TOLD, "more": 1}, TOLD),
    ],
)
def test_only_what_is_sound_is_passed_on(told: Any, facts: dict[str, Any]) -> None:
    assert sound(told) == facts


def test_there_is_a_limit_to_what_is_counted() -> None:
    assert len(sound({"counters": {f"c{n}": n for n in range(1_000)}})["counters"]) == 30


def test_one_without_such_attributes_tells_nothing() -> None:
    assert own_facts(object()) == {}

"""Subscribers that cannot take an event for a reason that is not the event's: their server is away, their disk is full."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from busside import LONG_S, event, publisher
from fakes import Collector

from streamcls import ComponentConfig, SubscriberBusyError
from streamcls.bus.publisher import IN_PROCESS
from streamcls.runtime.subscribers import SubscriberThread, handle_guarded
from streamcls.testing import make_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping


class Shop:
    """A subscriber that is busy while it is closed, and keeps what it gets."""

    name: ClassVar[str] = "shop"

    class Config(ComponentConfig):
        pass

    def __init__(self) -> None:
        self.shut = True
        self.made = 0
        self.numbers: list[int] = []
        self.asked = 0

    def __call__(self) -> Shop:
        self.made += 1
        return self

    def handle(self, event: Mapping[str, Any]) -> None:
        self.asked += 1
        if self.shut:
            raise SubscriberBusyError("the shop is shut")
        self.numbers.append(event["data"]["number"])

    def close(self) -> None:
        pass


def test_what_comes_while_it_is_busy_is_kept_and_a_long_time_of_it_is_told() -> None:
    told, shop = Collector(), Shop()
    with publisher() as bus:
        thread = SubscriberThread("shop", shop, IN_PROCESS, bus.context, publish=told, daemon="studio", busy_s=0.0)
        thread.start()
        assert thread.ready.wait(LONG_S)
        for number in range(5):
            bus.publish(event(number))
        told.wait_for(lambda events: events)
        shop.shut = False
        told.wait_for(lambda events: len(events) == 2)
        thread.finish(LONG_S)
        thread.join(LONG_S)
    assert (shop.numbers, shop.made, thread.failed) == ([0, 1, 2, 3, 4], 1, 0)
    assert [each.data for each in told.events] == [
        {"name": "shop", "state": "hung", "reason": "it has taken nothing for 0 s: the shop is shut"},
        {"name": "shop", "state": "running", "reason": ""},
    ]


def test_on_its_own_it_is_waited_for_and_an_interruption_leaves_the_event_for_the_next_time() -> None:
    stop, complaints, shop = threading.Event(), list[str](), Shop()

    def opens(_: float) -> bool:
        shop.shut = shop.asked < 3
        return stop.is_set()

    envelope = make_envelope("a.b", {"number": 1})
    assert handle_guarded("shop", shop, envelope, opens, complaints.append)
    assert (shop.numbers, complaints) == ([1], 3 * ["subscriber shop: the shop is shut"])
    shop.shut = True
    stop.set()
    with pytest.raises(SubscriberBusyError, match="the shop is shut"):
        handle_guarded("shop", shop, envelope, stop.wait, complaints.append)

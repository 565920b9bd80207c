"""Streams that come and go under ever new names do not grow the publisher."""

from __future__ import annotations

from streamcls.bus import EventClient, Publisher
from streamcls.bus.publisher import IN_PROCESS
from streamcls.types import Event


def test_numbering_begins_anew_in_a_new_epoch_when_there_are_too_many_topics() -> None:
    bus = Publisher([], source="/test", most_topics=5)
    bus.start()
    first_epoch = bus.epoch
    with EventClient(IN_PROCESS, context=bus.context) as client:
        list(client.synchronise(5))
        for number in range(12):
            bus.publish(Event("genre.window", f"stream-{number}", {"number": number}))
        received = list(client.synchronise(5))
    assert bus.close()
    assert [event["data"]["number"] for event in received] == list(range(12))
    assert {event["sequence"] for event in received} == {"1"}
    assert [len({e["epoch"] for e in received[:5]}), received[0]["epoch"]] == [1, first_epoch]
    assert len({event["epoch"] for event in received}) == 3
    assert sorted({e["epoch"] for e in received}) == list(dict.fromkeys(e["epoch"] for e in received)), (
        "epochs sort in time"
    )
    assert len(bus.positions()) == 2

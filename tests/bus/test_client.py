from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from busside import LONG_S, event, plain_subscriber, publisher, raw_event, received

from streamcls.bus import EventClient
from streamcls.bus.publisher import IN_PROCESS
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamcls.bus import Envelope, Publisher

A, B = "00000000000001-00000000", "00000000000002-00000000"


def take(client: EventClient, count: int) -> list[Envelope]:
    events = []
    for _ in range(count):
        envelope = client.receive(LONG_S)
        assert envelope is not None
        events.append(envelope)
    return events


def synchronise(client: EventClient) -> list[Envelope]:
    return list(client.synchronise(LONG_S))


@contextlib.contextmanager
def connected(bus: Publisher, **filters: Any) -> Iterator[EventClient]:
    with EventClient(bus.endpoints[0], **filters) as client:
        assert synchronise(client) == []
        yield client


class Wire:
    """A publisher made of nothing but a socket, which can leave events out."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str = "tcp://127.0.0.1:*") -> None:
        self.socket = context.socket(zmq.XPUB)
        self.socket.linger = 0
        self.socket.sndhwm = 0
        self.socket.bind(endpoint)
        self.endpoint = self.socket.last_endpoint.decode().rstrip("\0")

    def await_subscriptions(self, count: int) -> set[bytes]:
        found = set()
        while len(found) < count:
            assert self.socket.poll(round(LONG_S * 1000))
            found.add(self.socket.recv())
        return found

    def send(self, topic: str, sequence: int, **changes: Any) -> None:
        self.socket.send_multipart(raw_event(topic, sequence, **changes))

    def heartbeat(self, sequence: int, positions: dict[str, int], **changes: Any) -> None:
        self.send("daemon.heartbeat/d", sequence, data={"positions": positions}, **changes)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with zmq.Context() as context:
        publishing = Wire(context)
        yield publishing
        publishing.socket.close()


@contextlib.contextmanager
def listening(wire: Wire, **filters: Any) -> Iterator[EventClient]:
    with EventClient(wire.endpoint, **filters) as client:
        wire.await_subscriptions(len(filters.get("kinds", ())) + 1)
        yield client


def test_it_receives_what_it_asked_for_in_order() -> None:
    with (
        publisher() as bus,
        connected(bus, kinds=["genre.segment", "moderation"], streams=["radio-*", "tape"]) as client,
    ):
        for number, (kind, stream) in enumerate(
            [
                ("genre.window", "radio-1"),
                ("genre.segment", "radio-1"),
                ("moderation.alert", "mic"),
                ("moderation.alert", "tape"),
                ("daemon.heartbeat", "tape"),
                ("moderation.window", "radio-2"),
            ]
        ):
            bus.publish(event(number, kind, stream))
        assert [e["data"]["number"] for e in take(client, 3)] == [1, 3, 5]
        assert client.receive(0.05) is None
    assert client.missed == 0


@pytest.mark.parametrize("scheme", ["tcp", "ipc", "inproc"])
def test_after_synchronising_nothing_that_was_published_before_or_after_is_missing(scheme: str, tmp_path: Path) -> None:
    """A thread publishes without a pause while clients come: from its echo on, each must see every number."""
    with publisher(f"ipc://{tmp_path}/bus" if scheme == "ipc" else "tcp://127.0.0.1:*", queue_size=100) as bus:
        handed_over = 0
        halt = threading.Event()

        def publish() -> None:
            nonlocal handed_over
            while not halt.is_set():
                bus.publish(event(handed_over))
                handed_over += 1

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            for _ in range(15):
                inproc = scheme == "inproc"
                with EventClient(
                    IN_PROCESS if inproc else bus.endpoints[0], context=bus.context if inproc else None
                ) as client:
                    seen = [e["data"]["number"] for e in synchronise(client)]
                    before = handed_over
                    seen += [e["data"]["number"] for e in take(client, 200)]
                    assert seen == list(range(seen[0], seen[0] + len(seen)))
                    assert seen[0] <= before
                    assert client.missed == 0
                    at_least = handed_over
                    seen += [e["data"]["number"] for e in synchronise(client)]
                    assert seen[-1] >= at_least - 1, "what was handed over before the call comes before the echo"
        finally:
            halt.set()
            thread.join()


def test_synchronising_with_nobody_says_so() -> None:
    with publisher() as gone:
        endpoint = gone.endpoints[0]
    with (
        EventClient(endpoint) as client,
        pytest.raises(BusError, match=r"no answer from tcp://.* within 0.1 s; does a daemon run there"),
    ):
        list(client.synchronise(0.1))


def test_synchronising_gives_up_in_time_when_what_comes_before_the_echo_never_ends(wire: Wire) -> None:
    with listening(wire) as client:
        halt = threading.Event()

        def flood() -> None:
            number = 0
            while not halt.is_set():
                number += 1
                wire.send("a.b/x", number)

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            with pytest.raises(BusError, match="no answer"):
                list(client.synchronise(0.2))
            with EventClient(wire.endpoint, streams=["another"]) as other:
                assert other.receive(0.2) is None, "events that were not asked for do not prolong the wait"
        finally:
            halt.set()
            thread.join()


@pytest.mark.parametrize("endpoint", ["tcp://", "nonsense", "udp5://127.0.0.1:1", "tcp://127.0.0.1"])
def test_a_malformed_endpoint_is_named(endpoint: str) -> None:
    with (
        pytest.raises(BusError, match=r"cannot connect to .*expected e.g. tcp://127.0.0.1:5757"),
        EventClient(endpoint),
    ):
        pass


def test_using_it_unconnected_or_after_its_context_went_is_an_error_of_the_bus() -> None:
    client = EventClient("tcp://127.0.0.1:1")
    with pytest.raises(BusError, match="connect"):
        client.receive(0)
    with publisher() as bus:
        client = EventClient(IN_PROCESS, context=bus.context)
        client.connect()
    with pytest.raises(BusError, match="cannot receive"):
        client.receive(1)
    client.close()


class TestWhatIsMissing:
    def test_a_hole_in_a_topic_is_counted_exactly(self, wire: Wire) -> None:
        with listening(wire) as client:
            for topic, sequence in [("a.b/x", 5), ("a.b/x", 6), ("c.d/x", 9), ("a.b/x", 10), ("c.d/x", 10)]:
                wire.send(topic, sequence)
            take(client, 5)
            assert client.missed == 3

    def test_a_heartbeat_tells_of_the_loss_of_a_last_event(self, wire: Wire) -> None:
        with listening(wire, kinds=["a.b"]) as client:
            wire.send("a.b/x", 1)
            wire.heartbeat(7, {"a.b/x": 1, "c.d/x": 5})
            wire.heartbeat(8, {"a.b/x": 3, "c.d/x": 9})
            wire.send("a.b/x", 4)
            take(client, 2)
            assert client.missed == 2
            assert client.receive(0.05) is None, "heartbeats were not asked for"

    def test_a_heartbeat_tells_of_the_loss_of_every_event_of_a_topic(self, wire: Wire) -> None:
        with listening(wire) as client:
            wire.heartbeat(7, {})
            wire.heartbeat(8, {"daemon.heartbeat/d": 7})
            wire.heartbeat(9, {"daemon.heartbeat/d": 8, "a.b/x": 2})
            take(client, 3)
            assert client.missed == 2

    def test_what_was_published_before_it_came_is_not_lost(self, wire: Wire) -> None:
        with listening(wire) as client:
            wire.heartbeat(7, {"a.b/x": 100, "daemon.heartbeat/d": 6})
            wire.send("a.b/x", 104)  # 101 to 103 may have been sent between the heartbeat's making and the subscription
            wire.send("e.f/x", 3)
            wire.heartbeat(8, {"a.b/x": 104, "c.d/x": 50, "daemon.heartbeat/d": 7, "e.f/x": 3})
            wire.send("c.d/x", 51)
            take(client, 5)
            assert client.missed == 0

    def test_only_what_was_asked_for_counts(self, wire: Wire) -> None:
        with listening(wire, kinds=["a.b"], streams=["x"]) as client:
            wire.send("a.b/y", 1)
            wire.send("a.b/y", 9)
            wire.send("a.b/x", 1)
            wire.heartbeat(1, {"a.b/y": 20, "a.b/x": 1})
            wire.send("a.b/x", 2)
            take(client, 2)
            assert client.missed == 0

    def test_after_a_restart_numbers_begin_again_and_the_new_epochs_beginning_is_accounted_for(
        self, wire: Wire, caplog: pytest.LogCaptureFixture
    ) -> None:
        with listening(wire) as client:
            wire.send("a.b/x", 80, epoch=A)
            wire.send("a.b/x", 1, epoch=B)
            wire.send("a.b/x", 2, epoch=B)
            take(client, 3)
            assert client.missed == 0
            assert "has been restarted" in caplog.text
            wire.send("c.d/x", 3, epoch=B)
            wire.heartbeat(1, {"a.b/x": 2, "e.f/x": 4}, epoch=B)
            take(client, 2)
            assert client.missed == 2 + 4

    def test_a_straggler_of_an_older_epoch_and_another_daemon_on_a_proxy_confuse_nothing(self, wire: Wire) -> None:
        with listening(wire) as client:
            wire.send("a.b/x", 1, epoch=B)
            wire.send("a.b/x", 99, epoch=A)
            wire.send("a.b/x", 500, epoch=A, source="/streamcls/other")
            wire.send("a.b/x", 2, epoch=B)
            wire.send("a.b/x", 501, epoch=A, source="/streamcls/other")
            take(client, 5)
            assert client.missed == 0

    @pytest.mark.parametrize("positions", [None, [], {"a.b/x": "many"}, {"a.b/x": None, "": 3, "a.b": 7}, 5])
    def test_a_heartbeat_of_another_shape_is_taken_as_it_is(self, wire: Wire, positions: object) -> None:
        with listening(wire) as client:
            wire.send("a.b/x", 1)
            wire.heartbeat(1, positions)  # type: ignore[arg-type]
            wire.heartbeat(2, positions)  # type: ignore[arg-type]
            take(client, 3)
            assert client.missed == 0


def test_it_finds_a_daemon_that_starts_later_and_again_one_that_was_restarted() -> None:
    with publisher() as bus:
        endpoint = bus.endpoints[0]
    with EventClient(endpoint) as client:
        for start in range(2):
            with publisher(endpoint) as bus:
                for envelope in client.synchronise(LONG_S):
                    pytest.fail(f"nothing was published, and yet {envelope}")
                bus.publish(event(start))
                (envelope,) = take(client, 1)
                assert (envelope["data"]["number"], envelope["sequence"], envelope["epoch"]) == (start, "1", bus.epoch)
        assert client.missed == 0


_GOOD = raw_event("a.b/x", 1)


@pytest.mark.parametrize(
    "frames",
    [
        [b"a.b/x"],
        [b"a.b/x", _GOOD[1], b""],
        [b"a.b/x", b""],
        [b"a.b/x", b"{"],
        [b"a.b/x", b"[]"],
        [b"a.b/x", b"null"],
        [b"a.b/x", b"\xff\xfe"],
        [b"\xff/x", _GOOD[1]],
        [b"a.b/x", b"[" * 200_000],
        [b"a.b/x", b'{"a":' * 50_000],
        [b"a.b/x", b"9" * 10_000],
        [b"a.b/x", _GOOD[1].replace(b'"data": {}', b'"data": {"x": NaN}')],
        [b"a.b/x", _GOOD[1].replace(b'"data": {}', b'"data": {"x": -Infinity}')],
        [b"c.d/x", _GOOD[1]],
        [b"a.b/y", _GOOD[1]],
        raw_event("a.b/x", 1, specversion="0.3"),
        raw_event("a.b/x", 1, type="other.a.b"),
        raw_event("a.b/x", 1, data=None),
        raw_event("a.b/x", 1, data=[]),
        *(
            raw_event("a.b/x", 1, **{name: value})
            for name in ("id", "source", "subject", "time", "epoch", "sequence")
            for value in (None, 7)
        ),
        *(raw_event("a.b/x", 1, sequence=text) for text in ("", "-1", "1.0", "x", "²", "1" * 25, " 1")),
    ],
)
def test_what_is_no_event_is_dropped_counted_and_named_once(
    wire: Wire, frames: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with listening(wire) as client:
        wire.socket.send_multipart(frames)
        wire.send("a.b/x", 1)
        (envelope,) = take(client, 1)
        assert envelope["sequence"] == "1"
        assert (client.malformed, client.missed) == (1, 0)
        assert caplog.text.count("dropped (1 so far)") == 1


def test_a_thousand_malformed_messages_make_ten_lines(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    with listening(wire) as client:
        for _ in range(1_000):
            wire.socket.send_multipart([b"a.b/x", b"rubbish"])
        wire.send("a.b/x", 1)
        take(client, 1)
        assert client.malformed == 1_000
        assert len(caplog.records) == 10


def test_unknown_members_and_kinds_are_passed_on(wire: Wire) -> None:
    with listening(wire) as client:
        wire.send("new.kind/x", 1, extension=7, data={"later": True})
        (envelope,) = take(client, 1)
        assert (envelope["type"], envelope["extension"], envelope["data"]) == ("streamcls.new.kind", 7, {"later": True})


def test_a_slow_subscriber_loses_events_alone_and_the_hole_is_counted() -> None:
    """A frozen subscriber with small buffers: the publisher goes on, its other subscriber gets all, memory is bounded."""
    count, hwm, burst = 30_000, 100, 20
    with (
        publisher(high_water_mark=hwm) as bus,
        connected(bus, high_water_mark=hwm) as frozen,
        plain_subscriber(bus.endpoints[0], "genre.window") as quick,
    ):
        for number in range(count):
            bus.publish(event(number, filler="x" * 2_000))
            if number % burst == burst - 1:  # the quick one has taken all so far before there is more
                numbers = [json.loads(received(quick)[1])["data"]["number"] for _ in range(burst)]
                assert numbers == list(range(number + 1 - burst, number + 1))
        bus.publish(event(0, "daemon.heartbeat", "d", positions=bus.positions()))
        arrived = 0
        while (envelope := frozen.receive(0.3)) is not None:
            arrived += envelope["type"] == "streamcls.genre.window"
        # The heartbeat met a full queue as well; the next one does not.
        bus.publish(event(0, "daemon.heartbeat", "d", positions=bus.positions()))
        take(frozen, 1)
        assert arrived < count / 2
        assert arrived + frozen.missed >= count
        assert frozen.missed - (count - arrived) <= 1, "but for the heartbeat"
        assert bus.positions()["genre.window/radio-1"] == count


def test_json_of_any_event_survives_the_way(wire: Wire) -> None:
    data = {"text": "äöü \u2028 \x00 🎵", "big": 2**63, "small": 1e-308, "none": None, "list": [True, {}]}
    with publisher() as bus, connected(bus) as client:
        bus.publish(event(1, **data))
        (envelope,) = take(client, 1)
    assert envelope["data"] == {"number": 1, **json.loads(json.dumps(data))}

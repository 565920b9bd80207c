from __future__ import annotations

import json
import math
import os
import re
import socket as network
import threading
from pathlib import Path

import pytest
import zmq
from busside import LONG_S, event, plain_subscriber, publisher, received

from streamcls.bus import Publisher
from streamcls.bus.publisher import IN_PROCESS
from streamcls.errors import BusError
from streamcls.types import Event


def _port_of(bus: Publisher) -> int:
    return int(bus.endpoints[0].rpartition(":")[2])


@pytest.mark.parametrize("scheme", ["tcp", "ipc", "inproc", "ipv6"])
def test_a_foreign_subscriber_receives_topic_and_envelope(scheme: str, tmp_path: Path) -> None:
    address = {
        "tcp": "tcp://127.0.0.1:*",
        "ipc": f"ipc://{tmp_path}/bus",
        "inproc": "tcp://127.0.0.1:*",
        "ipv6": "tcp://[::1]:*",
    }[scheme]
    if scheme == "ipv6" and not network.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with publisher(address) as bus:
        own = zmq.Context()
        context = bus.context if scheme == "inproc" else own
        with context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.ipv6 = scheme == "ipv6"
            socket.connect(IN_PROCESS if scheme == "inproc" else bus.endpoints[0])
            socket.subscribe("")
            socket.subscribe("_sync/here")
            while not received(socket)[0].startswith(b"_sync/"):
                pass
            bus.publish(Event("genre.window", "radio-1", {"ü": 1}, time=1.25))
            topic, body = received(socket)
        own.term()
    assert topic == b"genre.window/radio-1"
    assert body.decode().count("ü") == 1, "text stands as UTF-8, not as escapes"
    assert json.loads(body) == {
        "specversion": "1.0",
        "id": f"{bus.epoch}/genre.window/radio-1/1",
        "source": "/streamcls/test",
        "type": "streamcls.genre.window",
        "subject": "radio-1",
        "time": "1970-01-01T00:00:01.250Z",
        "datacontenttype": "application/json",
        "epoch": bus.epoch,
        "sequence": "1",
        "data": {"ü": 1},
    }


def test_every_topic_is_counted_by_itself_and_an_event_without_time_bears_the_time_of_publication() -> None:
    with publisher(clock=lambda: 86_400.0) as bus, plain_subscriber(bus.endpoints[0]) as socket:
        for number, (kind, stream) in enumerate([("a.b", "x"), ("a.b", "y"), ("a.b", "x"), ("c.d", "x"), ("a.b", "x")]):
            bus.publish(event(number, kind, stream))
        events = [json.loads(received(socket)[1]) for _ in range(5)]
    assert [(e["type"], e["subject"], e["sequence"]) for e in events] == [
        ("streamcls.a.b", "x", "1"),
        ("streamcls.a.b", "y", "1"),
        ("streamcls.a.b", "x", "2"),
        ("streamcls.c.d", "x", "1"),
        ("streamcls.a.b", "x", "3"),
    ]
    assert {e["time"] for e in events} == {"1970-01-02T00:00:00.000Z"}
    assert bus.positions() == {"a.b/x": 3, "a.b/y": 1, "c.d/x": 1}
    assert bus.published == 5


def test_epochs_differ_and_sort_by_start() -> None:
    epochs = []
    for _ in range(3):
        with publisher() as bus:
            epochs.append(bus.epoch)
    assert len(set(epochs)) == 3
    assert epochs == sorted(epochs)
    assert all(re.fullmatch(r"[0-9a-f]{14}-[0-9a-f]{8}", epoch) for epoch in epochs)


@pytest.mark.parametrize(
    ("prefixes", "expected"),
    [
        (("genre.",), ["genre.window/radio-1", "genre.segment/radio-1"]),
        (("moderation.alert/",), ["moderation.alert/radio-10"]),
        (("genre.window/radio-1", "moderation.alert/radio-1"), ["genre.window/radio-1", "moderation.alert/radio-10"]),
    ],
)
def test_a_subscription_is_the_beginning_of_a_topic(prefixes: tuple[str, ...], expected: list[str]) -> None:
    with publisher() as bus, plain_subscriber(bus.endpoints[0], *prefixes, "last") as socket:
        for kind, stream in [
            ("genre.window", "radio-1"),
            ("genre.segment", "radio-1"),
            ("moderation.alert", "radio-10"),
            ("last", "x"),
        ]:
            bus.publish(event(0, kind, stream))
        topics = []
        while (topic := received(socket)[0].decode()) != "last/x":
            topics.append(topic)
    assert topics == expected


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_an_endpoint_that_another_publisher_has_is_refused_by_name_with_advice_and_left_to_it(
    scheme: str, tmp_path: Path
) -> None:
    with publisher("tcp://127.0.0.1:*" if scheme == "tcp" else f"ipc://{tmp_path}/bus") as first:
        second = Publisher(first.endpoints, source="/streamcls/second")
        with pytest.raises(BusError) as caught:
            second.start()
        assert first.endpoints[0] in str(caught.value)
        assert "another process has it; choose another port or path in [bus] publish" in str(caught.value)
        with plain_subscriber(first.endpoints[0]) as socket:
            first.publish(event(7))
            assert json.loads(received(socket)[1])["data"] == {"number": 7}


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("tcp://192.0.2.1:5757", "this machine has no such address"),
        ("tcp://nosuch.invalid:5757", "this machine has no such address"),
        ("tcp://127.0.0.1", "expected e.g. tcp://127.0.0.1:5757"),
        ("carrier-pigeon://x", "expected tcp:// or ipc://"),
        ("ipc:///no/such/folder/bus", "permissions of its folder"),
        ("ipc:///" + 200 * "x", "longer than"),
    ],
)
def test_an_endpoint_that_cannot_be_bound_is_named_with_what_to_do(endpoint: str, words: str) -> None:
    bus = Publisher([endpoint], source="/x")
    with pytest.raises(BusError, match=re.escape(endpoint)) as caught:
        bus.start()
    assert words in str(caught.value)
    assert bus.close()


def test_closing_after_a_failed_start_and_closing_twice_touch_no_descriptor_of_others() -> None:
    bus = Publisher(["tcp://192.0.2.1:5757"], source="/x")
    with pytest.raises(BusError):
        bus.start()
    pipes = [os.pipe() for _ in range(8)]  # they take over the numbers that the publisher gave back
    try:
        assert bus.close()
        assert bus.close()
        for read, write in pipes:
            os.set_blocking(read, False)
            with pytest.raises(BlockingIOError):
                os.read(read, 1)
            os.write(write, b"mine")
            assert os.read(read, 10) == b"mine"
    finally:
        for read, write in pipes:
            os.close(read)
            os.close(write)


def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "bus"
    with network.socket(network.AF_UNIX) as left:
        left.bind(str(path))
    assert path.is_socket()
    with publisher(f"ipc://{path}") as bus, plain_subscriber(bus.endpoints[0]) as socket:
        bus.publish(event(1))
        assert received(socket)[0] == b"genre.window/radio-1"


def test_a_file_that_is_no_socket_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "bus"
    path.write_text("my thesis")
    with pytest.raises(BusError, match="exists and is no socket; remove it or choose another path"):
        Publisher([f"ipc://{path}"], source="/x").start()
    assert path.read_text() == "my thesis"


def test_a_relative_ipc_path_is_looked_at_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/bus").write_text("my thesis")
    with pytest.raises(BusError, match="exists and is no socket"):
        Publisher(["ipc://run/bus"], source="/x").start()
    assert Path("run/bus").read_text() == "my thesis"


def test_close_delivers_what_was_handed_over() -> None:
    with publisher() as bus, plain_subscriber(bus.endpoints[0]) as socket:
        for number in range(5_000):
            bus.publish(event(number))
        assert bus.close(LONG_S)
        numbers = [json.loads(received(socket)[1])["data"]["number"] for _ in range(5_000)]
    assert numbers == list(range(5_000))


def test_publishing_after_close_is_an_error() -> None:
    with publisher() as bus:
        pass
    assert not bus.alive
    with pytest.raises(BusError, match="the bus has stopped"):
        bus.publish(event())


class _StalledClock:
    """Stands for whatever keeps the bus thread from going on."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self) -> float:
        self.reached.set()
        assert self.go.wait(LONG_S)
        return 0.0


def test_a_full_queue_blocks_the_publishing_thread_until_there_is_room() -> None:
    clock = _StalledClock()
    with publisher(clock=clock, queue_size=3) as bus, plain_subscriber(bus.endpoints[0]) as socket:
        bus.publish(event(0))
        assert clock.reached.wait(LONG_S)
        for number in (1, 2, 3):
            bus.publish(event(number))
        assert bus.waiting == 3
        done = threading.Event()
        thread = threading.Thread(target=lambda: (bus.publish(event(4)), done.set()))
        thread.start()
        assert not done.wait(0.2), "there was no room"
        clock.go.set()
        assert done.wait(LONG_S)
        thread.join()
        assert [json.loads(received(socket)[1])["data"]["number"] for _ in range(5)] == [0, 1, 2, 3, 4]


def test_a_thread_that_waits_for_room_is_released_with_an_error_when_the_bus_closes() -> None:
    clock = _StalledClock()
    bus = Publisher(["tcp://127.0.0.1:*"], source="/x", clock=clock, queue_size=1)
    bus.start()
    bus.publish(event(0))
    assert clock.reached.wait(LONG_S)
    bus.publish(event(1))
    errors: list[BaseException] = []

    def late() -> None:
        try:
            bus.publish(event(2))
        except BusError as error:
            errors.append(error)

    thread = threading.Thread(target=late)
    thread.start()
    assert not bus.close(0.05), "the bus thread is held up"
    thread.join(LONG_S)
    assert len(errors) == 1
    clock.go.set()
    assert bus.close(LONG_S)


def _nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(depth):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    "bad",
    [
        Event("a.b", "x", {"value": math.nan}),
        Event("a.b", "x", {"value": math.inf}),
        Event("a.b", "x", {"value": object()}),
        Event("a.b", "x", {"value": "\ud800"}),
        Event("a.b", "\ud800", {}),
        Event("a.b", "x", {}, time=1e300),
        Event("a.b", "x", {}, time=math.nan),
        Event("a.b", "x", {}, time=math.inf),
        Event("a.b", "x", _nested(200_000)),
        Event("a.b", "x", {"value": "x" * (9 << 20)}),
    ],
    ids=["nan", "inf", "object", "surrogate", "topic", "far future", "time nan", "time inf", "deep", "huge"],
)
def test_an_event_that_is_no_json_is_refused_uses_up_no_number_and_stops_nothing(
    bad: Event, caplog: pytest.LogCaptureFixture
) -> None:
    with publisher() as bus, plain_subscriber(bus.endpoints[0]) as socket:
        bus.publish(Event("a.b", "x", {"n": 1}))
        bus.publish(bad)
        bus.publish(Event("a.b", "x", {"n": 2}))
        events = [json.loads(received(socket)[1]) for _ in range(2)]
    assert [(e["sequence"], e["data"]["n"]) for e in events] == [("1", 1), ("2", 2)]
    assert bus.published == 2
    assert "cannot be written as JSON" in caplog.text


def test_an_echo_comes_even_while_others_never_stop_publishing() -> None:
    with publisher(queue_size=500) as bus:
        halt = threading.Event()

        def flood() -> None:
            while not halt.is_set():
                bus.publish(event(0, "flood", "x"))

        floods = [threading.Thread(target=flood) for _ in range(2)]
        for thread in floods:
            thread.start()
        try:
            with plain_subscriber(bus.endpoints[0], "quiet"):
                pass
        finally:
            halt.set()
            for thread in floods:
                thread.join()


def test_an_echo_states_the_epoch_and_follows_what_was_handed_over_before_it() -> None:
    with publisher() as bus, plain_subscriber(bus.endpoints[0]) as socket:
        for round_ in range(50):
            for number in range(20):
                bus.publish(event(number))
            token = f"_sync/{round_}"
            socket.subscribe(token)
            seen = 0
            while (frames := received(socket))[0] != token.encode():
                seen += 1
            assert seen == 20
            assert json.loads(frames[1]) == {
                "epoch": bus.epoch,
                "source": "/streamcls/test",
                "published": 20 * (round_ + 1),
                "journal": "",
                "position": 0,
                "replay": [],
            }


_GREETING = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01NULL" + bytes(16) + b"\x00" + bytes(31)
_READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(10_000),
        b"\xff" * 10_000,
        os.urandom(100_000),
        _GREETING + os.urandom(10_000),
        _GREETING + _READY + b"\x02" + (1 << 60).to_bytes(8, "big") + b"\x01huge",
        _GREETING + _READY + b"\x02" + (1 << 20).to_bytes(8, "big") + b"\x01" + b"x" * (1 << 20),
        _GREETING + _READY + b"\x01\x02\x01a" * 50 + b"\x00\x00" * 500,
        _GREETING + _READY + os.urandom(5_000),
        _GREETING + _READY + b"\x00\x04\x01\xff\xfe\xfd" + b"\x00\x03\x07ab",
    ],
    ids=[
        "http",
        "zeros",
        "ones",
        "noise",
        "noise after greeting",
        "length",
        "long",
        "many frames",
        "noise after ready",
        "odd topics",
    ],
)
def test_raw_garbage_on_the_port_harms_nobody(garbage: bytes) -> None:
    with publisher() as bus, plain_subscriber(bus.endpoints[0]) as socket:
        with network.create_connection(("127.0.0.1", _port_of(bus)), LONG_S) as attacker:
            attacker.settimeout(0.5)
            try:
                attacker.sendall(garbage)
                while attacker.recv(65_536):
                    pass
            except OSError:  # it hung up, or waits for more
                pass
            bus.publish(event(1))
            assert json.loads(received(socket)[1])["data"] == {"number": 1}
        assert bus.alive


def test_a_peer_that_subscribes_without_end_delays_nobody() -> None:
    with publisher() as bus, zmq.Context() as context, context.socket(zmq.XSUB) as attacker:
        attacker.linger = 0
        attacker.connect(bus.endpoints[0])
        halt = threading.Event()

        def attack() -> None:
            number = 0
            while not halt.is_set():
                attacker.send(b"\x01_sync/%d" % (number % 50_000))
                attacker.send(b"\x00_sync/%d" % (number % 50_000))
                attacker.send_multipart([b"\x05rubbish", b"\x01_sync/second frame"])
                number += 1

        thread = threading.Thread(target=attack)
        thread.start()
        try:
            with plain_subscriber(bus.endpoints[0]) as socket:
                bus.publish(event(1))
                frames = received(socket)
                while frames[0].startswith(b"_sync/"):
                    frames = received(socket)
                assert json.loads(frames[1])["data"] == {"number": 1}
        finally:
            halt.set()
            thread.join()


def test_a_subscription_of_500_bytes_is_taken() -> None:
    long = "x" * 500
    with publisher() as bus, plain_subscriber(bus.endpoints[0], long) as socket:
        bus.publish(event(1, long, "s"))
        assert received(socket)[0] == f"{long}/s".encode()

"""What the tests of the bus share: publishers on real sockets, and plain sockets that share no code with them."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import zmq

from streamcls.bus import Publisher
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LONG_S", "event", "plain_subscriber", "publisher", "raw_event", "received"]

LONG_S = 20.0
"""Far beyond what anything here takes; only a failure waits for it."""


def event(number: int = 0, kind: str = "genre.window", stream: str = "radio-1", **data: Any) -> Event:
    """Return an event that can be told from others."""
    return Event(kind, stream, {"number": number, **data})


@contextlib.contextmanager
def publisher(*endpoints: str, **settings: Any) -> Iterator[Publisher]:
    """Run a publisher, by default on a free TCP port of the loopback device."""
    bus = Publisher(endpoints or ["tcp://127.0.0.1:*"], source="/streamcls/test", **settings)
    bus.start()
    try:
        yield bus
    finally:
        assert bus.close(LONG_S)


@contextlib.contextmanager
def plain_subscriber(endpoint: str, *prefixes: str, **options: int) -> Iterator[zmq.Socket[bytes]]:
    """Connect a SUB socket, as a stranger does, and wait until its subscriptions are in force (two echoes)."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        for name, value in options.items():
            setattr(socket, name, value)
        socket.connect(endpoint)
        for prefix in prefixes or ("",):
            socket.subscribe(prefix)
        for token in (b"_sync/first", b"_sync/second"):
            own = token + str(id(socket)).encode()
            socket.subscribe(own)
            while received(socket)[0] != own:
                pass
            socket.unsubscribe(own)
        yield socket


def received(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Return the next message; fail where none comes."""
    assert socket.poll(round(LONG_S * 1000)), "nothing came"
    return socket.recv_multipart()


def raw_event(topic: str, number: int, /, **changes: Any) -> list[bytes]:
    """Return frames as a publisher sends them, made without its code; a change to None leaves the member out."""
    kind, _, stream = topic.partition("/")
    envelope = {
        "specversion": "1.0",
        "id": f"{topic}/{number}",
        "source": "/streamcls/test",
        "type": f"streamcls.{kind}",
        "subject": stream,
        "time": "2026-01-01T00:00:00.000Z",
        "datacontenttype": "application/json",
        "epoch": "00000000000001-00000000",
        "sequence": str(number),
        "data": {},
        **changes,
    }
    return [topic.encode(), json.dumps({k: v for k, v in envelope.items() if v is not None}).encode()]

"""Mutated requests to the replay endpoint of a real daemon's bus: it answers all others, and does not grow.

By itself it tries some thousands; ``STREAMCLS_FUZZ`` says how many instead.
"""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from busside import plain_subscriber

from streamcls.bus import Publisher
from streamcls.bus.journal import Journal
from streamcls.bus.replay import ReplayServer
from streamcls.runtime.stats import resident_bytes
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = int(os.environ.get("STREAMCLS_FUZZ", "6000"))
LONG_S = 20.0
MOST_GROWTH = 30 << 20
REQUESTS = [
    {"op": "status", "request": "a", "client": "desk", "missed": {"genre.segment/radio-1": 2}},
    {"op": "since", "position": 3, "kinds": ["genre."], "streams": ["radio-*"], "limit": 10, "until": 40},
    {"op": "since", "position": 0, "journal": "0" * 32},
    {"op": "snapshot", "after": 0, "limit": 2},
    {"op": "topic", "topic": "genre.segment/radio-1", "epoch": "x", "after": 1, "until": 9},
]
PIECES = [
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\\u0000",
    b"\xff",
    b"1e999",
    b"-1",
    b"null",
    b"true",
    b"NaN",
    b"9" * 400,
    b"*" * 200,
    b"a" * 300,
]


class Bench:
    def __init__(self, folder: Path) -> None:
        self.bus = Publisher(
            ["tcp://127.0.0.1:*"], source="/streamcls/fuzz", journal=Journal(folder / "journal.sqlite3", power=False)
        )
        self.bus.start()
        self.server = ReplayServer(self.bus, ["tcp://127.0.0.1:*"])
        self.server.open()
        for number in range(200):
            self.bus.publish(Event("genre.segment", f"radio-{number % 3}", {"id": str(number), "phase": "opened"}))
        with plain_subscriber(self.bus.endpoints[0]):  # its echoes follow what was published
            pass
        self.context = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []

    def socket(self) -> zmq.Socket[bytes]:
        socket = self.context.socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(self.server.endpoints[0])
        self._sockets.append(socket)
        return socket

    def close(self) -> None:
        for socket in self._sockets:
            socket.close()
        self.context.term()
        assert self.server.close(LONG_S)
        assert self.bus.close(LONG_S)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def mutated(chance: random.Random) -> list[bytes]:
    """Return a request with something wrong in it, as one frame or some."""
    raw = bytearray(json.dumps(chance.choice(REQUESTS)).encode())
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(4):
            case 0:
                raw[at:at] = chance.choice(PIECES)
            case 1:
                del raw[at : at + chance.randint(1, 8)]
            case 2:
                raw[at : at + 1] = chance.randbytes(1)
            case _:
                raw[at:at] = raw[: chance.randint(0, 40)]
    frames = [bytes(raw)]
    if chance.random() < 0.2:
        frames = [chance.randbytes(chance.randint(0, 20)) for _ in range(chance.randint(0, 6))] + frames
    if chance.random() < 0.1:
        frames += [b""] * chance.randint(1, 3)
    return frames


def answers_to(socket: zmq.Socket[bytes], wait_ms: int = 0) -> list[dict[str, Any]]:
    """Return the headers of the answers that are there; the first one is waited for up to ``wait_ms``."""
    headers: list[dict[str, Any]] = []
    while socket.poll(0 if headers else wait_ms):
        headers.append(json.loads(next(frame for frame in socket.recv_multipart() if frame)))
        assert isinstance(headers[-1]["ok"], bool)
    return headers


def test_mutated_requests_neither_stop_nor_grow_it(bench: Bench) -> None:
    chance = random.Random(7)
    hostile, sane = bench.socket(), bench.socket()
    before, answered = resident_bytes(), 0
    for number in range(COUNT):
        hostile.send_multipart(mutated(chance))
        answered += len(answers_to(hostile))
        if number % 200 == 0:
            sane.send(b'{"op": "since", "position": 0, "limit": 1000, "request": "sane"}')
            assert sane.poll(LONG_S * 1000), "it answers nobody any more"
            header, *events = sane.recv_multipart()
            assert json.loads(header)["ok"]
            assert len(events) == 200
    # Answered in the order they were asked in, so once this one has its answer all others have theirs.
    hostile.send(b'{"op": "status", "request": "the last one"}')
    ended = False
    while not ended:
        headers = answers_to(hostile, LONG_S * 1000)
        assert headers, "it answers this one no more"
        answered += len(headers)
        ended = any(header.get("request") == "the last one" for header in headers)
    assert answered > COUNT / 2
    assert resident_bytes() - before < MOST_GROWTH


def test_an_asker_that_never_reads_is_bounded(bench: Bench) -> None:
    deaf, sane = bench.socket(), bench.socket()
    deaf.setsockopt(zmq.RCVHWM, 1)
    deaf.setsockopt(zmq.RCVBUF, 4096)
    before = resident_bytes()
    for number in range(COUNT // 4):
        deaf.send(b'{"op": "since", "position": 0, "limit": 1000}')
        if number % 100 == 0:
            sane.send(b'{"op": "status"}')
            assert sane.poll(LONG_S * 1000)
            sane.recv_multipart()
    assert resident_bytes() - before < MOST_GROWTH

"""How many events a second the bus carries, against the same JSON through bare pyzmq sockets in the same run.

Usage: python tests/bench/bench_bus.py [EVENTS] [ROUNDS]

Publisher and subscribers are threads of one process over loopback TCP, as the interpreter lock lets them. Each round measures both in turn;
the table gives medians over the rounds and the ratio of the two.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING

import zmq

from streamcls.bus import EventClient, Publisher
from streamcls.testing import example_envelopes
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable

SUBSCRIBERS = (1, 2, 4)
WINDOW = next(e for e in example_envelopes() if e["type"] == "streamcls.genre.window")
LONG_S = 120.0


def _measured(count: int, publish: Callable[[], None], receivers: list[Callable[[threading.Event], None]]) -> float:
    """Return events per second from the first one published to the last one received by the slowest subscriber."""
    ready = [threading.Event() for _ in receivers]
    threads = [threading.Thread(target=receive, args=(flag,)) for receive, flag in zip(receivers, ready, strict=True)]
    for thread in threads:
        thread.start()
    for flag in ready:
        assert flag.wait(LONG_S)
    began = time.perf_counter()
    publish()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - began)


def of_the_bus(count: int, subscribers: int) -> float:
    """Publisher to EventClient: numbering, envelope, positions; ledger of what is missing."""
    bus = Publisher(["tcp://127.0.0.1:*"], source="/streamcls/bench", high_water_mark=10 * count)
    bus.start()
    event = Event("genre.window", "radio-1", WINDOW["data"], time=1e9)

    def receive(ready: threading.Event) -> None:
        with EventClient(bus.endpoints[0], high_water_mark=10 * count) as client:
            for _ in client.synchronise(LONG_S):
                pass
            ready.set()
            for _ in range(count):
                assert client.receive(LONG_S) is not None
            assert client.missed == 0

    try:
        return _measured(count, lambda: [bus.publish(event) for _ in range(count)] and None, [receive] * subscribers)
    finally:
        bus.close(LONG_S)


def of_bare_sockets(count: int, subscribers: int) -> float:
    """XPUB to SUB: the envelope as JSON, encoded and decoded once per event, and nothing else."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.linger = 0
        publisher.sndhwm = 0
        publisher.setsockopt(zmq.XPUB_VERBOSE, 1)
        publisher.bind("tcp://127.0.0.1:*")
        endpoint = publisher.last_endpoint.decode().rstrip("\0")

        def receive(ready: threading.Event) -> None:
            with context.socket(zmq.SUB) as socket:
                socket.rcvhwm = 0
                socket.connect(endpoint)
                socket.subscribe("")
                ready.set()
                for _ in range(count):
                    _topic, body = socket.recv_multipart()
                    json.loads(body)

        def publish() -> None:
            for _ in range(subscribers):
                publisher.recv()
            for number in range(count):
                envelope = WINDOW | {"id": f"{number}", "sequence": f"{number}"}
                publisher.send_multipart(
                    [b"genre.window/radio-1", json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()]
                )

        return _measured(count, publish, [receive] * subscribers)


def main(count: int = 20_000, rounds: int = 3) -> None:
    """Print the table."""
    print(f"{count} events of {len(json.dumps(WINDOW))} bytes, {rounds} rounds, medians")
    print(f"{'subscribers':>11}  {'bus, events/s':>14}  {'bare, events/s':>14}  {'bus / bare':>10}")
    for subscribers in SUBSCRIBERS:
        pairs = [(of_the_bus(count, subscribers), of_bare_sockets(count, subscribers)) for _ in range(rounds)]
        ratio = statistics.median(ours / bare for ours, bare in pairs)
        ours, bare = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"{subscribers:>11}  {ours:>14,.0f}  {bare:>14,.0f}  {ratio:>10.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""How many events a second the bus carries, against the same JSON through bare pyzmq sockets in the same run.

Usage: python tests/bench/bench_bus.py [EVENTS] [ROUNDS]

Publisher and subscribers are threads of one process over loopback TCP, as the interpreter lock lets them. Each round measures all in turn;
the table gives medians over the rounds and their ratios: the bus without a journal (events of windows), with a journal that outlives the
death of the daemon, and with one that outlives a power cut, for which each batch waits for the disk.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from streamcls.bus import EventClient, Publisher
from streamcls.bus.journal import Journal
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


def of_the_bus(count: int, subscribers: int, folder: Path, durability: str = "") -> float:
    """Publisher to EventClient: numbering, envelope, positions; ledger of what is missing; with ``durability`` the journal."""
    journal = None
    if durability:
        journal = Journal(folder / f"{uuid.uuid4().hex}.sqlite3", power=durability == "power", windows=True)
    bus = Publisher(["tcp://127.0.0.1:*"], source="/streamcls/bench", high_water_mark=10 * count, journal=journal)
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
    head = f"{'subscribers':>11}  {'bare':>9}  {'bus':>9}  {'of bare':>7}  {'journal, process':>16}  {'of bus':>6}"
    print(f"{head}  {'journal, power':>14}  {'of bus':>6}   (events/s)")
    for subscribers in SUBSCRIBERS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows = [
                (
                    of_bare_sockets(count, subscribers),
                    *(of_the_bus(count, subscribers, folder, how) for how in ("", "process", "power")),
                )
                for _ in range(rounds)
            ]
        bare, bus, process, power = (statistics.median(values) for values in zip(*rows, strict=True))
        of_bare, of_process, of_power = (
            statistics.median(row[a] / row[b] for row in rows) for a, b in ((1, 0), (2, 1), (3, 1))
        )
        print(
            f"{subscribers:>11}  {bare:>9,.0f}  {bus:>9,.0f}  {of_bare:>7.2f}  {process:>16,.0f}  {of_process:>6.2f}"
            f"  {power:>14,.0f}  {of_power:>6.2f}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""What a subscriber that stands still (SIGSTOP) costs the publisher and the other subscribers.

Usage: python tests/bench/bench_frozen.py [SECONDS] [EVENTS A SECOND]

A publisher with a journal, in a process of its own, publishes at a steady rate; a subscriber measures how long events take to it. Once so,
once beside three subscribers that were stopped after they had subscribed. The table gives latency at that subscriber, and the growth of the
publisher's resident memory over the run, with the second half apart: what grows there, grows for ever.
"""

from __future__ import annotations

import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = str(Path(__file__).resolve())
FROZEN = 3


def publish(folder: str, seconds: float, rate: float) -> None:
    """Child: publish, then print memory at the start, in the middle and at the end."""
    from streamcls.bus import Publisher
    from streamcls.bus.journal import Journal
    from streamcls.runtime.stats import resident_bytes
    from streamcls.testing import example_envelopes
    from streamcls.types import Event

    data = next(e for e in example_envelopes() if e["type"] == "streamcls.genre.window")["data"]
    journal = Journal(Path(folder) / "journal.sqlite3", power=False)
    bus = Publisher(["tcp://127.0.0.1:*"], source="/streamcls/bench", journal=journal)
    bus.start()
    print(bus.endpoints[0], flush=True)
    sys.stdin.readline()
    memory = [resident_bytes()]
    began, number = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        number += 1
        kind = "genre.segment" if number % 50 == 0 else "genre.window"
        bus.publish(Event(kind, f"radio-{number % 100}", {**data, "sent": time.time()}))
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        if len(memory) == 1 and time.monotonic() - began > seconds / 2:
            memory.append(resident_bytes())
    memory.append(resident_bytes())
    bus.close()
    print(json.dumps(memory), flush=True)


def freeze(endpoint: str) -> None:
    """Child: subscribe, say so, and wait to be stopped."""
    from streamcls.bus import EventClient

    with EventClient(endpoint, replay=False) as client:
        for _ in client.synchronise(10):
            pass
        print("ready", flush=True)
        while True:
            client.receive(1.0)


def measure(seconds: float, rate: float, frozen: int) -> tuple[list[float], list[int]]:
    """Return the latencies in milliseconds and the publisher's memory in bytes at the start, half-way and at the end."""
    from streamcls.bus import EventClient

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:

        def child(*arguments: object) -> subprocess.Popen[str]:
            command = [sys.executable, HERE, *map(str, arguments)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        publisher = child("publish", folder, seconds, rate)
        assert publisher.stdout is not None
        assert publisher.stdin is not None
        endpoint = publisher.stdout.readline().strip()
        for _ in range(frozen):
            other = child("freeze", endpoint)
            assert other.stdout is not None
            other.stdout.readline()
            other.send_signal(signal.SIGSTOP)
        latencies = []
        with EventClient(endpoint, replay=False) as client:
            for _ in client.synchronise(10):
                pass
            publisher.stdin.write("go\n")
            publisher.stdin.flush()
            while (event := client.receive(2.0)) is not None:
                latencies.append(1000 * (time.time() - event["data"]["sent"]))
            assert client.missed == 0
        return latencies, json.loads(publisher.stdout.readline())


def main(seconds: float = 60.0, rate: float = 1000.0) -> None:
    """Print the table."""
    print(f"{rate:g} events/s for {seconds:g} s")
    print(
        f"{'frozen':>6}  {'p50, ms':>8}  {'p99, ms':>8}  {'max, ms':>8}  {'first half, MB':>14}  {'second half, MB':>15}"
    )
    for frozen in (0, FROZEN):
        latencies, (start, middle, end) = measure(seconds, rate, frozen)
        quantiles = statistics.quantiles(latencies, n=100)
        print(
            f"{frozen:>6}  {quantiles[49]:>8.2f}  {quantiles[98]:>8.2f}  {max(latencies):>8.1f}"
            f"  {(middle - start) / 1e6:>14.1f}  {(end - middle) / 1e6:>15.1f}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["publish"]:
        publish(sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
    elif sys.argv[1:2] == ["freeze"]:
        freeze(sys.argv[2])
    else:
        main(*map(float, sys.argv[1:]))

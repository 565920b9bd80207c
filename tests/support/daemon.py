"""A real daemon in a child process, and a subscriber that shares no code with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import zmq

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

STREAMCLS = [sys.executable, "-m", "streamcls"]


class Listener(threading.Thread):
    """Plain pyzmq: collects every event from an endpoint and checks each topic's sequence."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(daemon=True)
        self.endpoint = endpoint
        self.events: list[dict[str, Any]] = []
        self.holes = 0
        self._sequences: dict[str, int] = {}
        self._changed = threading.Condition()
        self._halt = threading.Event()

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.connect(self.endpoint)
            socket.subscribe("")
            while not self._halt.is_set():
                if not socket.poll(50):
                    continue
                topic, body = socket.recv_multipart()
                if topic.startswith(b"_"):  # the echo of somebody else's request
                    continue
                event = json.loads(body)
                sequence = int(event["sequence"])
                with self._changed:
                    self.holes += sequence - self._sequences.get(topic.decode(), sequence - 1) - 1
                    self._sequences[topic.decode()] = sequence
                    self.events.append(event)
                    self._changed.notify_all()

    def wait_for(self, condition: Callable[[list[dict[str, Any]]], bool], timeout_s: float) -> bool:
        """Wait until the events so far fulfil a condition."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self.events), timeout_s)

    def of(self, kind: str, stream: str) -> list[dict[str, Any]]:
        """Return the events of a kind and stream so far."""
        with self._changed:
            return [e for e in self.events if e["type"] == f"streamcls.{kind}" and e["subject"] == stream]

    def halt(self) -> None:
        self._halt.set()
        self.join(5)


class DaemonProcess:
    """``streamcls run`` on a configuration."""

    def __init__(self, config: Path, env: Mapping[str, str] | None = None, command: Sequence[str] = STREAMCLS) -> None:
        self.log = config.with_suffix(".log")
        self._log = self.log.open("wb")
        self.process = subprocess.Popen(
            [*command, "run", str(config)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 10.0) -> int:
        return self.process.wait(timeout_s)

    def resident_bytes(self) -> int:
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self._log.close()


def free_port() -> int:
    """Return a TCP port such that nobody listens on it, nor on the next one, where the daemon answers for the past."""
    import socket

    while True:
        with socket.socket() as probe, socket.socket() as neighbour:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            try:
                neighbour.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def classify(path: Path, stream: str, config: Path) -> list[dict[str, Any]]:
    """Return what ``streamcls classify --format jsonl`` prints for a file."""
    command = [*STREAMCLS, "classify", str(path), "--stream", stream, "--config", str(config), "--format", "jsonl"]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return [json.loads(line) for line in result.stdout.splitlines()]


def payload(event: Mapping[str, Any]) -> bytes:
    """Return the bytes of an event's data without what may differ between two runs on the same samples: ids and wall clock."""
    data = {key: value for key, value in event["data"].items() if key not in {"id", "started_at", "ended_at"}}
    return json.dumps(data, ensure_ascii=False).encode()


def write_in_real_time(path: Path, pieces: list[bytes], piece_s: float) -> None:
    """Append pieces to a file, one each ``piece_s`` seconds, on a schedule without drift."""
    began = time.monotonic()
    with path.open("ab", buffering=0) as file:
        for number, piece in enumerate(pieces):
            delay = began + number * piece_s - time.monotonic()
            if delay > 0:
                time.sleep(delay)
            file.write(piece)

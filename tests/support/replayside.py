"""A bus with a past, for the tests of those who ask for it, and a network that can swallow messages."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import zmq
from busside import LONG_S, event

from streamcls.bus import Publisher
from streamcls.bus.journal import Journal
from streamcls.bus.replay import IN_PROCESS_REPLAY, ReplayServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Daemon", "Network", "daemon"]


class Daemon:
    """Publisher, journal and replay server, as the daemon has them."""

    def __init__(self, folder: Path, endpoint: str = "tcp://127.0.0.1:*", **settings: Any) -> None:
        self.journal = Journal(folder / "journal.db", power=False)
        self.bus = Publisher([endpoint], source="/streamcls/test", journal=self.journal, **settings)
        self.bus.start()
        self.replay = ReplayServer(self.bus, ["tcp://127.0.0.1:*"], security=settings.get("security"))
        self.replay.open()
        self.bus.replay_endpoints = lambda: self.replay.endpoints
        self.bus.private_replay_endpoints = [IN_PROCESS_REPLAY]

    @property
    def endpoint(self) -> str:
        return self.bus.endpoints[0]

    def heartbeat(self) -> None:
        self.bus.publish(
            event(0, "daemon.heartbeat", "d", positions=self.bus.positions(), journal=self.journal.facts())
        )

    def close(self) -> None:
        assert self.replay.close(LONG_S)
        assert self.bus.close(LONG_S)


@contextlib.contextmanager
def daemon(folder: Path, endpoint: str = "tcp://127.0.0.1:*", **settings: Any) -> Iterator[Daemon]:
    running = Daemon(folder, endpoint, **settings)
    try:
        yield running
    finally:
        running.close()


class Network(threading.Thread):
    """Stands between publisher and subscriber; while ``gone`` is set it swallows everything without a word."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        super().__init__()
        self.gone, self.halt = threading.Event(), threading.Event()
        self.swallowed = 0
        self._front, self._back = context.socket(zmq.XPUB), context.socket(zmq.XSUB)
        self._front.linger = self._back.linger = 0
        self._front.bind("tcp://127.0.0.1:*")
        self._back.connect(endpoint)
        self.endpoint = self._front.last_endpoint.decode().rstrip("\0")

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._front, zmq.POLLIN)
        poller.register(self._back, zmq.POLLIN)
        while not self.halt.is_set():
            for socket, _ in poller.poll(20):
                message = socket.recv_multipart()
                if self.gone.is_set():
                    self.swallowed += 1
                elif socket is self._front:
                    self._back.send_multipart(message)
                else:
                    self._front.send_multipart(message)
        self._front.close()
        self._back.close()

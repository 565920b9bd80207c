"""A relay between publisher and subscriber that loses what it is told to lose."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import zmq

if TYPE_CHECKING:
    from collections.abc import Callable

_SMALL_BUFFER = 4_096
_LITTLE = 20


class Relay(threading.Thread):
    """Forwards events one way and subscriptions the other; keeps little, so that a subscriber that stands still soon loses events.

    Attributes
    ----------
    drop
        Asked for each message whether it is lost.
    dropped
        Messages lost so.
    """

    def __init__(self, upstream: str, endpoint: str) -> None:
        super().__init__(name="relay", daemon=True)
        self.drop: Callable[[bytes], bool] = lambda _: False
        self.dropped = 0
        self._upstream, self._endpoint = upstream, endpoint
        self._cut = threading.Event()
        self._mend = threading.Event()
        self._halt = threading.Event()

    def cut(self) -> None:
        """Break the connection until it is mended."""
        self._mend.clear()
        self._cut.set()

    def mend(self) -> None:
        """Listen again."""
        self._mend.set()

    def halt(self) -> None:
        """End."""
        self._halt.set()
        self._mend.set()
        self.join(5)

    def run(self) -> None:
        """Forward until halted."""
        with zmq.Context() as context:
            while not self._halt.is_set():
                with context.socket(zmq.XSUB) as above, context.socket(zmq.XPUB) as below:
                    self._forward(above, below)
                self._mend.wait()
                self._cut.clear()

    def _forward(self, above: zmq.Socket[bytes], below: zmq.Socket[bytes]) -> None:
        for socket in (above, below):
            socket.linger = 0
        above.rcvhwm = 100_000
        above.connect(self._upstream)
        below.sndhwm, below.sndbuf = _LITTLE, _SMALL_BUFFER
        for _ in range(100):
            with contextlib.suppress(zmq.ZMQError):
                below.bind(self._endpoint)
                break
            self._halt.wait(0.05)
        poller = zmq.Poller()
        poller.register(above, zmq.POLLIN)
        poller.register(below, zmq.POLLIN)
        while not self._cut.is_set() and not self._halt.is_set():
            ready = dict(poller.poll(50))
            if below in ready:
                above.send(below.recv())
            if above in ready:
                frames = above.recv_multipart()
                if self.drop(frames[0]):
                    self.dropped += 1
                else:
                    below.send_multipart(frames)

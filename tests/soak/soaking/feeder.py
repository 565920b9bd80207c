"""Senders of audio over ZeroMQ, many streams on few connections, in a thread of their own."""

from __future__ import annotations

import heapq
import json
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import zmq

from soaking.bank import RATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from soaking.bank import AudioBank

__all__ = ["Connection", "Feeder", "Lane"]

_TAKEN_LATER_S: Final = 0.02
"""Pause of a connection whose daemon takes nothing at present."""
_IN_A_ROW: Final = 64
_LINGER_MS: Final = 60_000
_HIGH_WATER: Final = 40
"""Messages that wait here for a busy daemon; about as many wait there."""


@dataclass
class Lane:
    """One stream as its sender sees it.

    Attributes
    ----------
    place
        Where in the loop of audio it begins, in whole chunks.
    index
        Samples sent so far, which is the index of the next one.
    """

    name: str
    place: int
    wide: bool = False
    index: int = 0
    due: float = 0.0

    @property
    def rate(self) -> int:
        """Hertz."""
        return 2 * RATE if self.wide else RATE

    @property
    def seconds(self) -> float:
        """Audio sent so far."""
        return self.index / self.rate


@dataclass
class Connection:
    """A PUSH socket with its streams; touched by the feeder's thread alone, but for reading the lanes."""

    lanes: list[Lane]
    socket: zmq.Socket[bytes] | None = None
    blocked_until: float = 0.0
    heap: list[tuple[float, int, Lane]] = field(default_factory=list)


class Feeder(threading.Thread):
    """Sends every stream's audio at a multiple of real time, and waits where the daemon does.

    Parameters
    ----------
    speed
        Multiple of real time.
    chunk_s
        Audio in a message.
    live
        Audio that cannot be sent when it is due is left out, and each message says when it was captured.
    """

    def __init__(
        self,
        endpoint: str,
        bank: AudioBank,
        connections: list[list[Lane]],
        *,
        speed: float = 1.0,
        chunk_s: float = 1.0,
        live: bool = False,
    ) -> None:
        super().__init__(name=f"feeder {endpoint}", daemon=True)
        self.connections = [Connection(lanes) for lanes in connections]
        self.skipped = 0
        self.failure: BaseException | None = None
        self._endpoint, self._bank, self._live = endpoint, bank, live
        self._speed, self._chunk_s = speed, chunk_s
        self._begun = 0.0
        self._halt = threading.Event()
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._ended_s = 0.0
        self._count = 0

    @property
    def sent_s(self) -> float:
        """Seconds of audio sent so far, over all streams."""
        return self._ended_s + sum(lane.seconds for connection in self.connections for lane in list(connection.lanes))

    @property
    def behind_s(self) -> float:
        """Seconds of audio by which the stream that is furthest behind its schedule is behind."""
        now = time.monotonic()
        due = [lane.due for connection in self.connections for lane in list(connection.lanes)]
        return max(0.0, (now - min(due)) * self._speed) if due else 0.0

    def ask(self, act: Callable[[], None]) -> None:
        """Have something done between two messages, and wait until it is done."""
        done = threading.Event()
        self._orders.put((act, done))
        while not done.wait(0.5):
            if not self.is_alive():
                raise RuntimeError(f"{self.name} has ended: {self.failure!r}")

    def disconnect(self, connection: Connection, *, rudely: bool = False) -> None:
        """Close a connection, either after everything was handed over, or as a crash would."""

        def act() -> None:
            if connection.socket is not None:
                connection.socket.close(linger=0 if rudely else _LINGER_MS)
            connection.socket = None

        self.ask(act)

    def connect(self, connection: Connection) -> None:
        """Connect anew."""
        self.ask(lambda: self._connect(connection))

    def replace(self, connection: Connection, lane: Lane, name: str, place: int) -> None:
        """End a stream and begin another on the same connection."""

        def act() -> None:
            self._send_end(connection, lane)
            self._ended_s += lane.seconds
            lane.name, lane.place, lane.index = name, place, 0

        self.ask(act)

    def end_all(self) -> None:
        """End every stream, and send nothing more."""

        def act() -> None:
            for connection in self.connections:
                if connection.socket is None:
                    self._connect(connection)
                for lane in connection.lanes:
                    self._send_end(connection, lane)
                connection.heap.clear()

        self.ask(act)

    def halt(self) -> None:
        """End the thread, once everything is handed over."""
        self._halt.set()
        self.join(_LINGER_MS / 1000)

    def run(self) -> None:
        """Send until halted."""
        self._begun = time.monotonic()
        try:
            with zmq.Context() as context:
                self._context = context
                for connection in self.connections:
                    for lane in connection.lanes:
                        self._count += 1
                        # Spread over the first chunk's time, so that they do not all come at once.
                        lane.due = self._begun + (self._count % 97) / 97 * self._chunk_s / self._speed
                        heapq.heappush(connection.heap, (lane.due, self._count, lane))
                    self._connect(connection)
                while not self._halt.is_set():
                    self._obey()
                    self._turn()
                for connection in self.connections:
                    if connection.socket is not None:
                        connection.socket.close(linger=_LINGER_MS)
        except BaseException as error:
            self.failure = error
            raise

    def _obey(self) -> None:
        while not self._orders.empty():
            act, done = self._orders.get()
            act()
            done.set()

    def _connect(self, connection: Connection) -> None:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.PUSH)
        socket.setsockopt(zmq.SNDHWM, _HIGH_WATER)
        socket.setsockopt(zmq.RECONNECT_IVL, 100)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing waits for a daemon that is not there
        socket.connect(self._endpoint)
        connection.socket, connection.blocked_until = socket, 0.0

    def _turn(self) -> None:
        now = time.monotonic()
        wake = now + _TAKEN_LATER_S
        for connection in self.connections:
            if connection.blocked_until > now or not connection.heap:
                continue
            for _ in range(_IN_A_ROW):
                due, number, lane = connection.heap[0]
                if due > now:
                    wake = min(wake, due)
                    break
                if connection.socket is None and not self._live:
                    break
                if not self._send(connection, lane):
                    connection.blocked_until = now + _TAKEN_LATER_S
                    break
                lane.due = due + self._chunk_s / self._speed
                heapq.heapreplace(connection.heap, (lane.due, number, lane))
            else:
                wake = now
        if wake > now:
            time.sleep(wake - now)

    def _send(self, connection: Connection, lane: Lane) -> bool:
        length = round(self._chunk_s * lane.rate)
        audio = (self._bank.wide if lane.wide else self._bank.mono)(lane.place * length + lane.index, length)
        if not self._offered(connection, [lane.name.encode(), self._header(lane), audio]):
            if not self._live:
                return False
            self.skipped += length
        lane.index += length
        return True

    @staticmethod
    def _offered(connection: Connection, frames: list[Any]) -> bool:
        if connection.socket is None:
            return False
        try:
            connection.socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _send_end(self, connection: Connection, lane: Lane) -> None:
        if connection.socket is not None:
            connection.socket.setsockopt(zmq.SNDTIMEO, _LINGER_MS)
            connection.socket.send_multipart([lane.name.encode(), self._header(lane, end=True), b""])

    def _header(self, lane: Lane, *, end: bool = False) -> bytes:
        header: dict[str, Any] = {
            "version": 1,
            "sample_rate": lane.rate,
            "channels": 2 if lane.wide else 1,
            "encoding": "pcm_s16le",
            "first_sample": lane.index,
        }
        if end:
            header["end"] = True
        elif self._live:
            header["captured_at"] = time.time() - self._chunk_s
        return json.dumps(header).encode()

"""The source ``zmq``: sockets to items. What the messages mean is decided in ``streams`` and below."""

from __future__ import annotations

import logging
import socket as unix
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, ClassVar, Final

import zmq

from streamcls import RetryableSourceError, SourceError
from streamcls_zmq.config import ZmqConfig, config_problems
from streamcls_zmq.endpoints import is_numeric_ipv6
from streamcls_zmq.ingest import FRAMES
from streamcls_zmq.liveness import notice_the_dead
from streamcls_zmq.streams import StreamTable, new_counters

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from pydantic import BaseModel

    from streamcls import SourceContext
    from streamcls.interfaces import SourceSecurity
    from streamcls.types import StreamItem

__all__ = ["ZmqSource"]

_POLL_MS: Final = 200
"""Longest time without a look at the stop event."""
_POLL_WAITING_MS: Final = 20
"""The same while a chunk waits for a missing one."""
_EXPIRE_S: Final = 0.02
"""Shortest time between two looks at what has waited too long."""
_BATCH: Final = 64
"""Messages taken from one socket before the others get their turn."""
_CUT_OFF: Final = 2
"""A frame so many times longer than allowed makes ZeroMQ close the connection; up to it, it is counted."""
_RECONNECT_MS: Final = 100
_RECONNECT_MAX_MS: Final = 5_000
_TAKEN: Final = "choose another port or path, or stop the other process"

_log = logging.getLogger(__name__)


class ZmqSource:
    """Receives any number of streams over ZeroMQ, in the format of docs/ingest-format.md.

    Used by one thread; the counters may be read by any.

    Parameters
    ----------
    config, context
        As for every source.
    clock
        Seconds that never run backwards. The time that an item spends with the daemon does not count, so that
        no stream expires whose messages lie unread.
    """

    name: ClassVar[str] = "zmq"
    Config: ClassVar[type[BaseModel]] = ZmqConfig

    def __init__(self, config: ZmqConfig, context: SourceContext, clock: Callable[[], float] = time.monotonic) -> None:
        self.live = config.live
        self.counters = new_counters()
        """What happened so far, by name; ``streams`` is how many there are now. See the README."""
        self.endpoints: tuple[str, ...] = ()
        """Where senders are awaited, once bound, with the port that was chosen for ``*``."""
        self._config = config
        self._name = context.name
        self._security = context.security if config.bind and config.curve is not False else None
        self._clock = clock
        self._away = 0.0

    @staticmethod
    def binds(config: ZmqConfig) -> list[str]:
        """Return the endpoints that it binds."""
        return list(config.bind)

    @staticmethod
    def preflight(config: ZmqConfig) -> list[str]:
        """Return everything that is wrong with a configuration, as sentences, without opening anything."""
        return config_problems(config)

    def items(self, stop: threading.Event) -> Iterator[StreamItem]:
        """Yield the streams' items until ``stop`` is set; what waits for a missing chunk then is dropped.

        Raises
        ------
        RetryableSourceError
            An endpoint is in use or its address is not there (yet).
        SourceError
            An endpoint that will never work, or ``curve`` where the daemon has no keys.
        """
        problems = config_problems(self._config)
        if self._config.curve and self._security is None:
            problems.append("curve needs the daemon's keys: set curve = true in [security]")
        if problems:
            raise SourceError("; ".join(problems))
        table = StreamTable(self._config, self._name, self.counters)
        with ExitStack() as stack:
            sockets = self._open(stack)
            poller = zmq.Poller()
            for socket in sockets:
                poller.register(socket, zmq.POLLIN)
            turn = self._now()
            while not stop.is_set():
                try:
                    ready = poller.poll(_POLL_WAITING_MS if table.waiting_bytes else _POLL_MS)
                    for socket, _ in ready:
                        yield from self._drain(socket, table, stop)
                except zmq.ZMQError as error:
                    raise RetryableSourceError(f"receiving failed: {error}") from error
                if self._now() >= turn:
                    turn = self._now() + _EXPIRE_S
                    yield from self._hand_over(table.expire(self._now()))

    def _drain(self, socket: zmq.Socket[bytes], table: StreamTable, stop: threading.Event) -> Iterator[StreamItem]:
        for _ in range(_BATCH):
            frames = None if stop.is_set() else _receive(socket)
            if frames is None:
                return
            first, *rest = frames
            stream = first.bytes
            if self._denies(socket, first, stream):
                table.deny(stream, self._now())
                continue
            yield from self._hand_over(table.push([stream, *(frame.bytes for frame in rest)], self._now()))

    def _denies(self, socket: zmq.Socket[bytes], frame: zmq.Frame, stream: bytes) -> bool:
        """Whether a message came with a key that does not, or no longer, permit its stream."""
        if self._security is None or socket.getsockopt(zmq.TYPE) != zmq.PULL:
            return False
        return not self._security.permits(frame, "ingest", stream.decode("utf-8", errors="replace"))

    def _now(self) -> float:
        return self._clock() - self._away

    def _hand_over(self, items: list[StreamItem]) -> Iterator[StreamItem]:
        for item in items:
            before = self._clock()
            yield item
            self._away += self._clock() - before

    def _open(self, stack: ExitStack) -> list[zmq.Socket[bytes]]:
        sockets = []
        if self._config.bind:
            socket = self._socket(zmq.PULL, stack, self._security)
            if self._security is not None:
                self._security.secure_server(socket, "ingest")
            bound = [self._attach(socket, endpoint, "bind") for endpoint in self._config.bind]
            self.endpoints = tuple(bound)
            whom = " from known keys" if self._security is not None else ""
            _log.info("%s: audio is awaited at %s%s", self._name, ", ".join(bound), whom)
            sockets.append(socket)
        if self._config.connect:
            socket = self._socket(zmq.SUB, stack)
            for prefix in self._config.subscribe:
                socket.setsockopt(zmq.SUBSCRIBE, prefix.encode())
            for endpoint in self._config.connect:
                self._attach(socket, endpoint, "connect")
            sockets.append(socket)
        return sockets

    def _socket(self, kind: int, stack: ExitStack, security: SourceSecurity | None = None) -> zmq.Socket[bytes]:
        context = zmq.Context.instance() if security is None else security.context
        socket: zmq.Socket[bytes] = context.socket(kind)
        stack.callback(socket.close, linger=0)
        socket.setsockopt(zmq.RCVHWM, self._config.receive_hwm)
        socket.setsockopt(zmq.MAXMSGSIZE, self._config.max_message_bytes * _CUT_OFF)
        socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
        notice_the_dead(socket)
        return socket

    def _attach(self, socket: zmq.Socket[bytes], endpoint: str, how: str) -> str:
        try:
            # Only where it is needed: with it, a name is looked up as IPv6 first and nothing else is tried.
            socket.setsockopt(zmq.IPV6, int(is_numeric_ipv6(endpoint)))
            if how == "connect":
                socket.connect(endpoint)
                return endpoint
            if _ipc_in_use(endpoint):
                text = f"bind {endpoint}: somebody else listens there; {_TAKEN}"
                raise RetryableSourceError(text)
            socket.bind(endpoint)
            return socket.getsockopt_string(zmq.LAST_ENDPOINT)
        except zmq.ZMQError as error:
            why = (
                zmq.strerror(error.errno) if error.errno is not None else error
            )  # without the address, which stands there
            text = f"{how} {endpoint}: {why}"
            if error.errno == zmq.EADDRINUSE:
                raise RetryableSourceError(f"{text}; {_TAKEN}") from error
            if error.errno == zmq.EADDRNOTAVAIL:
                raise RetryableSourceError(text) from error
            raise SourceError(text) from error


def _receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame] | None:
    """Take one message, or None where there is none. Of frames that are too many only one is kept."""
    try:
        frames = [socket.recv(zmq.NOBLOCK, copy=False)]
    except zmq.Again:
        return None
    while socket.getsockopt(zmq.RCVMORE):
        frame = socket.recv(zmq.NOBLOCK, copy=False)
        if len(frames) <= FRAMES:
            frames.append(frame)
    return frames


def _ipc_in_use(endpoint: str) -> bool:
    """Say whether somebody listens at an ipc path: ZeroMQ would take it away from them without a word."""
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or path.startswith(("@", "*")):
        return False
    with unix.socket(unix.AF_UNIX, unix.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True

"""The publishing end: one thread owns the XPUB socket; any thread may hand it events."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import socket as network
import stat
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import zmq

from streamcls.bus.wire import SYNC_PREFIX, encode, to_json, topic_of
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamcls.types import Event

__all__ = ["IN_PROCESS", "Publisher"]

_log = logging.getLogger("streamcls.bus")

IN_PROCESS: Final = "inproc://streamcls-events"
_TERM_S: Final = 1.0
_LONGEST_SUBSCRIPTION: Final = 512
"""Bytes; a peer that sends a longer frame is disconnected."""
_MOST_REQUESTS: Final = 1_000
"""Subscriptions looked at before events have their turn again."""


_TAKEN: Final = "another process has it; choose another port or path in [bus] publish, or stop the other daemon"
_UNWRITABLE: Final = (TypeError, ValueError, OverflowError, RecursionError, OSError)
"""What an event can raise while it is written: no JSON, no text, too large, nested too deeply, a time beyond all calendars."""


def new_epoch() -> str:
    """Return a name for this start of a publisher: the time in hexadecimal microseconds, so that epochs sort, and chance."""
    return f"{time.time_ns() // 1000:014x}-{secrets.token_hex(4)}"


class Publisher:
    """Numbers events per topic and publishes them.

    ``publish`` may be called from any thread and blocks while ``queue_size`` events wait, so that a burst slows the workers instead of
    growing the daemon. Subscribers never slow it: for one that does not keep up ZeroMQ drops at ``high_water_mark``, which the
    subscriber sees as a hole in the sequence. After ``most_topics`` topics (streams that come and go under ever new names) the numbering
    begins anew in a new epoch, so that memory and heartbeats stay bounded.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        source: str,
        high_water_mark: int = 100_000,
        queue_size: int = 10_000,
        most_topics: int = 20_000,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.epoch = new_epoch()
        self.source = source
        self.context = context or zmq.Context()
        self._owns_context = context is None
        self._requested = list(endpoints)
        self.endpoints: list[str] = []
        self._high_water_mark = high_water_mark
        self._queue: deque[Event] = deque()
        self._queue_size = queue_size
        self._most_topics = most_topics
        self._changed = threading.Condition()
        self._closing = False
        self._released = False
        self._clock = clock
        self._positions: dict[str, int] = {}
        self._published = 0
        self._failure: BaseException | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="bus", daemon=True)
        self._socket: zmq.Socket[bytes] | None = None

    def start(self) -> None:
        """Bind every endpoint and begin.

        Raises
        ------
        BusError
            An endpoint cannot be bound; the message names it and says what to do.
        """
        socket = self.context.socket(zmq.XPUB)
        socket.linger = 0
        socket.sndhwm = self._high_water_mark
        socket.ipv6 = any("[" in endpoint for endpoint in self._requested)
        socket.setsockopt(zmq.MAXMSGSIZE, _LONGEST_SUBSCRIPTION)
        try:
            for endpoint in [*self._requested, IN_PROCESS]:
                _bind(socket, endpoint)
                self.endpoints.append(socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
        except BusError:
            socket.close()
            self._release()
            raise
        self.endpoints.remove(IN_PROCESS)
        self._socket = socket
        self._thread.start()

    def publish(self, event: Event) -> None:
        """Hand over an event; blocks while too many wait. Raises BusError once the bus has stopped."""
        with self._changed:
            while len(self._queue) >= self._queue_size and not self._closing and self._failure is None:
                self._changed.wait()
            if self._closing or self._failure is not None:
                raise BusError(f"the bus has stopped{f': {self._failure}' if self._failure else ''}")
            self._queue.append(event)
            if len(self._queue) == 1:
                self._wake()

    @property
    def alive(self) -> bool:
        """Whether the bus thread runs."""
        return self._thread.is_alive()

    def positions(self) -> dict[str, int]:
        """Return the sequence of each topic's last event."""
        with self._changed:
            return dict(self._positions)

    @property
    def published(self) -> int:
        """Events published since the start."""
        return self._published

    @property
    def waiting(self) -> int:
        """Events handed over and not yet published."""
        return len(self._queue)

    def close(self, timeout_s: float = 2.0) -> bool:
        """Publish what waits, then stop; return False where that took longer than ``timeout_s``."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        finished = not self._thread.is_alive()
        if finished:
            self._release()
        return finished

    def _release(self) -> None:
        with self._changed:  # once: a descriptor's number is soon another file's
            if self._released:
                return
            self._released = True
            os.close(self._wake_read)
            os.close(self._wake_write)
        if self._owns_context:
            # Not destroy(), which closes sockets under the threads that use them. Those learn of the end and close their own; one
            # that hangs in its subscriber is left behind.
            ending = threading.Thread(target=self.context.term, name="bus-end", daemon=True)
            ending.start()
            ending.join(_TERM_S)

    def _wake(self) -> None:
        """Make the bus thread look; called with the lock held, so that the pipe is not closed meanwhile."""
        if not self._released:
            with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
                os.write(self._wake_write, b"\0")

    def _run(self) -> None:
        socket = self._socket
        assert socket is not None  # noqa: S101 - start() made it
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(self._wake_read, zmq.POLLIN)
        try:
            while True:
                ready = dict(poller.poll(0 if self._queue else None))
                if self._wake_read in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                self._send_waiting(socket)
                if socket in ready:
                    self._answer(socket)
                if self._closing and not self._queue:
                    break
        except BaseException as error:
            _log.critical("the bus stopped", exc_info=True)
            self._failure = error
            raise
        finally:
            with self._changed:
                self._changed.notify_all()
            socket.close(linger=500)

    def _send_waiting(self, socket: zmq.Socket[bytes]) -> None:
        """Send what waits now; what is added meanwhile has to wait for the subscriptions to have their turn."""
        for _ in range(len(self._queue)):
            with self._changed:
                event = self._queue.popleft()
                self._changed.notify()
                topic = topic_of(event.kind, event.stream)
                if len(self._positions) >= self._most_topics and topic not in self._positions:
                    self._begin_anew()
                sequence = self._positions.get(topic, 0) + 1
            try:
                frames = encode(event, source=self.source, epoch=self.epoch, sequence=sequence, now=self._clock())
            except _UNWRITABLE as error:
                # Only a plugin's mistake leads here; the event is named, its number is not used up, the others go on.
                _log.error("event %s of %s cannot be written as JSON: %s", event.kind, event.stream, error)
                continue
            with self._changed:
                self._positions[topic] = sequence
                self._published += 1
            socket.send_multipart(frames)

    def _begin_anew(self) -> None:
        """Forget all positions and begin a new epoch, so that streams which come and go under new names do not grow the daemon."""
        _log.warning("%d topics have been published; their numbering begins anew in a new epoch", len(self._positions))
        self._positions.clear()
        self.epoch = new_epoch()

    def _answer(self, socket: zmq.Socket[bytes]) -> None:
        """Take subscriptions, and echo those to ``_sync/…``: what was handed over before the echo has been sent to that subscriber."""
        for _ in range(_MOST_REQUESTS):
            try:
                message = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            topic = message[1:]
            if message[:1] == b"\x01" and topic.startswith(SYNC_PREFIX.encode()):
                self._send_waiting(socket)
                body: dict[str, Any] = {"epoch": self.epoch, "source": self.source, "published": self._published}
                socket.send_multipart([topic, to_json(body)])


def _bind(socket: zmq.Socket[bytes], endpoint: str) -> None:
    if endpoint.startswith("ipc://"):
        _check_ipc(endpoint)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        hints = {
            zmq.EADDRINUSE: _TAKEN,
            errno.ENODEV: "this machine has no such address",
            errno.EADDRNOTAVAIL: "this machine has no such address",
            zmq.EINVAL: "expected e.g. tcp://127.0.0.1:5757 or ipc:///run/streamcls/events",
            zmq.EPROTONOSUPPORT: "expected tcp:// or ipc://",
        }
        hint = hints.get(error.errno or 0, "check the address and the permissions of its folder")
        reason = (error.strerror or str(error)).partition(" (addr=")[0]
        raise BusError(f"bus endpoint {endpoint} cannot be bound: {reason}: {hint}") from error


def _check_ipc(endpoint: str) -> None:
    """Refuse an ipc path that is no socket, or one on which somebody listens: libzmq would silently replace either."""
    path = endpoint.removeprefix("ipc://")
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):  # nothing there, or a wildcard, or what zmq itself will refuse
        return
    if not stat.S_ISSOCK(mode):
        raise BusError(f"bus endpoint {endpoint}: {path} exists and is no socket; remove it or choose another path")
    with network.socket(network.AF_UNIX, network.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except BlockingIOError:
            pass  # its queue of connections is full: somebody is there
        except OSError:
            return  # left over from a process that is gone
    raise BusError(f"bus endpoint {endpoint} cannot be bound: {_TAKEN}")

"""The receiving end: a subscriber that notices what it missed."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import zmq

from streamcls.bus.ledger import HEARTBEAT, Ledger
from streamcls.bus.wire import LARGEST_EVENT, SYNC_PREFIX, Envelope, decode
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["EventClient"]

_log = logging.getLogger("streamcls.bus.client")
_HEARTBEATS: Final = f"{HEARTBEAT}/"


@dataclass(slots=True)
class EventClient:
    """Subscribes to a publisher. Made and used by one thread.

    Attributes
    ----------
    endpoint
        E.g. ``tcp://127.0.0.1:5757``.
    kinds
        Kinds or beginnings of kinds, e.g. ``moderation`` or ``genre.segment``; empty for all.
    streams
        Stream names or shell patterns; empty for all.
    context
        The publisher's context where it is in the same process.
    malformed
        What arrived and was no event, and was dropped.
    """

    endpoint: str
    kinds: Sequence[str] = ()
    streams: Sequence[str] = ()
    context: zmq.Context[zmq.Socket[bytes]] | None = None
    high_water_mark: int = 100_000
    malformed: int = 0
    _socket: zmq.Socket[bytes] | None = None
    _ledger: Ledger = field(init=False)
    _synchronised: bool = False
    _owned: zmq.Context[zmq.Socket[bytes]] | None = None

    def __post_init__(self) -> None:
        self._ledger = Ledger(self._wants)

    @property
    def missed(self) -> int:
        """Events that were asked for, published and lost on the way, since the client was made; see :class:`Ledger`."""
        return self._ledger.missed

    def connect(self) -> None:
        """Connect and subscribe. A publisher that is not there yet is waited for by ZeroMQ.

        Raises
        ------
        BusError
            The endpoint is malformed.
        """
        context = self.context
        if context is None:
            self._owned = context = zmq.Context()
        socket = context.socket(zmq.SUB)
        socket.linger = 0
        socket.rcvhwm = self.high_water_mark
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_EVENT)
        socket.ipv6 = "[" in self.endpoint
        try:
            socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            socket.close()
            self.close()
            raise BusError(
                f"cannot connect to {self.endpoint}: {_reason(error)}; expected e.g. tcp://127.0.0.1:5757"
            ) from error
        # Heartbeats always, since they tell of losses; last, so that the rest is subscribed to by the time one arrives.
        for prefix in [*self.kinds, _HEARTBEATS] if self.kinds else [""]:
            socket.subscribe(prefix)
        self._socket = socket

    def close(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._owned is not None:
            self._owned.term()
            self._owned = None

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def receive(self, timeout_s: float) -> Envelope | None:
        """Return the next event that was asked for, or None when none came in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            frames = self._frames(max(0.0, deadline - time.monotonic()))
            if frames is None:
                return None
            envelope = self._accept(frames)
            if envelope is not None:
                return envelope
            if time.monotonic() > deadline:
                return None

    def synchronise(self, timeout_s: float) -> Iterator[Envelope]:
        """Yield the events that arrive until the publisher has echoed a fresh token.

        After the last one, every event handed to the publisher before the call has been yielded, and every later one will be received.

        Raises
        ------
        BusError
            No echo in time: nobody publishes there, or what came before it took too long to take.
        """
        deadline = time.monotonic() + timeout_s
        # While it connects, ZeroMQ may send subscriptions in another order than they were made. The first echo shows that it is
        # connected; a second token then follows everything else that was subscribed to.
        for _ in range(1 if self._synchronised else 2):
            yield from self._until_echo(deadline, timeout_s)
        self._synchronised = True

    def _until_echo(self, deadline: float, timeout_s: float) -> Iterator[Envelope]:
        socket = self._connected()
        token = f"{SYNC_PREFIX}{uuid.uuid4()}".encode()
        socket.subscribe(token)
        try:
            while True:
                left = deadline - time.monotonic()
                frames = self._frames(left) if left > 0 else None
                if frames is None:
                    raise BusError(f"no answer from {self.endpoint} within {timeout_s:g} s; does a daemon run there?")
                if frames[0] == token:
                    return
                envelope = self._accept(frames)
                if envelope is not None:
                    yield envelope
        finally:
            with contextlib.suppress(zmq.ZMQError):
                socket.unsubscribe(token)

    def _connected(self) -> zmq.Socket[bytes]:
        if self._socket is None:
            raise BusError("connect() first")
        return self._socket

    def _frames(self, timeout_s: float) -> list[bytes] | None:
        socket = self._connected()
        try:
            return socket.recv_multipart() if socket.poll(round(timeout_s * 1000)) else None
        except zmq.ZMQError as error:
            raise BusError(f"cannot receive from {self.endpoint} any more: {_reason(error)}") from error

    def _accept(self, frames: list[bytes]) -> Envelope | None:
        """Enter an event into the ledger and return it where it was asked for."""
        if frames[0].startswith(SYNC_PREFIX.encode()):
            return None
        try:
            topic, envelope = decode(frames)
        except BusError as error:
            self.malformed += 1
            if self.malformed & (self.malformed - 1) == 0:
                _log.warning("from %s: %s; dropped (%d so far)", self.endpoint, error, self.malformed)
            return None
        self._ledger.take(topic, envelope)
        return envelope if self._wants(topic) else None

    def _wants(self, topic: str) -> bool:
        if self.kinds and not topic.startswith(tuple(self.kinds)):
            return False
        stream = topic.partition("/")[2]
        return not self.streams or any(fnmatch.fnmatchcase(stream, pattern) for pattern in self.streams)


def _reason(error: zmq.ZMQError) -> str:
    """Return what went wrong without the address, which our messages name themselves."""
    return (error.strerror or str(error)).partition(" (addr=")[0]

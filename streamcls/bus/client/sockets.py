"""The sockets of a client: one for what is published, one for questions about the past. Used by one thread."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import zmq

from streamcls.bus.client.actions import Action, Ask, Hush, Listen, Reconnect, Unlisten
from streamcls.bus.wire import LARGEST_EVENT
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamcls.bus.keys import ClientKeys

__all__ = ["Sockets"]

_AT_ONCE: Final = 200
"""Messages taken before the application gets its turn."""
_REPLIES: Final = 64
"""Answers that may wait; one is asked for at a time."""


class Sockets:
    """Connects, sends, and reads what has arrived without waiting for it.

    Parameters
    ----------
    endpoint
        Where the daemon publishes.
    prefixes
        What to subscribe to, in this order.
    context
        The publisher's where it is in the same process; None: an own one.
    high_water_mark
        Most messages that wait here.
    """

    def __init__(
        self,
        endpoint: str,
        prefixes: Sequence[str],
        *,
        context: zmq.Context[zmq.Socket[bytes]] | None,
        high_water_mark: int,
        curve: ClientKeys | None,
    ) -> None:
        self._endpoint = endpoint
        self._prefixes = tuple(prefixes)
        self._owned = zmq.Context() if context is None else None
        self._context = context if context is not None else self._owned
        self._high_water_mark = high_water_mark
        self._curve = curve
        self._live: zmq.Socket[bytes] | None = None
        self._asking: zmq.Socket[bytes] | None = None
        self._asked = ""

    def connect(self) -> None:
        """Connect and subscribe. A publisher that is not there yet is waited for by ZeroMQ.

        Raises
        ------
        BusError
            The endpoint is malformed.
        """
        self._live = self._connected(zmq.SUB, self._endpoint, self._high_water_mark, "tcp://127.0.0.1:5757")
        for prefix in self._prefixes:
            self._live.subscribe(prefix)

    def close(self) -> None:
        """Disconnect."""
        for socket in (self._live, self._asking):
            if socket is not None:
                socket.close(linger=0)
        self._live = self._asking = None
        if self._owned is not None:
            self._owned.term()
            self._owned = None

    @property
    def open(self) -> list[zmq.Socket[bytes]]:
        """The sockets on which something may arrive."""
        return [socket for socket in (self._live, self._asking) if socket is not None]

    def do(self, action: Action) -> None:
        """Do what the core wants.

        Raises
        ------
        BusError
            The context is gone.
        """
        try:
            self._do(action)
        except zmq.ZMQError as error:
            raise self._broken(error) from error

    def read(self) -> tuple[list[list[bytes]], list[list[bytes]]]:
        """Return what has arrived, of the publisher and of the replay endpoint.

        Raises
        ------
        BusError
            connect() was not called, or the context is gone.
        """
        if self._live is None:
            raise BusError("connect() first")
        try:
            return _read(self._live, _AT_ONCE), [] if self._asking is None else _read(self._asking, 1)
        except zmq.ZMQError as error:
            raise self._broken(error) from error

    def wait(self, timeout_s: float | None) -> None:
        """Return once something has arrived, or after the time-out; None: wait for ever.

        Raises
        ------
        BusError
            The context is gone.
        """
        poller = zmq.Poller()
        for socket in self.open:
            poller.register(socket, zmq.POLLIN)
        try:
            poller.poll(None if timeout_s is None else max(0, round(timeout_s * 1000 + 0.5)))
        except zmq.ZMQError as error:
            raise self._broken(error) from error

    def ready(self) -> bool:
        """Whether something has arrived."""
        try:
            return any(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN for socket in self.open)
        except zmq.ZMQError as error:
            raise self._broken(error) from error

    def _do(self, action: Action) -> None:
        if isinstance(action, Listen) and self._live is not None:
            self._live.subscribe(action.topic)
        elif isinstance(action, Unlisten) and self._live is not None:
            with contextlib.suppress(zmq.ZMQError):
                self._live.unsubscribe(action.topic)
        elif isinstance(action, Ask):
            self._ask(action)
        elif isinstance(action, Hush):
            self._hush()
        elif isinstance(action, Reconnect):
            self._hush()
            if self._live is not None:
                self._live.close(linger=0)
            self.connect()

    def _ask(self, action: Ask) -> None:
        if self._asking is None or self._asked != action.endpoint:
            self._hush()
            self._asking = self._connected(zmq.DEALER, action.endpoint, _REPLIES, "tcp://127.0.0.1:5758")
            self._asked = action.endpoint
        with contextlib.suppress(zmq.Again):  # it is asked again where no answer comes
            self._asking.send(action.request, zmq.NOBLOCK)

    def _hush(self) -> None:
        if self._asking is not None:
            self._asking.close(linger=0)
            self._asking = None

    def _connected(self, kind: int, endpoint: str, high_water_mark: int, example: str) -> zmq.Socket[bytes]:
        if self._context is None:
            raise BusError("closed; make a new client")
        try:
            socket = self._context.socket(kind)
        except zmq.ZMQError as error:
            raise self._broken(error) from error
        socket.linger = 0
        socket.rcvhwm = high_water_mark
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_EVENT)
        socket.ipv6 = "[" in endpoint
        try:
            if self._curve is not None and not endpoint.startswith("inproc://"):
                self._curve.secure_client(socket)
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            socket.close()
            raise BusError(f"cannot connect to {endpoint}: {_reason(error)}; expected e.g. {example}") from error
        return socket

    def _broken(self, error: zmq.ZMQError) -> BusError:
        return BusError(f"cannot receive from {self._endpoint} any more: {_reason(error)}")


def _read(socket: zmq.Socket[bytes], most: int) -> list[list[bytes]]:
    messages: list[list[bytes]] = []
    with contextlib.suppress(zmq.Again):
        while len(messages) < most:
            messages.append(socket.recv_multipart(zmq.NOBLOCK))
    return messages


def _reason(error: zmq.ZMQError) -> str:
    """Return what went wrong without the address, which our messages name themselves."""
    return (error.strerror or str(error)).partition(" (addr=")[0]

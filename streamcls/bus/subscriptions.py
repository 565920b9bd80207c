"""What the publisher's public socket is subscribed to: each subscription cut down to what the subscriber's key may see."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import zmq

from streamcls.bus.permissions import TOPIC_END, intersection
from streamcls.bus.wire import SYNC_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamcls.bus.auth import Security

__all__ = ["MOST_SUBSCRIPTIONS", "Subscriptions"]

_log = logging.getLogger("streamcls.bus")

MOST_SUBSCRIPTIONS: Final = 10_000
"""Of one connection to an endpoint with CURVE; one that asks for more is shut out."""
_MOST_REQUESTS: Final = 1_000
"""Requests looked at before events have their turn again."""
_SYNC: Final = SYNC_PREFIX.encode()
_SUBSCRIBE: Final = b"\x01"
_CANCEL: Final = b"\x00"


@dataclass(slots=True)
class _Peer:
    """One connection.

    Attributes
    ----------
    connection
        What the authenticator called it; unlike the file descriptor never used again.
    wanted
        What it asked for and has not cancelled.
    held
        What it was given, and how many of ``wanted`` that serves.
    """

    connection: str
    wanted: set[bytes] = field(default_factory=set)
    held: dict[bytes, int] = field(default_factory=dict)


class Subscriptions:
    """Answers what subscribers send to an XPUB socket. Used by the socket's thread, and made anew with each socket.

    Parameters
    ----------
    socket
        An XPUB socket that is not bound yet; where there is ``security``, it is switched to manual subscriptions.
    security
        None: a plain socket, on which everybody may subscribe to everything.
    echo
        Called with each topic ``_sync/…`` that is subscribed to, after the subscription is in force: it has to send what was handed
        over before, and then the echo.
    most
        Subscriptions of one connection where there is ``security``.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        security: Security | None,
        echo: Callable[[bytes], None],
        *,
        most: int = MOST_SUBSCRIPTIONS,
    ) -> None:
        self._socket = socket
        self._security = security
        self._echo = echo
        self._most = most
        self._peers: dict[int, _Peer] = {}
        self._broken = False
        if security is not None:
            socket.setsockopt(zmq.XPUB_MANUAL, 1)

    def address(self, topic: bytes) -> bytes:
        """Return the topic as it is to be sent on this socket: with CURVE, an event's ends in :data:`TOPIC_END`."""
        return topic if self._security is None or topic.startswith(_SYNC) else topic + TOPIC_END

    def answer(self) -> bool:
        """Take the requests that wait, up to a thousand, so that events have their turn.

        Returns
        -------
        bool
            False where the socket can no longer be trusted and has to be closed and bound anew; whoever caused that is shut out.
        """
        for _ in range(_MOST_REQUESTS):
            if self._broken:
                return False
            try:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return True
            data = frame.bytes
            if self._security is None:
                if data[:1] == _SUBSCRIBE and data[1:].startswith(_SYNC):
                    self._echo(data[1:])
            else:
                self._take(frame, data, self._security)
        return not self._broken

    def _take(self, frame: zmq.Frame, data: bytes, security: Security) -> None:
        connection = security.connection_of(frame)
        if data[:1] not in {_SUBSCRIBE, _CANCEL}:
            # libzmq notes the sender of a subscription in another queue than its text, and of other messages the text only: from here
            # on a subscription could be given to the wrong connection. No SUB socket can send such a message.
            self._break(security, connection, "it sent something other than subscriptions")
            return
        if not connection:
            return  # libzmq's own cancellation for a connection that is gone; it has forgotten that one's subscriptions itself
        peer = self._peer(frame, connection)
        topic = data[1:]
        if data[:1] == _CANCEL:
            self._cancel(peer, topic, security, connection)
            return
        if topic not in peer.wanted:
            if len(peer.wanted) >= self._most:
                self._break(security, connection, f"it subscribed to more than {self._most} topics")
                return
            peer.wanted.add(topic)
            for real in intersection(topic, security.topics_of(connection)):
                peer.held[real] = peer.held.get(real, 0) + 1
                if peer.held[real] == 1:
                    self._socket.setsockopt(zmq.SUBSCRIBE, real)
            if topic.startswith(_SYNC) and topic in peer.held:
                self._echo(topic)

    def _cancel(self, peer: _Peer, topic: bytes, security: Security, connection: str) -> None:
        if topic not in peer.wanted:
            return
        peer.wanted.remove(topic)
        for real in intersection(topic, security.topics_of(connection)):
            left = peer.held.get(real, 0) - 1
            if left > 0:
                peer.held[real] = left
            else:
                peer.held.pop(real, None)
                self._socket.setsockopt(zmq.UNSUBSCRIBE, real)

    def _peer(self, frame: zmq.Frame, connection: str) -> _Peer:
        """Return what is known of a connection; kept by file descriptor, so that it is forgotten once that serves another one."""
        descriptor = int(frame.get(zmq.SRCFD))
        peer = self._peers.get(descriptor)
        if peer is None or peer.connection != connection:
            peer = self._peers[descriptor] = _Peer(connection)
        return peer

    def _break(self, security: Security, connection: str, reason: str) -> None:
        self._broken = True
        security.shut_out(connection, reason)

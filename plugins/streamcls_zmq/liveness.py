"""Noticing peers that are gone without a word."""

from __future__ import annotations

from typing import Final

import zmq

__all__ = ["notice_the_dead"]

_QUIET_S: Final = 10
_PROBE_S: Final = 5
_PROBES: Final = 4


def notice_the_dead(socket: zmq.Socket[bytes]) -> None:
    """End connections whose machine does not answer for half a minute, by TCP's keep-alive; set before binding or connecting.

    ZeroMQ's own heartbeats would end the whole process where the socket's queue is full, as under back-pressure, and the peer resets its
    connection (libzmq issue 4364; seen with 4.3.5): any sender that crashes at the wrong moment could do that.
    """
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _QUIET_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _PROBE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, _PROBES)

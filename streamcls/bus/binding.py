"""Binding a socket to endpoints, with an answer to what may be wrong."""

from __future__ import annotations

import errno
import os
import socket as network
import stat
from typing import TYPE_CHECKING, Final

import zmq

from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bind_all", "give_up_on_the_dead"]

_QUIET_S: Final = 10
_PROBE_S: Final = 5
_PROBES: Final = 4
_STUCK_MS: Final = 60_000

_TAKEN: Final = "another process has it; choose another port or path in [bus] {key}, or stop the other daemon"


def give_up_on_the_dead(socket: zmq.Socket[bytes]) -> None:
    """End connections of peers that have gone or stand still, so that what waits for them is freed: set before binding.

    One that takes nothing off the network for a minute is stuck (TCP_USER_TIMEOUT); one whose machine does not answer for half a minute is
    gone (TCP keep-alive). Either comes back by itself where it still lives.

    ZeroMQ's own heartbeats are not used: where the socket's receive queue is full and the peer resets its connection, libzmq ends the
    whole process with the next of them (libzmq issue 4364; seen with 4.3.5).
    """
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _QUIET_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _PROBE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, _PROBES)
    socket.setsockopt(zmq.TCP_MAXRT, _STUCK_MS)


def bind_all(socket: zmq.Socket[bytes], endpoints: Sequence[str], key: str) -> list[str]:
    """Bind a socket to every endpoint and return them with the ports that were chosen for ``*``.

    Parameters
    ----------
    key
        The key of ``[bus]`` that names them, for messages.

    Raises
    ------
    BusError
        One cannot be bound; the message names it and says what to do.
    """
    socket.ipv6 = any("[" in endpoint for endpoint in endpoints)
    bound = []
    for endpoint in endpoints:
        _bind(socket, endpoint, _TAKEN.format(key=key))
        bound.append(socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
    return bound


def _bind(socket: zmq.Socket[bytes], endpoint: str, taken: str) -> None:
    if endpoint.startswith("ipc://"):
        _check_ipc(endpoint, taken)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        hints = {
            zmq.EADDRINUSE: taken,
            errno.ENODEV: "this machine has no such address",
            errno.EADDRNOTAVAIL: "this machine has no such address",
            zmq.EINVAL: "expected e.g. tcp://127.0.0.1:5757 or ipc:///run/streamcls/events",
            zmq.EPROTONOSUPPORT: "expected tcp:// or ipc://",
        }
        hint = hints.get(error.errno or 0, "check the address and the permissions of its folder")
        reason = (error.strerror or str(error)).partition(" (addr=")[0]
        raise BusError(f"bus endpoint {endpoint} cannot be bound: {reason}: {hint}") from error


def _check_ipc(endpoint: str, taken: str) -> None:
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
    raise BusError(f"bus endpoint {endpoint} cannot be bound: {taken}")

"""Asking a daemon's replay endpoint one question."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import zmq

from streamcls.bus.replay_request import LARGEST_REQUEST
from streamcls.bus.wire import LARGEST_EVENT, to_json
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.bus.keys import ClientKeys

__all__ = ["ask"]

_MOST_FRAMES: Final = 1_002
"""Of an answer: a header and a page of events."""


def ask(
    endpoint: str,
    request: Mapping[str, Any],
    timeout_s: float,
    curve: ClientKeys | None = None,
) -> tuple[dict[str, Any], list[bytes]]:
    """Ask once, and return the answer's header and events.

    Parameters
    ----------
    endpoint
        E.g. ``tcp://127.0.0.1:5758``.
    request
        Without the member ``request``, which is added.
    curve
        Its keys, where the daemon wants some.

    Raises
    ------
    BusError
        The endpoint is malformed, nobody answers in time, or the daemon refuses; then with its reason.
    """
    token = uuid.uuid4().hex
    body = to_json({**request, "request": token})
    if len(body) > LARGEST_REQUEST:
        raise BusError(f"the request has {len(body)} bytes, expected at most {LARGEST_REQUEST}")
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_EVENT)
        socket.ipv6 = "[" in endpoint
        try:
            if curve is not None:
                curve.secure_client(socket)
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            reason = (error.strerror or str(error)).partition(" (addr=")[0]
            raise BusError(f"cannot connect to {endpoint}: {reason}; expected e.g. tcp://127.0.0.1:5758") from error
        socket.send(body)
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0 and socket.poll(max(1, round(left * 1000))):
            frames = socket.recv_multipart()
            header = _header(frames[0]) if len(frames) <= _MOST_FRAMES else {}
            if header.get("request") != token and (header.get("request") or header.get("ok", True)):
                continue  # of another question, or no answer at all
            if header.get("ok") is not True:
                raise BusError(f"{header.get('message') or 'refused'} ({header.get('error') or 'no reason given'})")
            return header, frames[1:]
    raise BusError(
        f"no answer from {endpoint} within {timeout_s:g} s; does a daemon run there, is this its replay endpoint ([bus] replay), "
        "and does it want a key?"
    )


def _header(frame: bytes) -> dict[str, Any]:
    try:
        header = json.loads(frame)
    except (ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}

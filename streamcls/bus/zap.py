"""ZeroMQ's authentication protocol (RFC 27), the server's half. Pure: frames in, frames out; nothing that arrives raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zmq.utils import z85

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ENDPOINT", "ZapRequest", "admitted", "parse_request", "refused"]

ENDPOINT: Final = "inproc://zeromq.zap.01"
"""Where libzmq asks, once per context."""
_VERSION: Final = b"1.0"
_FRAMES: Final = 7
"""Version, request id, domain, address, identity, mechanism, and one frame of credentials."""
_KEY_BYTES: Final = 32
_LONGEST: Final = 255
"""Bytes of a text that the protocol allows."""


@dataclass(frozen=True, slots=True)
class ZapRequest:
    """A connection that asks to be let in.

    Attributes
    ----------
    envelope
        Frames that lead the answer back.
    request_id
        Opaque; repeated in the answer.
    domain
        What kind of socket it connected to.
    address
        Its network address, for the log.
    key
        The public key that it has proved to hold, 40 characters of Z85; empty where the mechanism is not CURVE.
    """

    envelope: tuple[bytes, ...]
    request_id: bytes
    domain: str
    address: str
    key: str


def parse_request(frames: Sequence[bytes]) -> ZapRequest | None:
    """Read a request as a ROUTER socket received it, or return None where no answer can be addressed or understood."""
    if len(frames) < 2 or frames[1]:  # noqa: PLR2004 - the sender's identity and an empty frame
        return None
    envelope, body = tuple(frames[:2]), frames[2:]
    if len(body) < _FRAMES - 1 or body[0] != _VERSION or any(len(text) > _LONGEST for text in body[1:]):
        return None
    key = ""
    if len(body) == _FRAMES and body[5] == b"CURVE" and len(body[6]) == _KEY_BYTES:
        key = z85.encode(body[6]).decode("ascii")
    return ZapRequest(envelope, body[1], _text(body[2]), _text(body[3]), key)


def admitted(request: ZapRequest, user: str) -> list[bytes]:
    """Return the answer that lets a connection in and gives all its messages a ``User-Id``."""
    return [*request.envelope, _VERSION, request.request_id, b"200", b"OK", user.encode(), b""]


def refused(request: ZapRequest) -> list[bytes]:
    """Return the answer that refuses a connection; the reason stays here, since it would help a stranger only.

    The status is 300, "for now". After 400 a client of libzmq never connects again, not even when its key has been admitted: a client
    whose file was absent for the moment in which somebody edited it would have lost the feed for good, and without a word. After 300
    libzmq may leave the connection open until the time for its handshake is over.
    """
    return [*request.envelope, _VERSION, request.request_id, b"300", b"refused", b"", b""]


def _text(frame: bytes) -> str:
    return "".join(c if c.isprintable() else "?" for c in frame.decode("utf-8", errors="replace"))

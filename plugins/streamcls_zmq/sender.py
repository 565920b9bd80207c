"""The sending side of the ingest format: one PUSH socket that notices when nobody takes what it sends."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from streamcls import StreamclsError
from streamcls.audio import encode_pcm
from streamcls_zmq.endpoints import is_numeric_ipv6
from streamcls_zmq.ingest import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from streamcls import Chunk
    from streamcls.bus.keys import ClientKeys

__all__ = ["DeliveryError", "Sender", "end_frames", "message_frames", "paced"]

_QUEUED: Final = 64
"""Messages that wait in this process for the connection; more make ``send`` wait."""
_ABANDON_S: Final = 0.5
"""Time to hand over the rest when the sender is left by an exception."""

_REFUSALS: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_NEEDS_KEYS: Final = "it may admit known keys only; give yours with --keys"
_WRONG_KEYS: Final = (
    "it does not know these keys, or not for sending audio, or it is not the daemon that they are for, or uses no keys"
)


class DeliveryError(StreamclsError):
    """Nobody takes what is sent."""


def message_frames(chunk: Chunk, encoding: str) -> list[bytes]:
    """Return a chunk as a message of three frames."""
    data = encode_pcm(chunk.samples, encoding)
    return _frames(chunk, encoding, chunk.first_sample, data, captured_at=chunk.captured_at)


def end_frames(last: Chunk, encoding: str) -> list[bytes]:
    """Return the message that ends the stream after its last chunk."""
    return _frames(last, encoding, last.end_sample, b"", end=True)


def _frames(
    chunk: Chunk,
    encoding: str,
    first_sample: int,
    data: bytes,
    *,
    captured_at: float | None = None,
    end: bool = False,
) -> list[bytes]:
    header = {
        "version": VERSION,
        "sample_rate": chunk.sample_rate,
        "channels": chunk.samples.shape[1],
        "encoding": encoding,
        "first_sample": first_sample,
        **({} if captured_at is None else {"captured_at": captured_at}),
        **({"end": True} if end else {}),
    }
    return [chunk.stream.encode(), json.dumps(header, separators=(",", ":")).encode(), data]


def paced(
    chunks: Iterator[Chunk],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Chunk]:
    """Let each chunk pass when its last sample would have been captured. Errors of the sleep never add up."""
    first: Chunk | None = None
    began = 0.0
    for chunk in chunks:
        if first is None:
            first, began = chunk, clock()
        wait = began + (chunk.end_sample - first.first_sample) / chunk.sample_rate - clock()
        if wait > 0:
            sleep(wait)
        yield chunk


class Sender:
    """A context manager: entering connects, leaving hands over the rest.

    Parameters
    ----------
    endpoint
        Where to connect.
    timeout_s
        Seconds that connecting, each send and handing over the rest may take.
    keys
        What to connect with where the source admits known keys only.

    Raises
    ------
    DeliveryError
        On entering, sending and leaving, when the time is over.
    """

    def __init__(self, endpoint: str, timeout_s: float, keys: ClientKeys | None = None) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._keyless = keys is None
        if keys is not None:
            keys.secure_client(self._socket)

    def __enter__(self) -> Self:
        try:
            self._connect()
        except BaseException:
            self._close(0.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._close(0.0 if issubclass(kind, DeliveryError) else min(_ABANDON_S, self._timeout_s))
        elif not self._close(self._timeout_s):
            raise self._error("nobody took the rest of the audio")

    def send(self, frames: list[bytes]) -> None:
        """Send one message, waiting while too many are on their way."""
        try:
            self._socket.send_multipart(frames)
        except zmq.Again:
            raise self._error("nobody took the audio") from None

    def _connect(self) -> None:
        timeout_ms = round(self._timeout_s * 1_000)
        self._socket.setsockopt(zmq.SNDHWM, _QUEUED)
        self._socket.setsockopt(zmq.SNDTIMEO, timeout_ms)
        self._socket.setsockopt(zmq.IPV6, int(is_numeric_ipv6(self._endpoint)))
        monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | _REFUSALS)
        try:
            self._socket.connect(self._endpoint)
            if not monitor.poll(timeout_ms):
                raise self._error("nobody answered")
            if recv_monitor_message(monitor)["event"] != zmq.EVENT_HANDSHAKE_SUCCEEDED:
                raise DeliveryError(f"{self._endpoint} refuses: {_NEEDS_KEYS if self._keyless else _WRONG_KEYS}")
        except zmq.ZMQError as error:
            raise DeliveryError(f"{self._endpoint}: {error.strerror}") from error
        finally:
            self._socket.disable_monitor()
            monitor.close(linger=0)

    def _close(self, linger_s: float) -> bool:
        """Close, and say whether everything was handed over within the time."""
        began = time.monotonic()
        self._socket.close(linger=round(linger_s * 1_000))
        self._context.term()
        return time.monotonic() - began < linger_s

    def _error(self, what: str) -> DeliveryError:
        text = f"{self._endpoint}: {what} within {self._timeout_s:g} s: does a zmq source listen there?"
        return DeliveryError(text)

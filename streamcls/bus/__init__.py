"""The event bus: the only way out. It numbers every event and publishes it over ZeroMQ."""

from __future__ import annotations

from streamcls.bus.client import AsyncEventClient, Cursor, EventClient, Loss, Received
from streamcls.bus.publisher import Publisher
from streamcls.bus.wire import Envelope, decode, encode, topic_of

__all__ = [
    "AsyncEventClient",
    "Cursor",
    "Envelope",
    "EventClient",
    "Loss",
    "Publisher",
    "Received",
    "decode",
    "encode",
    "topic_of",
]

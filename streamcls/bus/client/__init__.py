"""The receiving end: subscribers that notice what they missed, ask for it again, and say what is lost for good."""

from __future__ import annotations

from streamcls.bus.client.aio import AsyncEventClient
from streamcls.bus.client.cursor import Cursor, CursorUnwritableError
from streamcls.bus.client.items import Begin, Item, Loss, LossReason, Received
from streamcls.bus.client.settings import Patience
from streamcls.bus.client.sync import EventClient
from streamcls.bus.client.typed import (
    Evidence,
    GenreSegment,
    GenreWindow,
    Heartbeat,
    ModerationAlert,
    ModerationWindow,
    OtherEvent,
    Reload,
    StreamStatusEvent,
    TypedEvent,
    typed,
)

__all__ = [
    "AsyncEventClient",
    "Begin",
    "Cursor",
    "CursorUnwritableError",
    "EventClient",
    "Evidence",
    "GenreSegment",
    "GenreWindow",
    "Heartbeat",
    "Item",
    "Loss",
    "LossReason",
    "ModerationAlert",
    "ModerationWindow",
    "OtherEvent",
    "Patience",
    "Received",
    "Reload",
    "StreamStatusEvent",
    "TypedEvent",
    "typed",
]

"""The wire format: a topic and a CloudEvents 1.0 envelope in JSON. ``docs/wire-format.md`` documents every field."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.types import Event

__all__ = [
    "LARGEST_EVENT",
    "SYNC_PREFIX",
    "TYPE_PREFIX",
    "Envelope",
    "decode",
    "decode_body",
    "encode",
    "position_of",
    "rfc3339",
    "topic_of",
]

Envelope: TypeAlias = dict[str, Any]
"""The decoded JSON of an event."""

TYPE_PREFIX: Final = "streamcls."
SYNC_PREFIX: Final = "_sync/"
LARGEST_EVENT: Final = 8 << 20
"""Bytes beyond which an event is neither published nor believed."""


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


_JSON: Final = json.JSONDecoder(parse_constant=_refuse)


def topic_of(kind: str, stream: str) -> str:
    """Return an event's topic, ``kind/stream``, so that a prefix picks a kind over all streams."""
    return f"{kind}/{stream}"


def rfc3339(unix_time: float) -> str:
    """Format Unix seconds as UTC with milliseconds, e.g. ``2026-01-31T12:00:00.250Z``."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(
    event: Event, *, source: str, epoch: str, sequence: int, now: float, position: int | None = None
) -> list[bytes]:
    """Return the two frames of an event.

    Parameters
    ----------
    source
        The publisher as a URI reference, the same over restarts.
    epoch
        One per start of the publisher.
    sequence
        Counts the events of a topic within an epoch, from 1.
    now
        Unix time in seconds, used where the event itself carries no time.
    position
        Its place in the journal, where it is kept there.

    Raises
    ------
    TypeError, ValueError, OverflowError, RecursionError, OSError
        The event is no JSON, too large, or bears a time beyond the calendar.
    """
    topic = topic_of(event.kind, event.stream)
    envelope: Envelope = {
        "specversion": "1.0",
        "id": f"{epoch}/{topic}/{sequence}",
        "source": source,
        "type": TYPE_PREFIX + event.kind,
        "subject": event.stream,
        "time": rfc3339(event.time if event.time is not None else now),
        "datacontenttype": "application/json",
        "epoch": epoch,
        "sequence": str(sequence),
        **({"position": str(position)} if position is not None else {}),
        "data": event.data,
    }
    body = to_json(envelope)
    if len(body) > LARGEST_EVENT:
        raise ValueError(f"it has {len(body)} bytes, expected at most {LARGEST_EVENT}")
    return [topic.encode(), body]


def to_json(value: Mapping[str, Any]) -> bytes:
    """Serialise compactly; NaN and infinity are errors, since JSON has none."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def decode(frames: Sequence[bytes]) -> tuple[str, Envelope]:
    """Return topic and envelope of what a publisher sent; the topic without the slash in which it ends on an endpoint with CURVE.

    Raises
    ------
    BusError
        It is no event of this format; the message says why.
    """
    if len(frames) != 2:  # noqa: PLR2004 - topic and JSON
        raise BusError(f"{len(frames)} frames, expected topic and JSON")
    topic, envelope = decode_body(frames[1])
    if frames[0].removesuffix(b"/") != topic.encode(errors="surrogatepass"):
        raise BusError(f"topic {frames[0][:60]!r} belongs to another type or subject")
    return topic, envelope


def decode_body(body: bytes) -> tuple[str, Envelope]:
    """Return topic and envelope of an event without its topic frame, as replay gives it.

    Raises
    ------
    BusError
        It is no event of this format; the message says why.
    """
    if len(body) > LARGEST_EVENT:
        raise BusError(f"{len(body)} bytes, expected at most {LARGEST_EVENT}")
    try:
        envelope = _JSON.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise BusError(f"neither UTF-8 nor JSON: {error}") from error
    if not isinstance(envelope, dict) or envelope.get("specversion") != "1.0":
        raise BusError("no CloudEvents 1.0 envelope")
    text = ("id", "source", "type", "subject", "time", "epoch", "sequence")
    wrong = [name for name in text if not isinstance(envelope.get(name), str)]
    if wrong or not isinstance(envelope.get("data"), dict):
        raise BusError(f"missing or no text: {', '.join(wrong) or 'data'}")
    if not (envelope["sequence"].isascii() and envelope["sequence"].isdigit() and len(envelope["sequence"]) < 20):  # noqa: PLR2004 - 64 bits
        raise BusError(f"sequence is {envelope['sequence'][:30]!r}, expected digits")
    if not envelope["type"].startswith(TYPE_PREFIX):
        raise BusError(f"type is {envelope['type'][:60]!r}, expected {TYPE_PREFIX}…")
    return topic_of(envelope["type"].removeprefix(TYPE_PREFIX), envelope["subject"]), envelope


def position_of(envelope: Envelope) -> int | None:
    """Return an event's place in the journal, or None where it has none."""
    text = envelope.get("position")
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20:  # noqa: PLR2004 - 64 bits
        return int(text)
    return None

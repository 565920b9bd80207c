"""Events as values with types, for applications that want more than JSON."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

from streamcls.bus.wire import TYPE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamcls.bus.wire import Envelope

__all__ = [
    "Evidence",
    "GenreSegment",
    "GenreWindow",
    "Heartbeat",
    "ModerationAlert",
    "ModerationWindow",
    "OtherEvent",
    "Phase",
    "Reload",
    "StreamStatusEvent",
    "TypedEvent",
    "typed",
]

Phase: TypeAlias = Literal["opened", "updated", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """What every event has.

    Attributes
    ----------
    envelope
        All of it, as it came.
    stream
        Its subject.
    time
        When it happened, in UTC.
    """

    envelope: Envelope
    stream: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span(_Event):
    """What tells of a stretch of audio, in samples at the source's rate; the end is exclusive. Times are None without a clock."""

    policy: str
    model: str
    model_version: str
    first_sample: int
    end_sample: int
    sample_rate: int
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenreWindow(_Span):
    """One window's genre; probabilities from 0 to 1, the level in dBFS."""

    kind: ClassVar[str] = "genre.window"
    label: str
    probability: float
    posterior: Mapping[str, float]
    level_dbfs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModerationWindow(_Span):
    """What was heard in one window; probabilities from 0 to 1, the level in dBFS."""

    kind: ClassVar[str] = "moderation.window"
    labels: tuple[str, ...]
    posterior: Mapping[str, float]
    level_dbfs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding(_Span):
    """What has an id for its life, and phases."""

    id: str
    phase: Phase
    label: str
    duration_s: float
    windows: int
    probability: Mapping[str, float]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenreSegment(_Finding):
    """A stretch of one genre, or of none that was certain, and then with a cause."""

    kind: ClassVar[str] = "genre.segment"
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModerationAlert(_Finding):
    """A finding that somebody should look at."""

    kind: ClassVar[str] = "moderation.alert"
    taxonomy: tuple[str, ...]
    severity: str
    action: str
    model_sha256: str
    front_end_sha256: str
    thresholds: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence(_Event):
    """A clip of the audio around an alert; all else that its kind tells stands in ``data``."""

    kind: ClassVar[str] = "moderation.evidence"
    alert_id: str
    folder: str
    path: str
    sha256: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatusEvent(_Event):
    """What has become of a stream or source; what else it tells stands in ``data``."""

    kind: ClassVar[str] = "stream.status"
    state: str
    reason: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(_Event):
    """The daemon's figures; all of them stand in ``data``. Positions are sequences by topic."""

    kind: ClassVar[str] = "daemon.heartbeat"
    version: str
    uptime_s: float
    positions: Mapping[str, int]
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload(_Event):
    """What has come of reading the configuration anew: ``applied``, ``refused`` or ``unchanged``; what has changed stands in ``data``."""

    kind: ClassVar[str] = "daemon.reload"
    state: str
    reason: str
    problems: tuple[str, ...]
    waiting: tuple[str, ...]
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OtherEvent:
    """An event of a kind that is not known here, or that does not fit its kind."""

    envelope: Envelope


TypedEvent: TypeAlias = (
    GenreWindow
    | GenreSegment
    | ModerationWindow
    | ModerationAlert
    | Evidence
    | StreamStatusEvent
    | Heartbeat
    | Reload
    | OtherEvent
)


def typed(envelope: Envelope) -> TypedEvent:
    """Return an event as a value of its kind's class.

    Members that the class does not know are left to the envelope. What does not fit is an :class:`OtherEvent`: nothing is raised.
    """
    kind = envelope.get("type")
    known = _KINDS.get(kind.removeprefix(TYPE_PREFIX)) if isinstance(kind, str) else None
    if known is None:
        return OtherEvent(envelope)
    try:
        data = envelope["data"]
        values = {
            "envelope": envelope,
            "stream": _text(envelope["subject"]),
            "time": _instant(envelope["time"]),
            "data": MappingProxyType(data),
        }
        names = {field.name for field in fields(known)}
        convert = _CONVERTED | {"probability": _number if known is GenreWindow else _mapping_of(_number)}
        values |= {name: convert[name](data[name]) for name in names - values.keys() if name in data}
        event: TypedEvent = known(**{name: value for name, value in values.items() if name in names})
    except (KeyError, TypeError, ValueError):
        return OtherEvent(envelope)
    return event


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_text(text) for text in value)


def _instant(value: Any) -> datetime:
    return datetime.fromisoformat(_text(value))


def _instant_if_any(value: Any) -> datetime | None:
    return None if value is None else _instant(value)


def _mapping_of(convert: Callable[[Any], Any]) -> Callable[[Any], Mapping[str, Any]]:
    def converted(value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise TypeError
        return MappingProxyType({name: convert(member) for name, member in value.items()})

    return converted


def _phase(value: Any) -> str:
    if value not in {"opened", "updated", "closed"}:
        raise ValueError
    return _text(value)


_KINDS: Final[Mapping[str, Any]] = {
    known.kind: known
    for known in (
        GenreWindow,
        GenreSegment,
        ModerationWindow,
        ModerationAlert,
        Evidence,
        StreamStatusEvent,
        Heartbeat,
        Reload,
    )
}
_CONVERTED: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(
        (
            "policy", "model", "model_version", "label", "id", "reason", "cause", "severity", "action", "model_sha256",
            "front_end_sha256", "alert_id", "folder", "path", "sha256", "state", "version",
        ),
        _text,
    ),
    **dict.fromkeys(("level_dbfs", "duration_s", "uptime_s"), _number),
    **dict.fromkeys(("first_sample", "end_sample", "sample_rate", "windows"), _whole),
    **dict.fromkeys(("labels", "taxonomy", "problems", "waiting"), _texts),
    **dict.fromkeys(("started_at", "ended_at"), _instant_if_any),
    "posterior": _mapping_of(_number),
    "positions": _mapping_of(_whole),
    "thresholds": _mapping_of(lambda value: value),
    "phase": _phase,
}  # fmt: skip

"""Acknowledgements and mutes, and how they are read from a request."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.wire import rfc3339
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Acknowledgement", "Mute", "acknowledgement", "mute", "person", "text", "time_of"]

_LONGEST_NAME: Final = 200
"""Characters of an id, a label, a stream pattern or a person's name."""
_LONGEST_NOTE: Final = 1000
"""Characters of a note."""
_MOST_NAMES: Final = 100
"""Labels, and stream patterns, of one mute."""
_LONGEST_S: Final = 10 * 366 * 86_400.0
"""Ten years, in seconds; beyond it a mute is for ever, which has to be said."""
_ENDS: Final = ("until", "for_s", "forever")


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody has seen an alert. ``at`` is Unix time in seconds."""

    alert: str
    by: str
    at: float
    note: str

    def facts(self) -> dict[str, Any]:
        """Return it as the events and answers show it."""
        return {"alert_id": self.alert, "by": self.by, "at": rfc3339(self.at), "note": self.note}

    def kept(self) -> dict[str, Any]:
        """Return it as the file keeps it."""
        return asdict(self)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Acknowledgement:
        """Read what the file keeps; raises KeyError, TypeError or ValueError where it is none."""
        return cls(_str(kept["alert"]), _str(kept["by"]), _number(kept["at"]), _str(kept["note"]))


@dataclass(frozen=True, slots=True)
class Mute:
    """Alerts that somebody does not want to be told of.

    Attributes
    ----------
    alert
        Id of one alert; empty: of any.
    labels, streams
        Labels, and stream names or shell patterns; empty: any.
    at, until
        Unix time in seconds; ``until`` is None for ever.
    """

    id: str
    alert: str
    labels: tuple[str, ...]
    streams: tuple[str, ...]
    until: float | None
    by: str
    at: float
    note: str

    def matches(self, stream: str, data: Mapping[str, Any]) -> bool:
        """Whether it speaks of an alert."""
        if self.alert and data.get("id") != self.alert:
            return False
        if self.labels and data.get("label") not in self.labels:
            return False
        return not self.streams or any(fnmatch.fnmatchcase(stream, pattern) for pattern in self.streams)

    def over(self, now: float) -> bool:
        """Whether its time has passed."""
        return self.until is not None and now >= self.until

    def facts(self) -> dict[str, Any]:
        """Return it as the events and answers show it."""
        return {
            "id": self.id,
            "alert_id": self.alert or None,
            "labels": list(self.labels),
            "streams": list(self.streams),
            "until": None if self.until is None else rfc3339(self.until),
            "by": self.by,
            "at": rfc3339(self.at),
            "note": self.note,
        }

    def kept(self) -> dict[str, Any]:
        """Return it as the file keeps it."""
        return asdict(self)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Mute:
        """Read what the file keeps; raises KeyError, TypeError or ValueError where it is none."""
        return cls(
            id=_str(kept["id"]),
            alert=_str(kept["alert"]),
            labels=tuple(map(_str, kept["labels"])),
            streams=tuple(map(_str, kept["streams"])),
            until=None if kept["until"] is None else _number(kept["until"]),
            by=_str(kept["by"]),
            at=_number(kept["at"]),
            note=_str(kept["note"]),
        )


def acknowledgement(request: Mapping[str, Any], by: str, now: float) -> Acknowledgement:
    """Read the request ``ack`` {id, note}; raises BusError with what is wrong with it."""
    alert = text(request, "id", _LONGEST_NAME)
    if not alert:
        raise BusError("id is missing; expected the id of an alert (data.id of its events)")
    return Acknowledgement(alert, by, now, text(request, "note", _LONGEST_NOTE))


def mute(request: Mapping[str, Any], identifier: str, by: str, now: float) -> Mute:
    """Read the request ``mute`` {id?, labels?, streams?, until | for_s | forever, note}; raises BusError with what is wrong with it."""
    alert = text(request, "id", _LONGEST_NAME)
    labels, streams = _texts(request, "labels"), _texts(request, "streams")
    if not (alert or labels or streams):
        raise BusError('nothing says what to mute; expected id, labels or streams (streams ["*"] for all)')
    return Mute(identifier, alert, labels, streams, _until(request, now), by, now, text(request, "note", _LONGEST_NOTE))


def person(request: Mapping[str, Any], name: str, *, proven: bool) -> str:
    """Return who asks: what the request says, and what its key proves where there is one.

    Parameters
    ----------
    name
        Of the key's owner.
    proven
        Whether a key stands behind that name.
    """
    said = text(request, "by", _LONGEST_NAME)
    if not proven:
        return said
    return name if said in {"", name} else f"{said} ({name})"


def text(request: Mapping[str, Any], key: str, longest: int = _LONGEST_NAME) -> str:
    """Return a member that is a text, or empty where it is missing; raises BusError where it is none or too long."""
    value = request.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise BusError(f"{key} is {_shown(value)}, expected a line of at most {longest} characters")
    return value


def time_of(value: object, name: str) -> float:
    """Return Unix seconds of a number of them or of an RFC 3339 time with its offset; raises BusError."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment.timestamp()
        except (ValueError, OverflowError):
            pass
    elif not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    raise BusError(f"{name} is {_shown(value)}, expected a time such as 2026-01-31T18:00:00+01:00, or Unix seconds")


def _until(request: Mapping[str, Any], now: float) -> float | None:
    given = [key for key in _ENDS if request.get(key) not in {None, False}] if _hashable(request) else list(_ENDS)
    if len(given) != 1:
        raise BusError(
            f"{' and '.join(given) or 'no end'} given, expected one of until, for_s (seconds) or forever = true"
        )
    value = request[given[0]]
    if given[0] == "forever":
        if value is not True:
            raise BusError(f"forever is {_shown(value)}, expected true")
        return None
    if given[0] == "for_s":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LONGEST_S:
            raise BusError(
                f"for_s is {_shown(value)}, expected seconds above 0 and at most {_LONGEST_S:.0f}; or forever"
            )
        return now + value
    until = time_of(value, "until")
    if not now < until <= now + _LONGEST_S:
        raise BusError(f"until is {_shown(value)}, expected a time to come, within ten years; or forever")
    return until


def _hashable(request: Mapping[str, Any]) -> bool:
    return all(request.get(key) is None or isinstance(request[key], (str, int, float)) for key in _ENDS)


def _texts(request: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = request.get(key)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or len(value) > _MOST_NAMES:
        raise BusError(f"{key} is {_shown(value)}, expected at most {_MOST_NAMES} texts")
    names = tuple(text({key: item}, key) for item in value)
    if "" in names:
        raise BusError(f"{key} holds an empty text")
    return tuple(dict.fromkeys(names))


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}…"  # noqa: PLR2004 - a line of a message


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no time")
    rfc3339(value)  # a time beyond the calendar raises here, not when it is shown
    return float(value)

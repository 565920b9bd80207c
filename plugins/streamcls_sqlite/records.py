"""What the store keeps of an event: a finding's row, a status, or the event as it is."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FindingRow", "StatusRow", "finding_of", "instant", "status_of", "text_of", "to_text"]

_PHASES: Final = ("opened", "updated", "closed")
_INT64: Final = 1 << 63
# Members of data that have a column, beside those that are gathered in FindingRow.more.
_COLUMNS: Final = frozenset({
    "id", "phase", "policy", "model", "model_version", "label", "first_sample", "end_sample", "sample_rate", "duration_s",
    "probability", "severity", "action", "cause", "reason", "started_at", "ended_at",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A segment or an alert as one event tells it; the fields are columns of the table ``findings``.

    Attributes
    ----------
    thing
        The last part of the kind: ``segment``, ``alert``.
    began, ended
        Unix times in seconds; ``ended`` is as far as is known.
    clock
        1: these are times of the audio. 0: it has no clock, and the finding is taken to end when its first event was published.
    more
        The other members of data, in JSON.
    """

    id: str
    kind: str
    thing: str
    stream: str
    policy: str
    model: str
    model_version: str
    label: str
    phase: str
    began: float
    ended: float
    duration_s: float
    clock: int
    first_sample: int | None
    end_sample: int | None
    sample_rate: int | None
    mean: float | None
    peak: float | None
    severity: str | None
    action: str | None
    cause: str | None
    reason: str | None
    more: str

    @staticmethod
    def columns() -> list[str]:
        """Names of the fields, in order."""
        return [field.name for field in fields(FindingRow)]


@dataclass(frozen=True, slots=True)
class StatusRow:
    """What became of a stream; the fields are columns of the table ``statuses``.

    Attributes
    ----------
    lost_s
        Seconds of audio that are missing, where the state is a gap of known length.
    """

    stream: str
    time: float
    state: str
    reason: str
    lost_s: float | None
    more: str


def finding_of(kind: str, stream: str, time: float, data: Mapping[str, Any]) -> FindingRow | None:
    """Return the row of a finding, or None where the event tells of none.

    Any kind has findings whose data has an ``id``, a ``label`` and a ``phase``: those of policies that are not ours as well.
    """
    identifier, label, phase = data.get("id"), data.get("label"), data.get("phase")
    if not (isinstance(identifier, str) and identifier and isinstance(label, str)) or phase not in _PHASES:
        return None
    first, end, rate = (_integer(data.get(name)) for name in ("first_sample", "end_sample", "sample_rate"))
    started, ended = instant(data.get("started_at")), instant(data.get("ended_at"))
    duration = _number(data.get("duration_s"))
    if duration is None and None not in {first, end, rate} and rate:
        duration = (end - first) / rate  # type: ignore[operator]
    if duration is None:
        duration = ended - started if started is not None and ended is not None else 0.0
    duration = max(0.0, duration)
    began = time - duration if started is None else started
    probability = data.get("probability")
    if not isinstance(probability, dict):
        probability = {}
    return FindingRow(
        id=text_of(identifier),
        kind=text_of(kind),
        thing=text_of(kind.rpartition(".")[2]),
        stream=text_of(stream),
        policy=_text(data, "policy") or "",
        model=_text(data, "model") or "",
        model_version=_text(data, "model_version") or "",
        label=text_of(label),
        phase=phase,
        began=began,
        ended=began + duration if started is None or ended is None else max(began, ended),
        duration_s=duration,
        clock=int(started is not None),
        first_sample=first,
        end_sample=end,
        sample_rate=rate,
        mean=_number(probability.get("mean")),
        peak=_number(probability.get("peak")),
        severity=_text(data, "severity"),
        action=_text(data, "action"),
        cause=_text(data, "cause"),
        reason=_text(data, "reason"),
        more=to_text({name: value for name, value in data.items() if name not in _COLUMNS}),
    )


def status_of(stream: str, time: float, data: Mapping[str, Any]) -> StatusRow:
    """Return the row of a ``stream.status`` event."""
    state = _text(data, "state") or ""
    first, end, rate = (_integer(data.get(name)) for name in ("first_sample", "end_sample", "sample_rate"))
    lost = None
    if state == "gap" and first is not None and end is not None and rate:
        lost = max(0.0, (end - first) / rate)
    more = to_text({name: value for name, value in data.items() if name not in {"state", "reason"}})
    return StatusRow(text_of(stream), time, state, _text(data, "reason") or "", lost, more)


def instant(value: Any) -> float | None:
    """Return the Unix time of an RFC 3339 text; None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def to_text(value: Any) -> str:
    """Serialise as JSON that SQLite can hold: half surrogate pairs, which are no UTF-8, stay escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if text_of(text) == text else json.dumps(value, separators=(",", ":"))


def text_of(text: str) -> str:
    """Return a text that is UTF-8: half surrogate pairs become question marks."""
    return text.encode("utf-8", "replace").decode()


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    return text_of(value) if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INT64 else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) >= _INT64:
        return None
    return float(value) if math.isfinite(value) else None

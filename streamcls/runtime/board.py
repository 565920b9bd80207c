"""What each stream is at now: its genre, its open alerts, and the last event of all, as the events say."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.wire import TYPE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamcls.types import Event

__all__ = ["Board"]

_MOST_STREAMS: Final = 10_000
_MOST_OPEN: Final = 64
"""Alerts kept of a stream, and segments, one for each of its policies and models."""
_SEGMENT: Final = ".segment"
_ALERT: Final = ".alert"
_MEMBERS: Final = ("id", "label", "policy", "model", "severity", "action", "started_at", "duration_s")


@dataclass(slots=True)
class _Stream:
    segments: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)
    alerts: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)


class Board:
    """Learns from every event that is published. Bounded; thread-safe.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most_streams: int = _MOST_STREAMS) -> None:
        self._clock = clock
        self._most_streams = most_streams
        self._lock = threading.Lock()
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._last: tuple[str, str, float] | None = None

    def take(self, event: Event) -> None:
        """Note an event that is published."""
        with self._lock:
            if event.kind != "daemon.heartbeat":
                self._last = (event.kind, event.stream, self._clock())
            self._note(event.kind, event.stream, event.data)

    def restore(self, envelope: Mapping[str, Any]) -> None:
        """Note what the daemon before this one left open."""
        with self._lock:
            kind = str(envelope.get("type", "")).removeprefix(TYPE_PREFIX)
            data = envelope.get("data")
            if isinstance(data, dict):
                self._note(kind, str(envelope.get("subject", "")), data)

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return by stream what is open on it: ``segments`` and ``alerts``, the newest last."""
        with self._lock:
            return {
                name: {
                    "segments": [dict(entry) for entry in stream.segments.values()],
                    "alerts": [dict(entry) for entry in stream.alerts.values()],
                }
                for name, stream in self._streams.items()
            }

    def last_event(self) -> dict[str, Any] | None:
        """Return kind, stream and age of the last event that was no heartbeat."""
        with self._lock:
            if self._last is None:
                return None
            kind, stream, at = self._last
            return {"kind": kind, "stream": stream, "age_s": round(max(0.0, self._clock() - at), 3)}

    def _note(self, kind: str, name: str, data: Mapping[str, Any]) -> None:
        if not kind.endswith((_SEGMENT, _ALERT)) or not isinstance(data.get("id"), str):
            return
        identifier, closed = data["id"], data.get("phase") == "closed"
        stream = self._streams.get(name)
        if stream is None:
            if closed:
                return
            stream = self._streams[name] = _Stream()
            if len(self._streams) > self._most_streams:
                self._streams.popitem(last=False)
        entries = stream.segments if kind.endswith(_SEGMENT) else stream.alerts
        if closed:
            entries.pop(identifier, None)
            if not (stream.segments or stream.alerts):
                del self._streams[name]
            return
        entries[identifier] = _entry(kind, data)
        if len(entries) > _MOST_OPEN:
            entries.popitem(last=False)


def _entry(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    entry = {"kind": kind} | {member: data[member] for member in _MEMBERS if member in data}
    probability = data.get("probability")
    if isinstance(probability, dict):
        entry["probability"] = probability.get("mean")
    for flag in ("muted", "acknowledged"):
        if data.get(flag):
            entry[flag] = True
    return entry

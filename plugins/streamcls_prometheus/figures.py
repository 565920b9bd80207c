"""What is known of a daemon from its events, with the times at which it was heard."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

__all__ = ["STREAM_STATES", "Figures", "SourceFigures", "StreamFigures", "Totals", "number", "table"]

STREAM_STATES: Final = ("connecting", "running", "retrying", "stalled", "shed", "ended", "failed")
_OVER: Final = frozenset({"ended", "failed"})

_MOST_KINDS: Final = 200
_MOST_LABELS: Final = 200
"""Of alerts, and of models, of one stream."""
_MOST_STREAMS: Final = 10_000
_OTHER: Final = "other"
_OF_STREAMS: Final = ("stream.status", ".window", ".segment", ".alert")
_INTERVALS: Final = 8
"""Distances of heartbeats remembered, of which the longest counts."""
_USUAL_INTERVAL_S: Final = 5.0


class Totals:
    """Counts that never go back, from such that begin at 0 again when what counts is made anew."""

    def __init__(self) -> None:
        self._base: dict[Hashable, float] = {}
        self._last: dict[Hashable, float] = {}

    def note(self, key: Hashable, value: float) -> None:
        """Take the newest reading."""
        last = self._last.get(key, 0.0)
        if value < last:
            self._base[key] = self._base.get(key, 0.0) + last
        self._last[key] = value

    def of(self, key: Hashable) -> float | None:
        """Return the total, or None where nothing was read yet."""
        return None if key not in self._last else self._base.get(key, 0.0) + self._last[key]

    def forget(self, keep: Callable[[Hashable], bool]) -> None:
        """Keep only some."""
        for readings in (self._base, self._last):
            for key in [key for key in readings if not keep(key)]:
                del readings[key]


@dataclass(slots=True)
class StreamFigures:
    """One stream; times are by the injected clock.

    Attributes
    ----------
    window_at
        When its last window ended, or when its audio began; None where there are no windows to wait for.
    facts
        What the last heartbeat that had it said.
    alerts, windows
        Counted: openings by label, windows by model.
    open
        Ids of open alerts by label.
    """

    state: str = "connecting"
    reason: str = ""
    event_at: float = 0.0
    over_at: float | None = None
    window_at: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    alerts: dict[str, int] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    open: dict[str, set[str]] = field(default_factory=dict)

    def become(self, state: str, reason: str, now: float) -> None:
        """Take a state; what is none (``gap``) happened in passing."""
        if state not in STREAM_STATES:
            return
        self.reason = reason
        if state in _OVER and self.state not in _OVER:
            self.over_at, self.window_at = now, None
            self.open.clear()
        elif state not in _OVER:
            self.over_at = None
        if state == "running" and self.state != "running" and self.window_at is not None:
            self.window_at = now
        self.state = state


@dataclass(slots=True)
class SourceFigures:
    """One source: its state, why, since when by the clock, and what it counts."""

    state: str
    reason: str
    since: float
    counters: Mapping[str, Any]


class Figures:
    """Everything, as of the last event. Not locked: whoever shares it does that."""

    def __init__(self, clock: Callable[[], float], forget_s: float) -> None:
        self._clock = clock
        self._forget_s = forget_s
        self.daemon = ""
        self.beat: Mapping[str, Any] | None = None
        self.beat_at = 0.0
        self.events: dict[str, int] = {}
        self.streams: dict[str, StreamFigures] = {}
        self.sources: dict[str, SourceFigures] = {}
        self.totals = Totals()
        self._distances: deque[float] = deque(maxlen=_INTERVALS)
        self._epoch = ""

    @property
    def interval_s(self) -> float:
        """Longest distance of heartbeats lately, in seconds of the daemon's own uptime."""
        return max(self._distances, default=_USUAL_INTERVAL_S)

    def take(self, event: Mapping[str, Any]) -> None:
        """Learn from an event."""
        now = self._clock()
        kind, name, data = str(event["type"]).removeprefix("streamcls."), str(event["subject"]), table(event["data"])
        self.daemon = str(event["source"]).removeprefix("/streamcls/")
        if event["epoch"] != self._epoch:
            self._epoch, self.beat = str(event["epoch"]), None
            self._distances.clear()
        _count(self.events, kind, _MOST_KINDS)
        if kind == "daemon.heartbeat":
            self._beat(data, now)
            self.forget()
        elif not kind.startswith("daemon."):
            self._of_stream(name, kind, data, now)

    def forget(self) -> None:
        """Drop the streams that are over and the sources that are no more."""
        now = self._clock()
        gone = [n for n, s in self.streams.items() if s.over_at is not None and now - s.over_at > self._forget_s]
        if gone:
            for name in gone:
                del self.streams[name]
            self.totals.forget(lambda key: not (isinstance(key, tuple) and key[0] == "stream" and key[1] in gone))

    def _of_stream(self, name: str, kind: str, data: Mapping[str, Any], now: float) -> None:
        if name not in self.streams:
            # What people did (a mute) is told under the daemon's name.
            if not kind.endswith(_OF_STREAMS) or len(self.streams) >= _MOST_STREAMS:
                return
            self.streams[name] = StreamFigures()
        stream = self.streams[name]
        stream.event_at = now
        if kind == "stream.status":
            stream.become(str(data.get("state", "")), str(data.get("reason", "")), now)
            if data.get("models"):
                stream.window_at = now
        elif kind.endswith(".window"):
            _count(stream.windows, str(data.get("model", "")), _MOST_LABELS)
            stream.window_at = now
        elif kind.endswith(".alert"):
            self._alert(stream, data)

    @staticmethod
    def _alert(stream: StreamFigures, data: Mapping[str, Any]) -> None:
        label, identifier = str(data.get("label", "")), str(data.get("id", ""))
        label = label if label in stream.open or len(stream.open) < _MOST_LABELS else _OTHER
        opened = stream.open.setdefault(label, set())
        if data.get("phase") == "closed":
            opened.discard(identifier)
        elif identifier not in opened:
            opened.add(identifier)
            if data.get("phase") == "opened":
                _count(stream.alerts, label, _MOST_LABELS)

    def _beat(self, data: Mapping[str, Any], now: float) -> None:
        before = table(self.beat)
        distance = (number(data.get("uptime_s")) or 0.0) - (number(before.get("uptime_s")) or 0.0)
        if before and distance > 0:
            self._distances.append(distance)
        self.beat, self.beat_at = data, now
        streams = table(data.get("streams"))
        for name, facts in streams.items():
            self._stream_beat(str(name), table(facts), now)
        sources = table(data.get("sources"))
        for name in self.streams.keys() - streams.keys() - sources.keys():
            if self.streams[name].over_at is None:  # nobody said that it ended: that is forgotten like an end
                self.streams[name].become("ended", "the daemon has it no more", now)
        known, self.sources = self.sources, {}
        for name, facts in sources.items():
            self.sources[str(name)] = _source(known.get(str(name)), table(facts), now)
        self._totals(data)

    def _stream_beat(self, name: str, facts: Mapping[str, Any], now: float) -> None:
        if name not in self.streams:
            if len(self.streams) >= _MOST_STREAMS:
                return
            self.streams[name] = StreamFigures(event_at=now)
        stream = self.streams[name]
        stream.become(str(facts.get("state", "")), stream.reason, now)
        before, stream.facts = stream.facts, facts
        age = number(facts.get("window_age_s"))
        if age is None and (number(facts.get("windows")) or 0.0) > (number(before.get("windows")) or 0.0):
            age = 0.0  # at most as old as the heartbeat before this one
        if age is not None:
            stream.window_at = max(now - age, -math.inf if stream.window_at is None else stream.window_at)
        for key in ("dropped_samples", "lost_samples", "gaps", "windows", "audio_s", "busy_s"):
            self._note(("stream", name, key), facts.get(key))

    def _totals(self, data: Mapping[str, Any]) -> None:
        self._note(("bus", "published"), data.get("published"))
        for key in ("count", "refused"):
            self._note(("reload", key), table(data.get("reload")).get(key))
        for part, keys in (("journal", ("written", "lost")), ("evidence", ("written", "given_up", "removed"))):
            for key in keys:
                self._note((part, key), table(data.get(part)).get(key))
        groups: tuple[tuple[str, tuple[str, ...]], ...] = (
            ("subscribers", ("handled", "failed", "missed", "restarts")),
            ("clients", ("missed", "requests")),
            ("models", ("inferences", "seconds")),
        )
        for group, names in groups:
            entries = table(data.get(group))
            for name, facts in entries.items():
                for key in names:
                    self._note((group, name, key), table(facts).get(key))
            self.totals.forget(
                lambda key, group=group, entries=entries: (  # type: ignore[misc]
                    not (isinstance(key, tuple) and key[0] == group and key[1] not in entries)
                )
            )

    def _note(self, key: tuple[str, ...], value: Any) -> None:
        reading = number(value)
        if reading is not None:
            self.totals.note(key, reading)


def number(value: Any) -> float | None:
    """Return a finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def table(value: Any) -> Mapping[str, Any]:
    """Return an object of JSON, or an empty one in the place of anything else: a later version may lack it."""
    return value if isinstance(value, dict) else {}


def _source(before: SourceFigures | None, facts: Mapping[str, Any], now: float) -> SourceFigures:
    state = str(facts.get("state", ""))
    since = before.since if before is not None and before.state == state else now
    return SourceFigures(state, str(facts.get("reason", "")), since, table(facts.get("counters")))


def _count(counts: dict[str, int], key: str, most: int) -> None:
    key = key if key in counts or len(counts) < most else _OTHER
    counts[key] = counts.get(key, 0) + 1

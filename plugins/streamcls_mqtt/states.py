"""From events to what is true now: the retained messages of each stream."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamcls_mqtt.topics import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamcls_mqtt.discovery import Discovery
    from streamcls_mqtt.topics import Topics

__all__ = ["States"]

_OVER: Final = frozenset({"ended", "failed"})
_ATTRIBUTES: Final = (  # noqa: SIM905 - a list of words
    "id phase policy model severity action taxonomy duration_s first_sample end_sample sample_rate started_at ended_at "
    "cause reason muted acknowledged"
).split()
_ABSENT: Final = 2
"""Heartbeats in a row that have to lack a stream: the first may have been composed before the stream began."""


@dataclass(slots=True)
class _Stream:
    """One stream: the state and since when, the id of the segment that plays, the open alerts by label, what is retained."""

    state: str = ""
    since: str = ""
    segment: str = ""
    alerts: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)
    topics: set[str] = field(default_factory=set)
    absent: int = 0


class States:
    """Remembers every stream of one daemon."""

    def __init__(self, topics: Topics, discovery: Discovery | None, *, skip_muted: bool, keep_ended: int) -> None:
        self._topics = topics
        self._discovery = discovery
        self._skip_muted = skip_muted
        self._keep_ended = keep_ended
        self._streams: dict[str, _Stream] = {}

    def take(self, event: Mapping[str, Any]) -> list[Message]:
        """Return what an event changes."""
        kind, name, data = str(event["type"]).removeprefix("streamcls."), str(event["subject"]), event["data"]
        if kind == "daemon.heartbeat":
            streams, sources = data.get("streams", {}), data.get("sources", {})
            return [
                *self._caught_up(streams, str(event["time"])),
                *self._compared(streams, sources, str(event["time"])),
            ]
        take = {
            "stream.status": self._status,
            "genre.segment": self._segment,
            "moderation.ack": self._acknowledged,
        }.get(kind)
        if kind.endswith(".alert"):
            take = self._alert
        if take is None or not isinstance(data, dict):
            return []
        stream = self._streams.pop(name, None) or _Stream()
        self._streams[name] = stream  # the last one heard of is the last one forgotten
        messages = take(name, stream, data, str(event["time"]))
        stream.topics.update(message.topic for message in messages if message.retain)
        return messages + self._forget() if stream.state in _OVER else messages

    def is_muted(self, event: Mapping[str, Any]) -> bool:
        """Whether an event is of an alert that is muted and was not open before; to be asked before ``take``."""
        data = event["data"]
        if not self._skip_muted or not str(event["type"]).endswith(".alert") or not data.get("muted"):
            return False
        stream = self._streams.get(str(event["subject"]))
        return stream is None or data.get("id") not in stream.alerts.get(str(data.get("label", "")), {})

    def _status(self, name: str, stream: _Stream, data: Mapping[str, Any], time: str) -> list[Message]:
        state = str(data.get("state", ""))
        if state == "gap":  # it happened; it is no state to be in
            return []
        if state != stream.state:
            stream.state, stream.since = state, time
        facts = {"state": state, "reason": data.get("reason", ""), "since": stream.since}
        found = self._discovery.stream(name) if self._discovery and "models" in data else []
        return [*found, _retained(self._topics.status(name), facts), *self._closed(name, stream, state, time)]

    def _closed(self, name: str, stream: _Stream, state: str, time: str) -> list[Message]:
        """Of a stream that is over nothing is open."""
        if state not in _OVER:
            return []
        messages = []
        if stream.segment:
            stream.segment = ""
            messages.append(self._silent(name, time, f"stream {state}"))
        for label, findings in stream.alerts.items():
            if findings:
                last = next(reversed(findings.values()))
                findings.clear()
                messages.append(self._alert_state(name, label, {**last, "reason": f"stream {state}"}, 0, time))
        return messages

    def _segment(self, name: str, stream: _Stream, data: Mapping[str, Any], time: str) -> list[Message]:
        found = self._discovery.genre(name) if self._discovery else []
        if data.get("phase") == "closed":
            # Where the genre changed, the next segment follows at once; of an earlier one nobody asks any more.
            if data.get("reason") == "changed" or stream.segment not in {"", data.get("id")}:
                return found
            stream.segment = ""
            return [*found, self._silent(name, time, str(data.get("reason", "")))]
        stream.segment = str(data.get("id", ""))
        probability = data.get("probability")
        facts = {
            "label": data.get("label"),
            "probability": probability.get("mean") if isinstance(probability, dict) else None,
            "since": data.get("started_at") or time,
            **_attributes(data),
        }
        return [*found, _retained(self._topics.genre(name), facts)]

    def _silent(self, name: str, time: str, reason: str) -> Message:
        return _retained(
            self._topics.genre(name), {"label": None, "probability": None, "since": time, "reason": reason}
        )

    def _alert(self, name: str, stream: _Stream, data: Mapping[str, Any], time: str) -> list[Message]:
        label, identifier = str(data.get("label", "")), str(data.get("id", ""))
        findings = stream.alerts.setdefault(label, {})
        muted = self._skip_muted and bool(data.get("muted"))
        if muted and identifier not in findings:
            return []
        if muted or data.get("phase") == "closed":
            findings.pop(identifier, None)
        else:
            findings[identifier] = data
        shown = next(reversed(findings.values()), data)
        found = self._discovery.alert(name, label) if self._discovery else []
        return [*found, self._alert_state(name, label, shown, len(findings), time)]

    def _acknowledged(self, name: str, stream: _Stream, data: Mapping[str, Any], time: str) -> list[Message]:
        """Show at once on an open alert that somebody has seen it; its next event says so too."""
        seen = {key: data[key] for key in ("by", "at", "note") if key in data}
        messages = []
        for label, findings in stream.alerts.items():
            identifier = str(data.get("alert_id", ""))
            if identifier in findings:
                findings[identifier] = {**findings[identifier], "acknowledged": seen}
                shown = next(reversed(findings.values()))
                messages.append(self._alert_state(name, label, shown, len(findings), time))
        return messages

    def _alert_state(self, name: str, label: str, data: Mapping[str, Any], opened: int, time: str) -> Message:
        probability = data.get("probability")
        facts = {
            "state": "ON" if opened else "OFF",
            "label": label,
            "open": opened,
            "probability": probability.get("peak") if isinstance(probability, dict) else None,
            "since": (data.get("started_at") if opened else data.get("ended_at")) or time,
            **_attributes(data),
        }
        return _retained(self._topics.alert(name, label), facts)

    def _caught_up(self, streams: Mapping[str, Mapping[str, Any]], time: str) -> list[Message]:
        """Take the state of streams that began before anybody listened."""
        messages = []
        for name, facts in streams.items():
            stream = self._streams.setdefault(name, _Stream())
            if stream.state:
                continue
            heard = {"models": ()} if "windows" in facts else {}
            told = self._status(name, stream, {"state": facts.get("state", ""), "reason": "", **heard}, time)
            stream.topics.update(message.topic for message in told)
            messages += told
        return messages

    def _compared(self, streams: Iterable[str], sources: Iterable[str], time: str) -> list[Message]:
        """Call those ended that the daemon has no more, for whatever reason nobody said so."""
        known = {*streams, *sources}
        messages = []
        for name, stream in self._streams.items():
            stream.absent = 0 if name in known or stream.state in _OVER else stream.absent + 1
            if stream.absent >= _ABSENT:
                gone = {"state": "ended", "reason": "the daemon has it no more"}
                messages += self._status(name, stream, gone, time)
                stream.topics.update(message.topic for message in messages)
        return messages

    def _forget(self) -> list[Message]:
        """Remove the oldest of those that are over from the broker, so that ever new names do not litter it."""
        over = [name for name, stream in self._streams.items() if stream.state in _OVER]
        messages = []
        for name in over[: max(0, len(over) - self._keep_ended)]:
            stream = self._streams.pop(name)
            announced = self._discovery.forget(name) if self._discovery else []
            own = [topic for topic in sorted(stream.topics) if topic.startswith(f"{self._topics.of(name)}/")]
            messages += [*announced, *(Message(topic, b"", retain=True) for topic in own)]
        return messages


def _attributes(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in _ATTRIBUTES if key in data}


def _retained(topic: str, facts: Mapping[str, Any]) -> Message:
    return Message(topic, json.dumps(facts).encode(), retain=True)

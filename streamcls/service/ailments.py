"""What is wrong with a daemon, told from its own figures, the worst first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ailments"]

_NEARLY: Final = 0.8
"""Of the audio that may wait for a worker."""
_WAITING: Final = 5_000
"""Deliveries in the queue to the bus, which has room for twice as many."""
_STALE_S: Final = 60.0
"""A running stream without a window for so long; the longest windows are far shorter."""
_AWAITED_S: Final = 60.0
"""After the start, for what a source says that it waits for, such as a file that is to be followed."""
_UNDELIVERED_S: Final = 60.0
"""An event that a subscriber has taken and not delivered for so long."""
_LONGEST_REASON: Final = 200
_REMEDY: Final = "give the daemon more cores, fewer streams or a longer stride"


def ailments(status: Mapping[str, Any]) -> list[str]:
    """Return all that is wrong, as sentences; an empty list for a daemon that is well.

    Parameters
    ----------
    status
        What the operation ``status`` tells; members of another version that are missing are passed over.
    """
    return [
        *_threads(status),
        *_parts(status),
        *_sources(status),
        *_workers(status),
        *_streams(status),
        *_subscribers(status),
    ]


def _threads(status: Mapping[str, Any]) -> Iterator[str]:
    for facts in status.get("stuck") or ():
        told = "".join(f", {word} {facts[key]}" for key, word in (("doing", "with"), ("call", "in")) if facts.get(key))
        yield (
            f"thread {facts['name']}: no progress for {facts['silent_s']:.0f} s{told}; "
            "streamcls status --stacks shows all threads"
        )


def _parts(status: Mapping[str, Any]) -> Iterator[str]:
    for part in ("journal", "evidence", "audit"):
        facts = _table(status, part)
        if facts.get("state", "ok") != "ok":
            yield f"{part}: {facts['state']}{_because(facts)}"
    security = _table(status, "security")
    if security.get("alive") is False:
        yield "security: the authenticator has stopped; nobody is let in"
    last = _table(_table(status, "reload"), "last")
    if last.get("state") == "refused":
        yield (
            f"reload: the configuration was refused{_because(last)}; streamcls check shows what is wrong with it. "
            "Until it is mended a restart ends with status 78"
        )
    waiting = status.get("waiting", 0)
    if waiting > _WAITING:
        yield f"bus: {waiting} deliveries wait; does the journal's disk answer?"


def _sources(status: Mapping[str, Any]) -> Iterator[str]:
    for name, facts in sorted(_table(status, "sources").items()):
        late = facts["state"] == "connecting" and facts.get("reason") and status.get("uptime_s", 0.0) > _AWAITED_S
        if late or facts["state"] in {"failed", "retrying", "stalled"}:
            yield f"source {name}: {facts['state']}{_because(facts)}"


def _workers(status: Mapping[str, Any]) -> Iterator[str]:
    for name, facts in sorted(_table(status, "workers").items()):
        shed, stretch, factor = facts.get("shed", 0), facts.get("stride_factor", 1), facts.get("realtime_factor")
        done = [f"only each {stretch}. window is classified"] if stretch > 1 else []
        done += [f"{shed} of {facts.get('streams', shed)} streams are given up for now"] if shed else []
        if done:
            room = f"; it can do {factor:.2f} times what comes" if factor is not None else ""
            yield f"{name}: overloaded: {', '.join(done)}{room}; {_REMEDY}"


def _streams(status: Mapping[str, Any]) -> Iterator[str]:
    room_s = status.get("buffer_s", 0.0)
    for name, facts in sorted(_table(status, "streams").items()):
        state = facts["state"]
        if state in {"failed", "stalled"}:
            yield f"stream {name}: {state}{_because(facts)}"
        elif state == "running" and facts.get("window_age_s", 0.0) > _STALE_S:
            yield f"stream {name}: no window for {facts['window_age_s']:.0f} s"
        # A source that waits for room is meant to fill it.
        if room_s and facts.get("live", True) and facts.get("waiting_s", 0.0) > _NEARLY * room_s:
            yield (
                f"stream {name}: {facts['waiting_s']:.1f} s behind, of {room_s:g} s that there is room for; {_REMEDY}"
            )


def _subscribers(status: Mapping[str, Any]) -> Iterator[str]:
    for name, facts in sorted(_table(status, "subscribers").items()):
        if facts.get("state") in {"hung", "open", "failed"}:
            yield f"subscriber {name}: {facts['state']}{_because(facts)}"
        elif facts.get("alive") is False:
            yield f"subscriber {name}: it has ended{_because(facts)}"
        yield from (f"subscriber {name}: {sentence}" for sentence in _deliveries(facts))


def _deliveries(facts: Mapping[str, Any]) -> Iterator[str]:
    """Tell of what a subscriber has taken and does not deliver; of what is given up for as long as nothing else gets through."""
    trouble = str(facts.get("trouble", ""))[:_LONGEST_REASON]
    if facts.get("waiting") and facts.get("waited_s", 0.0) > _UNDELIVERED_S:
        because = f": {trouble}" if trouble else ""
        yield f"{facts['waiting']} events wait to be delivered, the oldest for {facts['waited_s']:.0f} s{because}"
    elif trouble and (dead := _table(facts, "counters").get("dead", 0)):
        yield f"the last delivery failed, and {dead:.0f} events are given up, as dead letters: {trouble}"


def _table(status: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = status.get(key)
    return value if isinstance(value, Mapping) else {}


def _because(facts: Mapping[str, Any]) -> str:
    reason = facts.get("reason")
    return f": {str(reason)[:_LONGEST_REASON]}" if reason else ""

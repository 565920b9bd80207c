"""Whether the daemon is well, from how old things are and from what each part says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamcls_prometheus.figures import number, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamcls_prometheus.config import PrometheusConfig
    from streamcls_prometheus.figures import Figures

__all__ = ["ailments"]

_UNDELIVERED_S: Final = 60.0
"""An event that a subscriber has taken and not delivered for so long."""
_BEATS: Final = 3
"""Heartbeats that may be missing."""
_LONGEST_REASON: Final = 200


def ailments(figures: Figures, config: PrometheusConfig, now: float) -> list[str]:
    """Return all that is wrong, as sentences; an empty list for a daemon that is well."""
    beat = figures.beat
    if beat is None:
        return ["nothing was heard of the daemon yet"]
    return [*_silence(figures, now), *_streams(figures, config, now), *_sources(figures, config, now), *_parts(beat)]


def _silence(figures: Figures, now: float) -> Iterator[str]:
    age = now - figures.beat_at
    if age > _BEATS * figures.interval_s:
        yield f"daemon: the last heartbeat came {age:.1f} s ago; one is due every {figures.interval_s:.1f} s"


def _streams(figures: Figures, config: PrometheusConfig, now: float) -> Iterator[str]:
    for name, stream in sorted(figures.streams.items()):
        if (
            stream.state == stream.facts.get("state") == "failed"
        ):  # given up; one that was refused is its sender's affair
            yield f"stream {name}: failed{_because(stream.reason)}"
        elif (
            stream.state in {"running", "stalled"}
            and stream.window_at is not None
            and now - stream.window_at > config.stale_s
        ):
            stalled = f"stalled{_because(stream.reason)}; " if stream.state == "stalled" else ""
            yield f"stream {name}: {stalled}no window for {now - stream.window_at:.1f} s"


def _sources(figures: Figures, config: PrometheusConfig, now: float) -> Iterator[str]:
    for name, source in sorted(figures.sources.items()):
        if source.state == "failed":
            yield f"source {name}: failed{_because(source.reason)}"
        elif source.state == "connecting" and source.reason and now - source.since > config.retrying_s:
            yield f"source {name}: awaited for {now - source.since:.1f} s{_because(source.reason)}"
        elif source.state == "retrying" and now - source.since > config.retrying_s:
            yield f"source {name}: lost for {now - source.since:.1f} s{_because(source.reason)}"


def _parts(beat: Any) -> Iterator[str]:
    stuck = beat.get("stuck")
    for facts in map(table, stuck if isinstance(stuck, list) else ()):
        yield f"thread {facts.get('name')}: no progress"
    if table(beat.get("security")).get("alive") is False:
        yield "security: the authenticator has stopped; nobody is let in"
    for part in ("journal", "evidence", "audit"):
        facts = table(beat.get(part))
        if facts.get("state") == "failed":
            yield f"{part}: failed{_because(facts.get('reason'))}"
    for name, entry in sorted(table(beat.get("subscribers")).items()):
        facts = table(entry)
        if facts.get("state") in {"hung", "open"}:
            yield f"subscriber {name}: {facts['state']}{_because(facts.get('reason'))}"
        elif facts.get("alive") is False:
            yield f"subscriber {name}: it has ended{_because(facts.get('reason'))}"
        waited_s = number(facts.get("waited_s")) or 0.0
        trouble = _because(facts.get("trouble"))
        if facts.get("waiting") and waited_s > _UNDELIVERED_S:
            yield f"subscriber {name}: events wait to be delivered for {waited_s:.0f} s{trouble}"
        elif trouble and table(facts.get("counters")).get("dead"):
            yield f"subscriber {name}: the last delivery failed, and events are given up{trouble}"


def _because(reason: Any) -> str:
    return f": {str(reason)[:_LONGEST_REASON]}" if reason else ""

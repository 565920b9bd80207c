"""A daemon's status as text, for one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamcls.cli.inspect import table

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["alerts_of", "by_trouble", "duration", "genre_of", "lag_s", "rate_of", "size", "status_text", "times"]

_MOST_ROWS: Final = 40
"""Streams, subscribers and clients that are listed; the rest is counted."""
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024.0
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_LEAST_BUSY_S: Final = 0.001
_WHOLE: Final = 10.0
"""From here on decimals tell nothing."""


def duration(seconds: float) -> str:
    """Write a time for people: ``42 s``, ``12 min``, ``3 h 5 min``, ``4 d 2 h``."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def size(count: float) -> str:
    """Write a number of bytes for people."""
    for unit in _UNITS[:-1]:
        if count < _STEP:
            return f"{count:.0f} {unit}"
        count /= _STEP
    return f"{count:.1f} {_UNITS[-1]}"


def lag_s(stream: Mapping[str, Any]) -> float:
    """Return the seconds of audio that wait for a stream's worker."""
    return float(stream.get("waiting_s", 0.0))


def rate_of(stream: Mapping[str, Any]) -> float | None:
    """Return how many times faster than real time a stream's audio was worked on; None where too little was."""
    audio_s, busy_s = (float(stream.get(key, 0.0)) for key in ("audio_s", "busy_s"))
    return audio_s / busy_s if audio_s and busy_s > _LEAST_BUSY_S else None


def times(factor: float | None) -> str:
    """Write how many times something is; the empty string where that is not known."""
    if factor is None:
        return ""
    return f"{factor:.0f}x" if factor >= _WHOLE else f"{factor:.2f}x"


def by_trouble(item: tuple[str, Mapping[str, Any]]) -> tuple[bool, bool, bool, str]:
    """Return what orders streams: in trouble, with open alerts, the others; last those that are shed, which workers count."""
    name, facts = item
    return facts["state"] == "shed", facts["state"] == "running", not facts.get("alerts"), name


def genre_of(stream: Mapping[str, Any]) -> str:
    """Return the labels of the segments that are open on a stream."""
    return ", ".join(str(entry.get("label", "")) for entry in stream.get("segments", ()))


def alerts_of(stream: Mapping[str, Any]) -> str:
    """Return the labels of a stream's open alerts, with what people said of them."""
    return ", ".join(_alert(entry) for entry in stream.get("alerts", ()))


def status_text(status: Mapping[str, Any]) -> str:
    """Lay a status out: what is wrong first, then the daemon, and table after table."""
    lines = [f"WRONG  {sentence}" for sentence in status.get("wrong", ())] or ["All is well."]
    blocks = ["\n".join(lines), _daemon(status)]
    blocks += [_sources(status), _workers(status), _streams(status), _subscribers(status), _clients(status)]
    return "\n\n".join(block for block in blocks if block)


def _alert(entry: Mapping[str, Any]) -> str:
    marks = [word for word in ("acknowledged", "muted") if entry.get(word)]
    return f"{entry.get('label', '')}" + (f" ({', '.join(marks)})" if marks else "")


def _daemon(status: Mapping[str, Any]) -> str:
    rows = {
        "daemon": f"{status['name']}, streamcls {status['version']}, process {status['pid']}, "
        f"up {duration(status['uptime_s'])}, {size(status['resident_bytes'])}, {len(status.get('threads', ()))} threads",
        "config": f"{status.get('config') or 'the embedded demo'}; state in {status.get('state_dir')}",
        "bus": f"{status['published']} published, {status['waiting']} waiting, at "
        + (", ".join(status.get("endpoints", ())) or "no endpoint"),
    }
    last = status.get("last_event")
    if last:
        rows["last event"] = f"{last['kind']} of {last['stream']}, {duration(last['age_s'])} ago"
    journal = status.get("journal")
    if journal:
        rows["journal"] = f"{journal['state']}, position {journal['position']}, {journal['unwritten']} unwritten"
    else:
        rows["journal"] = "off"
    evidence, audit = status.get("evidence"), status.get("audit")
    if evidence:
        rows["evidence"] = (
            f"{evidence['state']}, {evidence['clips']} clips, {size(evidence['bytes'])}, "
            f"{evidence['waiting']} waiting, {evidence['given_up']} given up"
        )
    if audit:
        rows["audit"] = f"{audit['state']}, {audit['records']} records"
    reload = status.get("reload") or {}
    if reload.get("last"):
        last = reload["last"]
        rows["reload"] = f"{last['state']} at {last['time']}, {reload['count']} so far, {reload['refused']} refused"
        if last["waiting"]:
            rows["reload"] += f"; waiting for a restart: {', '.join(last['waiting'])}"
    width = max(map(len, rows))
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in rows.items())


def _sources(status: Mapping[str, Any]) -> str:
    rows = [[name, facts["state"], facts.get("reason", "")] for name, facts in sorted(status["sources"].items())]
    return _listing(rows, ["SOURCE", "STATE", "REASON"])


def _workers(status: Mapping[str, Any]) -> str:
    rows = [
        [name, str(facts["streams"]), "" if (busy := facts.get("utilisation")) is None else f"{busy:.0%}",
         times(facts.get("realtime_factor")), f"{facts['lag_s']:.1f} s", f"x{facts['stride_factor']}", str(facts["shed"])]
        for name, facts in sorted(status.get("workers", {}).items())
    ]  # fmt: skip
    return _listing(rows, ["WORKER", "STREAMS", "BUSY", "CAN DO", "LAG", "STRIDE", "SHED"])


def _streams(status: Mapping[str, Any]) -> str:
    return _listing(
        [_stream(name, facts) for name, facts in sorted(status["streams"].items(), key=by_trouble)],
        ["STREAM", "STATE", "LAG", "WINDOW", "RATE", "GAPS", "LOST", "DROPPED", "GENRE", "ALERTS"],
    )


def _stream(name: str, facts: Mapping[str, Any]) -> list[str]:
    rate, age = rate_of(facts), facts.get("window_age_s")
    return [
        name,
        facts["state"],
        f"{lag_s(facts):.1f} s",
        "" if age is None else f"{duration(age)} ago",
        "" if rate is None else f"{rate:.0f}x",
        str(facts.get("gaps", 0)),
        str(facts.get("lost_samples", 0)),
        str(facts.get("dropped_samples", 0)),
        genre_of(facts),
        alerts_of(facts),
    ]


def _subscribers(status: Mapping[str, Any]) -> str:
    rows = [
        [name, facts["state"], str(facts["handled"]), str(facts["failed"]), str(facts["missed"]), str(facts["behind"]),
         _undelivered(facts), str(facts["restarts"]), facts.get("reason") or facts.get("trouble", "")]
        for name, facts in sorted(status["subscribers"].items())
    ]  # fmt: skip
    return _listing(
        rows, ["SUBSCRIBER", "STATE", "HANDLED", "FAILED", "MISSED", "BEHIND", "UNDELIVERED", "RESTARTS", "REASON"]
    )


def _undelivered(facts: Mapping[str, Any]) -> str:
    """Tell of what a subscriber has taken and not delivered, and of what it has given up; nothing where it has no such thing."""
    waiting, dead = facts.get("waiting"), facts.get("counters", {}).get("dead")
    told = [] if waiting is None else [str(waiting)]
    told += [f"for {duration(facts['waited_s'])}"] if waiting and "waited_s" in facts else []
    told += [f"({dead:.0f} given up)"] if dead else []
    return " ".join(told)


def _clients(status: Mapping[str, Any]) -> str:
    rows = [
        [name, ", ".join(f"{value} {key}" for key, value in sorted(counts.items()))]
        for name, counts in sorted(status.get("clients", {}).items())
    ]
    return _listing(rows, ["CLIENT", "ASKED"])


def _listing(rows: list[list[str]], header: list[str]) -> str:
    if not rows:
        return ""
    more = len(rows) - _MOST_ROWS
    text = table(rows[:_MOST_ROWS], header)
    return f"{text}\n… and {more} more (--json has all)" if more > 0 else text

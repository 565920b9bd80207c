"""The questions about segments and alerts, and their answers from the store."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from streamcls_sqlite.answer import Answer, Column
from streamcls_sqlite.listing import Found, listed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from streamcls_sqlite.period import Period, Zone

__all__ = [
    "GROUPS",
    "Filter",
    "alerts",
    "counted",
    "findings",
    "genres",
    "longest",
    "open_findings",
    "played",
    "stream_condition",
]

GROUPS: Final = {
    "label": Column("label"),
    "day": Column("day", "day"),
    "hour": Column("hour", "count"),
    "stream": Column("stream"),
    "severity": Column("severity"),
    "action": Column("action"),
    "model": Column("model"),
}
"""By what alerts can be counted. ``hour`` is the hour of the day."""

_COLUMNS: Final = "id, stream, model, label, severity, action, phase, reason, mean, peak, began, ended, more"


@dataclass(frozen=True, slots=True)
class Filter:
    """What a question is about: streams and labels are names or shell patterns; empty: all."""

    period: Period
    streams: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def stream_condition(column: str, patterns: tuple[str, ...]) -> tuple[str, list[str]]:
    """Return a condition in SQL, true where the column is one of the names or fits one of the shell patterns, and its values."""
    if not patterns:
        return "1", []
    plain = [pattern for pattern in patterns if not set(pattern) & set("*?[")]
    globs = [pattern.replace("[!", "[^") for pattern in patterns if set(pattern) & set("*?[")]
    parts = [f"{column} IN ({', '.join('?' * len(plain))})"] if plain else []
    parts += [f"{column} GLOB ?"] * len(globs)
    return f"({' OR '.join(parts)})", plain + globs


def findings(database: sqlite3.Connection, thing: str, wanted: Filter) -> Iterator[Found]:
    """Yield what overlaps the period, uncut, in order of beginning.

    The index is by beginning; the longest finding there is says how far before the period one may begin that reaches into it.
    """
    longest = database.execute(
        "SELECT ended - began FROM findings WHERE thing = ? ORDER BY ended - began DESC LIMIT 1", (thing,)
    ).fetchone()
    if longest is None:
        return
    streams, names = stream_condition("stream", wanted.streams)
    labels, more = stream_condition("label", wanted.labels)
    since, until = wanted.period.since, wanted.period.until
    rows = database.execute(
        f"""
        SELECT {_COLUMNS} FROM findings
        WHERE thing = ? AND began >= ? AND began < ? AND (ended > ? OR began >= ?) AND {streams} AND {labels}
        ORDER BY began, stream, id
        """,  # noqa: S608 - conditions with placeholders
        (thing, since - longest[0], until, since, since, *names, *more),
    )
    for row in rows:
        yield Found(*row)


def played(database: sqlite3.Connection, wanted: Filter) -> Answer:
    """Say what played: segments, cut at the period's borders."""
    columns = (
        Column("stream"),
        Column("began", "time"),
        Column("ended", "time"),
        Column("duration", "seconds"),
        Column("label"),
        Column("probability", "number"),
        Column("state"),
        Column("model"),
        Column("id", in_table=False),
    )
    rows = []
    for found in findings(database, "segment", wanted):
        began, ended = wanted.period.clip(found.began, found.ended)
        state = "closed" if found.phase == "closed" else "open"
        rows.append((found.stream, began, ended, ended - began, found.label, found.mean, state, found.model, found.id))
    return Answer(columns, rows)


def genres(database: sqlite3.Connection, wanted: Filter, zone: Zone, *, by_day: bool) -> Answer:
    """Return the time of each label, and its share of all segments of its stream (day, model) in the period."""
    times: dict[tuple[Any, ...], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for found in findings(database, "segment", Filter(wanted.period, wanted.streams)):
        began, ended = wanted.period.clip(found.began, found.ended)
        pieces = zone.days(began, ended) if by_day else [(None, began, ended)]
        for day, first, last in pieces:
            key = (day, found.stream, found.model) if by_day else (found.stream, found.model)
            times[key][found.label] += last - first
    rows = []
    for key in sorted(times):
        total = sum(times[key].values())
        for label, seconds in sorted(times[key].items(), key=lambda item: (-item[1], item[0])):
            if not wanted.labels or any(fnmatchcase(label, pattern) for pattern in wanted.labels):
                rows.append((*key, label, seconds, seconds / total if total else 0.0))
    head = (*([Column("day", "day")] if by_day else []), Column("stream"), Column("model"))
    return Answer((*head, Column("label"), Column("time", "seconds"), Column("share", "share")), rows)


def alerts(database: sqlite3.Connection, wanted: Filter) -> Answer:
    """List the alerts that began in the period or reach into it, each whole."""
    return listed(database, list(findings(database, "alert", wanted)))


def counted(database: sqlite3.Connection, wanted: Filter, zone: Zone, by: tuple[str, ...]) -> Answer:
    """Count how many alerts began in the period, by the groups of :data:`GROUPS`; how long they lasted in all and at most."""
    sums: dict[tuple[Any, ...], list[float]] = {}
    for found in findings(database, "alert", wanted):
        if found.began < wanted.period.since:
            continue
        local = zone.at(found.began)
        values = {"day": local.date(), "hour": local.hour}
        key = tuple(values[name] if name in values else getattr(found, name) for name in by)
        seconds = found.ended - found.began
        count, still_open, total, longest = sums.get(key, (0, 0, 0.0, 0.0))
        is_open = found.phase != "closed"
        sums[key] = [count + 1, still_open + is_open, total + seconds, max(longest, seconds)]
    columns = (
        *(GROUPS[name] for name in by),
        Column("alerts", "count"),
        Column("open", "count"),
        Column("time", "seconds"),
        Column("longest", "seconds"),
    )
    ordered = sorted(sums, key=lambda key: tuple((part is None, part) for part in key))
    return Answer(columns, [(*key, *sums[key]) for key in ordered])


def longest(database: sqlite3.Connection, wanted: Filter, thing: str, count: int) -> Answer:
    """Return the longest segments or alerts, each whole, of those that overlap the period."""
    found = sorted(findings(database, thing, wanted), key=lambda item: (item.began - item.ended, item.began))
    return listed(database, found[:count])


def open_findings(database: sqlite3.Connection, wanted: Filter, thing: str) -> Answer:
    """Return what is open, the oldest first, whenever it began."""
    streams, names = stream_condition("stream", wanted.streams)
    labels, more = stream_condition("label", wanted.labels)
    rows = database.execute(
        f"SELECT {_COLUMNS} FROM findings WHERE phase <> 'closed' AND thing = ? AND {streams} AND {labels} ORDER BY began, id",  # noqa: S608 - as above
        (thing, *names, *more),
    )
    return listed(database, [Found(*row) for row in rows])

"""When streams were up and when not, from their statuses and the daemon's signs of life."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from streamcls_sqlite.answer import Answer, Column
from streamcls_sqlite.questions import stream_condition

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from streamcls_sqlite.questions import Filter

__all__ = ["Span", "outages", "spans", "uptime"]

_DOWN: Final = frozenset({"connecting", "retrying", "stalled", "failed", "ended"})
_OVER: Final = "end of stream"
_NO_DAEMON: Final = "no daemon"
_SILENT_S: Final = 60.0
"""A daemon of which nothing was heard for so long, and for three of its heartbeats, is taken to have stopped."""
_BEATS: Final = 3


@dataclass(frozen=True, slots=True)
class Span:
    """A time for which a stream was in one state.

    Attributes
    ----------
    began, ended
        Unix times in seconds.
    state
        That of ``stream.status``, or ``no daemon``: none was running.
    up
        True: audio came. False: it should have. None: it was over, as a file ends.
    """

    stream: str
    began: float
    ended: float
    state: str
    reason: str
    up: bool | None


@dataclass(frozen=True, slots=True)
class _Epoch:
    last: float
    alive: bool
    beats: bool


@dataclass(frozen=True, slots=True)
class _Status:
    stream: str
    epoch: int
    time: float
    state: str
    reason: str


def spans(database: sqlite3.Connection, wanted: Filter, now: float) -> Iterator[Span]:
    """Yield what the streams were and when, within the period and up to ``now``, in order of stream and time.

    A stream is known from its first status on. Where its daemon ended without a word, it was down from that daemon's last sign
    of life until its next status; that is known only where heartbeats are kept.
    """
    epochs = _epochs(database, now)
    until = min(wanted.period.until, now)
    for stream, statuses in groupby(_statuses(database, wanted), key=lambda status: status.stream):
        for span in _joined(_life(stream, list(statuses), epochs, now)):
            began, ended = max(span.began, wanted.period.since), min(span.ended, until)
            if began < ended:
                yield Span(stream, began, ended, span.state, span.reason, span.up)


def uptime(database: sqlite3.Connection, wanted: Filter, now: float) -> Answer:
    """How long each stream was up and down; ``known`` is the sum of both, ``share`` what of it the stream was up."""
    columns = (
        Column("stream"),
        Column("known", "seconds"),
        Column("up", "seconds"),
        Column("down", "seconds"),
        Column("share", "share"),
        Column("outages", "count"),
        Column("longest", "seconds"),
        Column("gaps", "count"),
        Column("lost", "seconds"),
    )
    gaps = _gaps(database, wanted)
    rows = []
    for stream, items in groupby(spans(database, wanted, now), key=lambda span: span.stream):
        known = [span for span in items if span.up is not None]
        up = sum(span.ended - span.began for span in known if span.up)
        down = [stretch[-1].ended - stretch[0].began for stretch in _stretches(known)]
        total = up + sum(down)
        share = up / total if total else None
        count, lost = gaps.get(stream, (0, 0.0))
        rows.append((stream, total, up, sum(down), share, len(down), max(down, default=0.0), count, lost))
    return Answer(columns, rows)


def outages(database: sqlite3.Connection, wanted: Filter, now: float) -> Answer:
    """List each time that a stream was not up, with the states that it went through and the first one's reason."""
    columns = (
        Column("stream"),
        Column("began", "time"),
        Column("ended", "time"),
        Column("duration", "seconds"),
        Column("states"),
        Column("reason"),
    )
    rows = []
    for stream, items in groupby(spans(database, wanted, now), key=lambda span: span.stream):
        for stretch in _stretches(span for span in items if span.up is not None):
            began, ended = stretch[0].began, stretch[-1].ended
            states = ", ".join(dict.fromkeys(span.state for span in stretch))
            rows.append((stream, began, ended, ended - began, states, stretch[0].reason or None))
    return Answer(columns, rows)


def _epochs(database: sqlite3.Connection, now: float) -> dict[int, _Epoch]:
    newest = dict(database.execute("SELECT source, max(number) FROM epochs GROUP BY source"))
    return {
        number: _Epoch(
            last,
            alive=newest[source] == number
            and (heartbeat is None or now - last < max(_SILENT_S, _BEATS * (beat_s or 0.0))),
            beats=heartbeat is not None,
        )
        for number, source, last, heartbeat, beat_s in database.execute(
            "SELECT number, source, last, heartbeat, beat_s FROM epochs"
        )
    }


def _statuses(database: sqlite3.Connection, wanted: Filter) -> list[_Status]:
    """Return the statuses of the period, and before them the last one before it, in order of stream and publication."""
    condition, names = stream_condition("stream", wanted.streams)
    columns = "stream, epoch, time, state, reason, sequence"
    within = database.execute(
        f"SELECT {columns} FROM statuses WHERE {condition} AND state <> 'gap' AND time >= ? AND time < ?",  # noqa: S608 - placeholders
        (*names, wanted.period.since, wanted.period.until),
    ).fetchall()
    streams = database.execute(f"SELECT DISTINCT stream FROM statuses WHERE {condition}", names).fetchall()  # noqa: S608 - as above
    before = [
        row
        for (stream,) in streams
        for row in database.execute(
            f"SELECT {columns} FROM statuses WHERE stream = ? AND state <> 'gap' AND time < ? ORDER BY epoch DESC, sequence DESC LIMIT 1",  # noqa: S608 - as above
            (stream, wanted.period.since),
        )
    ]
    rows = sorted(before + within, key=lambda row: (row[0], row[1], row[5]))
    return [_Status(*row[:5]) for row in rows]


def _life(stream: str, statuses: Sequence[_Status], epochs: dict[int, _Epoch], now: float) -> Iterator[Span]:
    """Yield the spans between statuses; times never go back, since a clock may a little."""
    up: bool | None = None
    at = float("-inf")
    for index, status in enumerate(statuses):
        following = statuses[index + 1] if index + 1 < len(statuses) else None
        at = max(at, status.time)
        end = max(at, following.time) if following else max(at, now)
        if status.state == "running":
            up = True
        elif status.state == "ended" and status.reason == _OVER and up is not False:
            up = None
        elif status.state in _DOWN:
            up = False
        epoch = epochs.get(status.epoch, _Epoch(status.time, alive=False, beats=True))
        gone = not epoch.alive if following is None else following.epoch != status.epoch
        last = min(max(at, epoch.last), end) if gone and epoch.beats and up else end
        yield Span(stream, at, last, status.state, status.reason, up)
        if last < end:
            yield Span(stream, last, end, _NO_DAEMON, "nothing was heard of the daemon", up=False)


def _joined(items: Iterator[Span]) -> Iterator[Span]:
    """Join spans of the same state, such as two words of ``running``."""
    held: Span | None = None
    for span in items:
        if held is not None and held.state == span.state and held.up == span.up and held.ended == span.began:
            held = Span(held.stream, held.began, span.ended, held.state, held.reason, held.up)
            continue
        if held is not None:
            yield held
        held = span
    if held is not None:
        yield held


def _stretches(known: Iterable[Span]) -> list[list[Span]]:
    """Return the times of being down, each with its states, which follow each other."""
    found: list[list[Span]] = []
    for span in known:
        if span.up:
            continue
        if found and found[-1][-1].ended == span.began:
            found[-1].append(span)
        else:
            found.append([span])
    return found


def _gaps(database: sqlite3.Connection, wanted: Filter) -> dict[str, tuple[int, float]]:
    condition, names = stream_condition("stream", wanted.streams)
    rows = database.execute(
        f"""
        SELECT stream, count(*), coalesce(sum(lost_s), 0) FROM statuses
        WHERE {condition} AND state = 'gap' AND time >= ? AND time < ? GROUP BY stream
        """,  # noqa: S608 - as above
        (*names, wanted.period.since, wanted.period.until),
    )
    return {stream: (count, lost) for stream, count, lost in rows}

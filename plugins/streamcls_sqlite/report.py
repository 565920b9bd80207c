"""``streamcls report``: what the event store knows, as a table, CSV, JSON or a picture."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from streamcls_sqlite.answer import Answer, render
from streamcls_sqlite.files import default_path, reading
from streamcls_sqlite.period import Period, Zone, moment
from streamcls_sqlite.questions import GROUPS, Filter, alerts, counted, genres, longest, open_findings, played

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

__all__ = ["report"]

F = TypeVar("F", bound="Callable[..., Any]")

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_THINGS: Final = {"segments": "segment", "alerts": "alert"}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is common to all questions."""

    database: Path
    wanted: Filter
    zone: Zone
    now: float
    how: str
    png: Path | None

    def reply(self, question: Callable[[sqlite3.Connection], Answer]) -> None:
        """Answer on standard output, or draw the period."""
        with reading(self.database) as database:
            if self.png is not None:
                from streamcls_sqlite.timeline import draw

                width, height = draw(database, self.wanted, self.zone, self.now, self.png)
                click.echo(f"{self.png}: {width} x {height} pixels", err=True)
                return
            answer = question(database)
        if answer.rows or self.how != "table":
            click.echo(render(answer, self.how, self.zone))
        else:
            click.echo("nothing found", err=True)


def _common(function: F) -> F:
    for option in reversed(
        (
            click.option(
                "--stream", "streams", multiple=True, metavar="NAME", help="A stream or a shell pattern; repeatable."
            ),
            click.option(
                "--format", "how", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True
            ),
            click.option(
                "--timezone", default="", metavar="ZONE", help="Of days and times, e.g. Europe/Berlin. [this machine's]"
            ),
            click.option(
                "--database",
                type=_FILE,
                envvar="STREAMCLS_DATABASE",
                show_envvar=True,
                help="The store, path of the subscriber sqlite. [store.db in the daemon's usual state folder]",
            ),
        )
    ):
        function = option(function)
    return function


def _period(since: str) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(
            (
                click.option("--day", metavar="DAY", help="A whole day: today, yesterday, 2026-01-31."),
                click.option(
                    "--since",
                    metavar="TIME",
                    help=f"From then on: 24h or 7d ago, yesterday, 2026-01-31T18:30. [{since}]",
                ),
                click.option("--until", metavar="TIME", help="Before then; a day stands for its beginning. [now]"),
                click.option(
                    "--png", type=_FILE, help="Draw segments, alerts and outages of the period instead of a table."
                ),
            )
        ):
            function = option(function)
        return function

    return decorate


_labels: Final = click.option(
    "--label", "labels", multiple=True, metavar="LABEL", help="A label or a shell pattern; repeatable."
)


def _asked(  # noqa: PLR0917 - click passes them by name
    default_since: str,
    database: Path | None = None,
    streams: tuple[str, ...] = (),
    how: str = "table",
    timezone: str = "",
    day: str | None = None,
    since: str | None = None,
    until: str | None = None,
    png: Path | None = None,
    labels: tuple[str, ...] = (),
) -> _Asked:
    now = time.time()
    try:
        zone = Zone(timezone)
        if day is not None:
            if since is not None or until is not None:
                raise click.UsageError("--day is a whole day; it goes without --since and --until")
            period = Period.of_day(day, zone, now)
        else:
            period = Period(moment(since or default_since, zone, now), moment(until or "now", zone, now))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if period.since >= period.until:
        raise click.UsageError("the period is empty: --since is not before --until")
    return _Asked(database or default_path(), Filter(period, streams, labels), zone, now, how, png)


@click.group(short_help="Ask the event store what happened.")
def report() -> None:
    """Answer from the database that the subscriber sqlite writes, also while it writes.

    \b
    streamcls report played --stream radio-1 --day yesterday
    streamcls report alerts --by label,day --since 7d
    streamcls report genres --stream 'radio-*' --since 30d --format csv
    streamcls report uptime --since 7d
    streamcls report played --day yesterday --png yesterday.png
    """  # noqa: D301 - click wants the character itself


@report.command("played", short_help="What played when.")
@_common
@_period("today")
@_labels
def _played(**options: Any) -> None:
    """Segments of genre, cut at the ends of the period."""
    asked = _asked("today", **options)
    asked.reply(lambda database: played(database, asked.wanted))


def _groups(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in (value or "").split(",") if part.strip()))
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: expected some of {', '.join(GROUPS)}")
    return names


@report.command("alerts", short_help="Alerts, listed or counted.")
@_common
@_period("7d")
@_labels
@click.option("--by", callback=_groups, metavar="GROUPS", help=f"Count by some of {', '.join(GROUPS)}.")
def _alerts(by: tuple[str, ...], **options: Any) -> None:
    """Alerts that overlap the period; with --by the number of those that began in it, and how long they lasted."""
    asked = _asked("7d", **options)
    asked.reply(
        lambda database: counted(database, asked.wanted, asked.zone, by) if by else alerts(database, asked.wanted)
    )


@report.command("genres", short_help="The share of time of each genre.")
@_common
@_period("7d")
@_labels
@click.option("--by-day", is_flag=True, help="For each day; a segment over midnight is cut there.")
def _genres(*, by_day: bool, **options: Any) -> None:
    """Time of each genre, and its share of all that was classified on the stream."""
    asked = _asked("7d", **options)
    asked.reply(lambda database: genres(database, asked.wanted, asked.zone, by_day=by_day))


@report.command("uptime", short_help="How long streams were up and down.")
@_common
@_period("7d")
def _uptime(**options: Any) -> None:
    """How long each stream was up and down, the longest outage, and audio that was lost in gaps."""
    from streamcls_sqlite.uptime import uptime

    asked = _asked("7d", **options)
    asked.reply(lambda database: uptime(database, asked.wanted, asked.now))


@report.command("outages", short_help="Each time that a stream was down.")
@_common
@_period("7d")
def _outages(**options: Any) -> None:
    """When streams were down, and why."""
    from streamcls_sqlite.uptime import outages

    asked = _asked("7d", **options)
    asked.reply(lambda database: outages(database, asked.wanted, asked.now))


@report.command("longest", short_help="The longest segments or alerts.")
@click.argument("things", type=click.Choice(list(_THINGS)), default="segments")
@_common
@_period("7d")
@_labels
@click.option("--count", type=click.IntRange(1, 10_000), default=10, show_default=True)
def _longest(things: str, count: int, **options: Any) -> None:
    """List the longest segments (or alerts) that overlap the period."""
    asked = _asked("7d", **options)
    asked.reply(lambda database: longest(database, asked.wanted, _THINGS[things], count))


@report.command("open", short_help="What is open now.")
@click.argument("things", type=click.Choice(list(_THINGS)), default="alerts")
@_common
@_labels
def _open(things: str, **options: Any) -> None:
    """Alerts (or segments) that are open, the oldest first."""
    asked = _asked("1d", **options)
    asked.reply(lambda database: open_findings(database, asked.wanted, _THINGS[things]))

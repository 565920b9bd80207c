"""``ack``, ``mute``, ``unmute`` and ``mutes``: what people say about alerts, to a running daemon."""

from __future__ import annotations

import getpass
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from streamcls.cli import completion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["moment", "register", "seconds"]

_DEFAULT: Final = "tcp://127.0.0.1:5758"
_TIMEOUT_S: Final = 5.0
_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_TIME_OF_DAY: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def _endpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    option = click.option(
        "--from",
        "endpoint",
        metavar="ENDPOINT",
        default=_DEFAULT,
        show_default=True,
        help="Where the daemon answers ([bus] replay).",
    )
    keys = click.option(
        "--keys", "keys_file", type=_FILE, metavar="FILE", help="Client's keys, as streamcls keys add made them."
    )
    return option(keys(function))


def _person(function: Callable[..., Any]) -> Callable[..., Any]:
    by = click.option("--by", metavar="NAME", default=None, help="Who says so; by default the user's name.")
    note = click.option("--note", metavar="TEXT", default="", help="Why; it stands in the events.")
    return by(note(function))


def seconds(text: str) -> float:
    """Return the seconds of a span such as ``90s``, ``45m``, ``2h``, ``1h30m``, ``3d`` or ``1w``; raises ValueError."""
    compact = text.replace(" ", "").lower()
    parts = _SPAN.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{text!r} is no span, expected e.g. 90s, 45m, 2h, 1h30m, 3d or 1w")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))


def moment(text: str, now: datetime) -> datetime:
    """Return the time that a text stands for, with its zone; raises ValueError.

    Parameters
    ----------
    text
        ``18:00`` (the next one), ``2026-01-31`` or ``2026-01-31 18:00``, local where no offset is given.
    now
        With its zone.
    """
    day_time = _TIME_OF_DAY.fullmatch(text.strip())
    if day_time is not None:
        naive = now.replace(tzinfo=None)
        found = naive.replace(hour=int(day_time[1]), minute=int(day_time[2]), second=0, microsecond=0)
        return (found if found > naive else found + timedelta(days=1)).astimezone()
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is no time, expected e.g. 18:00, 2026-01-31 18:00 or 2026-01-31T18:00+01:00"
        ) from None
    return found if found.tzinfo is not None else found.astimezone()


@click.command("ack", short_help="Acknowledge an alert.")
@click.argument("alert", metavar="ID", shell_complete=completion.alerts)
@_endpoint
@_person
def acknowledge(alert: str, endpoint: str, keys_file: Path | None, by: str | None, note: str) -> None:
    """Say that the alert ID (data.id of its events) has been seen. Its further events bear who saw it, when, and the note."""
    answer = _ask(endpoint, keys_file, {"op": "ack", "id": alert, "by": _name(by), "note": note})
    entry = answer["acknowledged"]
    click.echo(f"{entry['alert_id']} acknowledged{_by(entry)}")
    _warn(answer)


@click.command("mute", short_help="Mute alerts by id, label or stream.")
@click.option("--id", "alert", metavar="ID", shell_complete=completion.alerts, help="One alert.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="LABEL",
    shell_complete=completion.labels,
    help="Alerts of this label; repeatable.",
)
@click.option(
    "--stream",
    "streams",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.streams,
    help="Of this stream, or a shell pattern; repeatable.",
)
@click.option("--for", "span", metavar="SPAN", help="For so long: 45m, 2h, 1h30m, 3d.")
@click.option(
    "--until", metavar="TIME", help="Until then: 18:00, or 2026-01-31 18:00; local unless an offset is given."
)
@click.option("--forever", is_flag=True, help="Until it is unmuted.")
@_endpoint
@_person
def mute(  # noqa: PLR0917 - click passes them by name
    alert: str | None,
    labels: tuple[str, ...],
    streams: tuple[str, ...],
    span: str | None,
    until: str | None,
    endpoint: str,
    keys_file: Path | None,
    by: str | None,
    note: str,
    *,
    forever: bool,
) -> None:
    """Mark alerts as muted. They are published all the same, with ``muted`` in their data; whoever notifies people skips them.

    An alert is muted where all that is given fits it: its id, one of the labels, one of the streams.
    """
    if not (alert or labels or streams):
        raise click.UsageError("say what to mute: --id, --label or --stream (--stream '*' for all)")
    if (span is not None) + (until is not None) + forever != 1:
        raise click.UsageError("say how long: one of --for 2h, --until 18:00 or --forever")
    request: dict[str, Any] = {"op": "mute", "by": _name(by), "note": note, "labels": labels, "streams": streams}
    if alert:
        request["id"] = alert
    try:
        if span is not None:
            request["for_s"] = seconds(span)
        elif until is not None:
            request["until"] = moment(until, datetime.now().astimezone()).isoformat()
        else:
            request["forever"] = True
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    answer = _ask(endpoint, keys_file, request)
    click.echo(_line(answer["mute"]))
    _warn(answer)


@click.command("unmute", short_help="End a mute.")
@click.argument("identifier", metavar="MUTE")
@_endpoint
@click.option("--by", metavar="NAME", default=None, help="Who says so; by default the user's name.")
def unmute(identifier: str, endpoint: str, keys_file: Path | None, by: str | None) -> None:
    """End the mute MUTE, as ``streamcls mutes`` names it."""
    answer = _ask(endpoint, keys_file, {"op": "unmute", "mute": identifier, "by": _name(by)})
    click.echo(f"{answer['mute']['id']} ended")
    _warn(answer)


@click.command("mutes", short_help="List the mutes in force.")
@_endpoint
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def mutes(endpoint: str, keys_file: Path | None, *, as_json: bool) -> None:
    """List the mutes that are in force, and the planned silence that is."""
    answer = _ask(endpoint, keys_file, {"op": "mutes"})
    if as_json:
        click.echo(json.dumps({key: answer[key] for key in ("mutes", "silences")}, indent=2, ensure_ascii=False))
        return
    for item in answer["mutes"]:
        click.echo(_line(item))
    for item in answer["silences"]:
        click.echo(f"planned silence {item['name']} until {_local(item['until'])}")
    if not (answer["mutes"] or answer["silences"]):
        click.echo("nothing is muted")


def _ask(endpoint: str, keys_file: Path | None, request: Mapping[str, Any]) -> dict[str, Any]:
    from streamcls.bus.keys import load_client_keys
    from streamcls.bus.request import ask

    return ask(endpoint, request, _TIMEOUT_S, None if keys_file is None else load_client_keys(keys_file))[0]


def _name(by: str | None) -> str:
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        return ""


def _line(item: Mapping[str, Any]) -> str:
    what = [f"alert {item['alert_id']}"] if item["alert_id"] else []
    what += [f"label {', '.join(item['labels'])}"] if item["labels"] else []
    what += [f"stream {', '.join(item['streams'])}"] if item["streams"] else []
    until = "for ever" if item["until"] is None else f"until {_local(item['until'])}"
    return f"{item['id']} mutes {', '.join(what)} {until}{_by(item)}"


def _by(entry: Mapping[str, Any]) -> str:
    return (f" by {entry['by']}" if entry["by"] else "") + (f": {entry['note']}" if entry["note"] else "")


def _local(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().isoformat(sep=" ", timespec="seconds")


def _warn(answer: Mapping[str, Any]) -> None:
    if answer.get("warning"):
        click.echo(f"streamcls: {answer['warning']}", err=True)


def register(cli: click.Group) -> None:
    """Add the commands."""
    for command in (acknowledge, mute, unmute, mutes):
        cli.add_command(command)

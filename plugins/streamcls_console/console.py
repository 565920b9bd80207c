"""One line per event on standard output, in colour where that is a terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pydantic import Field

from streamcls import ComponentConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ConsoleConfig", "ConsoleSubscriber", "line_of"]

_PLAIN: Final = {"bold": "", "dim": "", "red": "", "yellow": "", "green": "", "cyan": "", "end": ""}
_COLOUR: Final = {
    "bold": "\x1b[1m",
    "dim": "\x1b[2m",
    "red": "\x1b[1;31m",
    "yellow": "\x1b[33m",
    "green": "\x1b[32m",
    "cyan": "\x1b[36m",
    "end": "\x1b[0m",
}


class ConsoleConfig(ComponentConfig):
    """Settings of the subscriber ``console``."""

    colour: Literal["auto", "always", "never"] = Field(
        default="auto", description="auto: on a terminal, and NO_COLOR is not set."
    )
    windows: bool = Field(default=True, description="Print window events too.")
    heartbeats: bool = Field(default=False, description="Print heartbeats too.")


class ConsoleSubscriber:
    """Prints events readably."""

    name: ClassVar[str] = "console"
    Config = ConsoleConfig

    def __init__(self, config: ConsoleConfig) -> None:
        self._config = config
        automatic = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        colour = automatic if config.colour == "auto" else config.colour == "always"
        self._style = _COLOUR if colour else _PLAIN

    def handle(self, event: Mapping[str, Any]) -> None:
        """Print one event."""
        kind = str(event["type"]).removeprefix("streamcls.")
        if (kind.endswith(".window") and not self._config.windows) or (
            kind == "daemon.heartbeat" and not self._config.heartbeats
        ):
            return
        print(line_of(event, self._style), flush=True)

    def close(self) -> None:
        """Nothing is held."""


def line_of(event: Mapping[str, Any], style: Mapping[str, str] = _PLAIN) -> str:
    """Return an event as one line; what this version does not know is shown as it is."""
    kind = str(event["type"]).removeprefix("streamcls.")
    data = event["data"]
    text, colour = _TEXTS.get(kind, _other)(data)
    clock = str(event["time"])[11:19]
    return f"{style['dim']}{clock}{style['end']} {event['subject']:<12} {style[colour]}{kind:<17} {text}{style['end']}"


def _position(data: Mapping[str, Any], key: str) -> str:
    seconds = data[key] / data["sample_rate"]
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _span(data: Mapping[str, Any]) -> str:
    return f"{_position(data, 'first_sample')}–{_position(data, 'end_sample')}"


def _genre_window(data: Mapping[str, Any]) -> tuple[str, str]:
    top = sorted(data["posterior"].items(), key=lambda item: -item[1])[:3]
    rest = "  ".join(f"{label} {value:.2f}" for label, value in top)
    return f"{_span(data)}  {data['label']:<10} [{rest}]  {data['level_dbfs']:.0f} dBFS", "dim"


def _genre_segment(data: Mapping[str, Any]) -> tuple[str, str]:
    cause = f" ({data['cause']})" if "cause" in data else ""
    text = f"{_span(data)}  {data['phase']:<7} {data['label']}{cause}  p={data['probability']['mean']:.2f}"
    return text + (f"  {data['reason']}" if "reason" in data else ""), "green"


def _moderation_window(data: Mapping[str, Any]) -> tuple[str, str]:
    top = sorted(data["posterior"].items(), key=lambda item: -item[1])[:3]
    rest = "  ".join(f"{label} {value:.2f}" for label, value in top)
    return f"{_span(data)}  {','.join(data['labels']) or '-':<10} [{rest}]", "yellow" if data["labels"] else "dim"


def _alert(data: Mapping[str, Any]) -> tuple[str, str]:
    text = f"{_span(data)}  {data['phase'].upper()} {data['label']}  {data['severity']}, {data['action']}"
    text += f"  p={data['probability']['peak']:.2f}"
    text += f"  {data['reason']}" if "reason" in data else ""
    if seen := data.get("acknowledged"):
        text += f"  [seen by {seen['by'] or 'somebody'}]"
    if muted := data.get("muted"):
        return f"{text}  [muted: {muted['note'] or muted.get('name') or muted.get('id')}]", "dim"
    return text, "red"


def _acknowledged(data: Mapping[str, Any]) -> tuple[str, str]:
    return f"{data['alert_id']} seen by {data['by'] or 'somebody'}  {data['note']}".rstrip(), "cyan"


def _mute(data: Mapping[str, Any]) -> tuple[str, str]:
    what = [data["alert_id"] or "", ", ".join(data["labels"]), " ".join(data["streams"])]
    until = f"until {data['until']}" if data["until"] else "for ever"
    return f"{data['state']} {' '.join(filter(None, what))} {until}  {data['note']}".rstrip(), "cyan"


def _subscriber(data: Mapping[str, Any]) -> tuple[str, str]:
    text = f"subscriber {data['name']} {data['state']}  {data['reason']}".rstrip()
    return text, "cyan" if data["state"] == "running" else "yellow"


def _clock(data: Mapping[str, Any]) -> tuple[str, str]:
    if data["kind"] == "suspended":
        return f"the machine was suspended for {data['jump_s']:.1f} s", "yellow"
    return f"the wall clock was set by {data['jump_s']:+.1f} s", "yellow"


def _status(data: Mapping[str, Any]) -> tuple[str, str]:
    text = f"{data['state']}  {data.get('reason', '')}".rstrip()
    return text, "cyan" if data["state"] in {"running", "connecting", "ended"} else "yellow"


def _other(data: Mapping[str, Any]) -> tuple[str, str]:
    return str(dict(data))[:200], "dim"


def _heartbeat(data: Mapping[str, Any]) -> tuple[str, str]:
    text = f"up {data['uptime_s']:.0f} s, {data['published']} events, {len(data['streams'])} streams"
    if stuck := data.get("stuck"):
        return f"{text}, stuck: {', '.join(str(one['name']) for one in stuck)}", "red"
    return text, "dim"


_TEXTS: Final = {
    "genre.window": _genre_window,
    "genre.segment": _genre_segment,
    "moderation.window": _moderation_window,
    "moderation.alert": _alert,
    "moderation.ack": _acknowledged,
    "moderation.mute": _mute,
    "stream.status": _status,
    "daemon.subscriber": _subscriber,
    "daemon.clock": _clock,
    "daemon.heartbeat": _heartbeat,
}

"""``reload``: have a running daemon read its configuration anew."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import click

from streamcls.cli.asking import EXIT_NO_DAEMON, EXIT_WRONG, finding_options, sockets_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["outcome_text", "register"]

_PARTS: Final = ("sources", "subscribers", "models", "policies")
_POLL_S: Final = 0.1


@click.command("reload", short_help="Have the running daemon read its configuration anew.")
@finding_options
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.option(
    "--timeout", "timeout_s", default=60.0, show_default=True, metavar="S", help="Wait for the outcome so long."
)
def reload(config: Path | None, state_dir: Path | None, socket: Path | None, *, as_json: bool, timeout_s: float) -> int:
    """Have the running daemon read the file that it was started with anew, and apply what differs; wait, and say what came of it.

    The daemon is the one that runs on CONFIG; without it, the one of the usual state folder or the system's service. A file with
    mistakes changes nothing. Streams that are configured as before lose no sample.

    Exit status: 0 applied, or nothing had changed; 1 refused, with the problems as "streamcls check" shows them, or no outcome in
    time; 3 no daemon runs.
    """
    from streamcls.service.asking import NoDaemonError, ask_any

    deadline = time.monotonic() + timeout_s
    try:
        sockets = sockets_of(config, state_dir, socket)
        ticket = ask_any(sockets, "reload")["ticket"]
        answer = ask_any(sockets, "reloaded", ticket=ticket)
        while not answer["done"]:
            if time.monotonic() >= deadline:
                click.echo(
                    f"streamcls: the reload has not ended within {timeout_s:g} s; the daemon's log may say why",
                    err=True,
                )
                return EXIT_WRONG
            time.sleep(_POLL_S)
            answer = ask_any(sockets, "reloaded", ticket=ticket)
    except NoDaemonError as error:
        click.echo(f"streamcls: {error}", err=True)
        return EXIT_NO_DAEMON
    refused = answer["state"] == "refused"
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        click.echo(outcome_text(answer), err=refused)
    return EXIT_WRONG if refused else 0


def outcome_text(outcome: Mapping[str, Any]) -> str:
    """Lay the outcome of a reload out for people."""
    if outcome["state"] == "refused":
        return "\n".join([f"refused: {outcome['reason']}", *(f"  {problem}" for problem in outcome["problems"])])
    lines = [f"{outcome['state']}: {outcome['reason']} ({outcome['took_s']:.1f} s)"]
    for part in _PARTS:
        told = [f"{', '.join(names)} {how}" for how, names in outcome[part].items() if names]
        lines += [f"  {part}: {'; '.join(told)}"] if told else []
    streams = [f"{', '.join(names)} {how}" for how, names in outcome["streams"].items() if names]
    lines += [f"  streams: {'; '.join(streams)}"] if streams else []
    if outcome["settings"]:
        lines.append(f"  settings: {', '.join(outcome['settings'])}")
    lines += [f"  PROBLEM {problem}" for problem in outcome["problems"]]
    if outcome["waiting"]:
        lines.append(f"  waiting for a restart: {', '.join(outcome['waiting'])}")
    return "\n".join(lines)


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(reload)

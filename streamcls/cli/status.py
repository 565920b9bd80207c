"""``status``: how a running daemon is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from streamcls.cli.asking import EXIT_NO_DAEMON, EXIT_WRONG, finding_options, sockets_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["register"]


@click.command("status", short_help="How is the running daemon?")
@finding_options
@click.option("--json", "as_json", is_flag=True, help="All that the daemon tells, as JSON.")
@click.option("--stacks", is_flag=True, help="Print what each of its threads is doing instead.")
def status(config: Path | None, state_dir: Path | None, socket: Path | None, *, as_json: bool, stacks: bool) -> int:
    """Ask the running daemon how it is: what is wrong first, then streams, subscribers and clients.

    The daemon is the one that runs on CONFIG; without it, the one of the usual state folder or the system's service.

    Exit status: 0 all is well, 1 something is wrong, 3 no daemon runs.
    """
    from streamcls.cli.status_view import status_text
    from streamcls.service.asking import NoDaemonError, ask_any

    try:
        answer = ask_any(sockets_of(config, state_dir, socket), "stacks" if stacks else "status")
    except NoDaemonError as error:
        click.echo(f"streamcls: {error}", err=True)
        return EXIT_NO_DAEMON
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    elif stacks:
        click.echo(answer["stacks"])
    else:
        click.echo(status_text(answer))
    return EXIT_WRONG if answer.get("wrong") else 0


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(status)

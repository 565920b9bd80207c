"""``streamcls run``: the daemon."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

__all__ = ["register"]


@click.command("run", short_help="Run the daemon.")
@click.argument("config", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Instead of the configured one."
)
def run(config: Path | None, log_level: str | None) -> int:
    """Run the daemon on CONFIG, or on the embedded demo without one.

    It stops on SIGTERM or SIGINT: open segments and alerts are closed with the reason "shutdown" and everything is delivered. A second
    signal ends it at once.
    """
    import faulthandler
    import sys

    from streamcls.daemon import Daemon, prepare_file
    from streamcls.plugins import discover
    from streamcls.service.logs import configure_logs

    configure_logs(log_level or "info")
    with contextlib.suppress(OSError, ValueError):  # of a standard error that is no file
        if sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)  # systemd's watchdog ends a hung daemon with SIGABRT: it shows where
    prepared = prepare_file(config, discover())
    daemon = prepared.resolved.settings.daemon
    configure_logs(log_level or daemon.log_level, log_format=daemon.log_format)
    return Daemon(prepared).run()


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(run)

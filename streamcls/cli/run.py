"""``streamcls run``: the daemon."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streamcls.daemon import Prepared

__all__ = ["register"]


@click.command("run", short_help="Run the daemon.")
@click.argument("config", required=False, type=click.Path(path_type=Path, dir_okay=False, readable=False))
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Instead of the configured one."
)
def run(config: Path | None, log_level: str | None) -> int:
    """Run the daemon on CONFIG, or on the embedded demo without one.

    It stops on SIGTERM or SIGINT: open segments and alerts are closed with the reason "shutdown" and everything is delivered. A second
    signal ends it at once. On SIGHUP, and where "streamcls reload" asks for it, it reads CONFIG anew and applies what differs.
    """
    import faulthandler
    import signal
    import sys

    from streamcls.daemon import Daemon, prepare_file
    from streamcls.plugins import discover
    from streamcls.service.limits import allow_open_files
    from streamcls.service.logs import configure_logs

    configure_logs(log_level or "info")
    allow_open_files()
    if sys.stderr is None or not sys.stderr.isatty():
        signal.signal(
            signal.SIGHUP, signal.SIG_IGN
        )  # to reload is for a daemon that runs; until then it is not to end it
    with contextlib.suppress(OSError, ValueError):  # of a standard error that is no file
        if sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)  # systemd's watchdog ends a hung daemon with SIGABRT: it shows where
    registry = discover()
    prepared = prepare_file(config, registry)
    daemon = prepared.resolved.settings.daemon
    configure_logs(log_level or daemon.log_level, log_format=daemon.log_format)

    def reread() -> Prepared:
        return prepare_file(config, registry, running.models)

    running = Daemon(prepared, reread=reread, log_level=log_level is None)
    return running.run()


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(run)

"""The group of all commands, and how their failures end the process."""

from __future__ import annotations

import os
import sys

# Before numpy is imported: its products are small, and threads for them only cost time and memory.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import TYPE_CHECKING, Any

import click

from streamcls import __version__
from streamcls.cli import (
    audit,
    calibrate,
    classify,
    doctor,
    evaluate,
    export,
    inspect,
    keys,
    listen,
    models,
    people,
    programme,
    reload,
    run,
    status,
    top,
    train,
)
from streamcls.errors import ConfigError, StreamclsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["EXIT_CONFIG", "ReaderGoneError", "cli", "main"]

EXIT_CONFIG = 78
"""sysexits' EX_CONFIG: systemd is told not to restart on it."""


class ReaderGoneError(Exception):
    """Whoever read our standard output has closed it, as ``head`` does: nothing is left to be said."""


class _Group(click.Group):
    """Lets plugins add their commands, once, and only when a command is looked up."""

    _extended = False

    def _extend(self) -> None:
        if not self._extended:
            self._extended = True
            from streamcls.plugins import discover

            discover().add_commands(self)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error  # click would end with status 1

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._extend()
        return sorted(super().list_commands(ctx))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if not self._extended:
            self._extended = True
            from streamcls.cli.completion import plugins_with

            plugins_with("register_commands").add_commands(self)
        return super().shell_complete(ctx, incomplete)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            self._extend()
            found = super().get_command(ctx, cmd_name)
        return found


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="streamcls")
def cli() -> None:
    """Classify audio streams: music genre and content moderation, as events over ZeroMQ.

    \b
    streamcls run                      the embedded demo, on this terminal
    streamcls run my.toml              a configuration of your own
    streamcls check my.toml            is it right? every problem at once
    streamcls classify song.mp3        finished files
    streamcls listen                   the events of a running daemon

    Exit status: 0 done or stopped, 1 failure, 2 wrong usage, 78 wrong configuration.
    """  # noqa: D301 - click wants the character itself


for _module in (
    *(run, classify, inspect, listen, models, train, evaluate, calibrate, export, programme),
    *(audit, people, keys),
    *(status, reload, top, doctor),
):
    _module.register(cli)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process."""
    try:
        code: Any = cli.main(args=arguments, prog_name="streamcls", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except ConfigError as error:
        click.echo(str(error), err=True)
        code = EXIT_CONFIG
    except StreamclsError as error:
        click.echo(f"streamcls: {error}", err=True)
        code = 1
    except ReaderGoneError:
        code = 0
    except OSError as error:
        click.echo(f"streamcls: {error.filename or 'standard output'}: {error.strerror}", err=True)
        code = 1
    code = _flush() or code
    sys.exit(code if isinstance(code, int) else 0)


def _flush() -> int:
    """Write out what is buffered; where that cannot be, throw it away, or the interpreter would complain at its end.

    Returns 1 where something was lost that somebody wanted, else 0.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            click.echo(f"streamcls: standard output: {error.strerror}", err=True)
            return 1
    return 0

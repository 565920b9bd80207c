"""``top``: a running daemon, live on a terminal."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from streamcls.cli.asking import EXIT_NO_DAEMON, finding_options, sockets_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["register"]

_LEAST_S: Final = 0.2
_TIMEOUT_S: Final = 2.0
_PLAIN_LINES: Final = 1_000
"""Height of what is no terminal."""
_PIECE: Final = 64
_HINT: Final = "q quits"


@click.command("top", short_help="Watch the running daemon.")
@finding_options
@click.option(
    "--every",
    "period_s",
    type=click.FloatRange(_LEAST_S),
    default=1.0,
    show_default=True,
    help="Seconds between looks.",
)
@click.option("--once", is_flag=True, help="Print one frame, as where standard output is no terminal.")
def top(config: Path | None, state_dir: Path | None, socket: Path | None, *, period_s: float, once: bool) -> int:
    """Watch a running daemon: streams with their level, genre, open alerts and lag. It needs pip install 'streamcls[top]'.

    LEVEL goes from -60 dBFS to full scale: the bar is the RMS of the loudest channel, the mark its peak. RATE is how many times
    faster than real time a stream's audio is worked on. q or Ctrl-C quits.

    Exit status: 0 quit, 3 no daemon runs.
    """
    if importlib.util.find_spec("rich") is None:
        raise click.ClickException("top needs rich, which is not installed: pip install 'streamcls[top]'")
    from rich.console import Console

    from streamcls.cli.top_view import frame
    from streamcls.service.asking import NoDaemonError, ask_any

    places = sockets_of(config, state_dir, socket)
    console = Console()
    try:
        status = ask_any(places, "status", timeout_s=_TIMEOUT_S)
    except NoDaemonError as error:
        click.echo(f"streamcls: {error}", err=True)
        return EXIT_NO_DAEMON
    if once or not console.is_terminal:
        console.print(frame(status, _PLAIN_LINES))
        return 0
    with contextlib.suppress(KeyboardInterrupt), _keys() as listens:
        _watch(console, places, status, period_s, listens=listens)
    return 0


def _watch(console: Any, places: Sequence[Path], status: dict[str, Any], period_s: float, *, listens: bool) -> None:
    """Draw until ``q``. A daemon that has gone is said to be so, over what was last seen of it, and awaited."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from streamcls.cli.top_view import frame
    from streamcls.service.asking import ControlError, ask_any

    trouble = ""
    hint = _HINT if listens else "Ctrl-C quits"
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            shown = frame(status, console.height - bool(trouble), hint=hint)
            live.update(
                Group(Text(trouble, "bold red", no_wrap=True, overflow="ellipsis"), shown) if trouble else shown,
                refresh=True,
            )
            if _quits(period_s, listens=listens):
                return
            try:
                status, trouble = ask_any(places, "status", timeout_s=_TIMEOUT_S), ""
            except ControlError as error:
                trouble = str(error)


@contextlib.contextmanager
def _keys() -> Iterator[bool]:
    """Let single keys be read, without their being shown; gives False where there is no keyboard."""
    try:
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin.fileno())
        tty.setcbreak(sys.stdin.fileno())
    except (ImportError, OSError, ValueError, termios.error):
        yield False
        return
    try:
        yield True
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)


def _quits(wait_s: float, *, listens: bool) -> bool:
    """Wait, and return whether somebody pressed q meanwhile."""
    deadline = time.monotonic() + wait_s
    while (left := deadline - time.monotonic()) > 0:
        if not listens:
            time.sleep(left)
        elif select.select([sys.stdin], [], [], left)[0]:
            keys = os.read(sys.stdin.fileno(), _PIECE)
            if not keys or b"q" in keys.lower():  # none: the terminal has gone
                return True
    return False


def register(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(top)

"""What the commands that ask a running daemon share: how it is found, and what their exit statuses are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EXIT_NO_DAEMON", "EXIT_WRONG", "finding_options", "sockets_of"]

EXIT_WRONG: Final = 1
"""It runs, and something is wrong."""
EXIT_NO_DAEMON: Final = 3
"""None runs, as with ``systemctl status``."""

_FILE: Final = click.Path(path_type=Path, dir_okay=False, readable=False)  # to read it says more, and ends with 78
_FOLDER: Final = click.Path(path_type=Path, file_okay=False)


def finding_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add CONFIG, ``--state-dir`` and ``--socket``."""
    config = click.argument("config", required=False, type=_FILE)
    folder = click.option("--state-dir", type=_FOLDER, metavar="DIR", help="The daemon's state folder.")
    socket = click.option("--socket", type=_FILE, metavar="PATH", help="The daemon's control socket.")
    return config(folder(socket(function)))


def sockets_of(config: Path | None, state_dir: Path | None, socket: Path | None) -> list[Path]:
    """Return where the control socket may be.

    Raises
    ------
    ConfigError
        ``config`` cannot be read.
    """
    from streamcls.config import read_config
    from streamcls.config.resolve import state_folder
    from streamcls.service.control_path import places

    if socket is not None:
        return [socket]
    if state_dir is not None:
        return places(state_dir, only=True)
    configured = read_config(config)[0].daemon.state_dir if config is not None else ""
    return places(state_folder(configured), only=bool(configured))

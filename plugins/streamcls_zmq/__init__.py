"""Audio over ZeroMQ: the source ``zmq`` and the command ``streamcls send``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamcls import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

    from streamcls import Source

__all__ = ["register_commands", "register_sources"]


@hookimpl
def register_sources() -> Sequence[type[Source]]:
    """Offer the source ``zmq``."""
    from streamcls_zmq.source import ZmqSource

    return [ZmqSource]


@hookimpl
def register_commands(cli: click.Group) -> None:
    """Add ``streamcls send``."""
    from streamcls_zmq.send import send

    cli.add_command(send)

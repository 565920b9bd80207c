"""Source ``mic``: a sound card, recorded through PortAudio; and the command ``streamcls devices``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamcls import hookimpl

if TYPE_CHECKING:
    import click

    from streamcls import Source

__all__ = ["register_commands", "register_sources"]


@hookimpl
def register_sources() -> list[type[Source]]:
    """Offer the source ``mic``."""
    from streamcls_mic.source import MicSource

    return [MicSource]


@hookimpl
def register_commands(cli: click.Group) -> None:
    """Add ``streamcls devices``."""
    from streamcls_mic.command import devices

    cli.add_command(devices)

"""An event store in SQLite: the subscriber ``sqlite`` and the command ``streamcls report``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamcls import hookimpl

if TYPE_CHECKING:
    import click

__all__ = ["register_commands", "register_subscribers"]


@hookimpl
def register_subscribers() -> list[type]:
    """Offer the subscriber ``sqlite``."""
    from streamcls_sqlite.subscriber import SqliteSubscriber

    return [SqliteSubscriber]


@hookimpl
def register_commands(cli: click.Group) -> None:
    """Add ``streamcls report``."""
    from streamcls_sqlite.report import report

    cli.add_command(report)

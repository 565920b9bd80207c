"""Events for people, on a terminal."""

from __future__ import annotations

from streamcls import hookimpl
from streamcls_console.console import ConsoleSubscriber

__all__ = ["register_subscribers"]


@hookimpl
def register_subscribers() -> list[type]:
    """Offer the subscriber."""
    return [ConsoleSubscriber]

"""A command for each alert."""

from __future__ import annotations

from streamcls import hookimpl
from streamcls_exec.subscriber import ExecSubscriber

__all__ = ["register_subscribers"]


@hookimpl
def register_subscribers() -> list[type]:
    """Offer the subscriber."""
    return [ExecSubscriber]

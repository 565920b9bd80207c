"""The embedded demo programme as a source."""

from __future__ import annotations

from streamcls import hookimpl
from streamcls_demo.source import DemoSource

__all__ = ["register_sources"]


@hookimpl
def register_sources() -> list[type]:
    """Offer the source."""
    return [DemoSource]

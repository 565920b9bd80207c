"""Events as lines of JSON, in a file or on standard output."""

from __future__ import annotations

from streamcls import hookimpl
from streamcls_jsonl.jsonl import JsonlSubscriber

__all__ = ["register_subscribers"]


@hookimpl
def register_subscribers() -> list[type]:
    """Offer the subscriber."""
    return [JsonlSubscriber]

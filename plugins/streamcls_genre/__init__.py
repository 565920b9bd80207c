"""The genre policy: what kind of music a stream plays, window by window and as segments."""

from __future__ import annotations

from streamcls import hookimpl
from streamcls_genre.policy import GenrePolicy

__all__ = ["register_policies"]


@hookimpl
def register_policies() -> list[type]:
    """Offer the policy."""
    return [GenrePolicy]

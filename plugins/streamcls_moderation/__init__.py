"""The moderation policy: alerts for sounds that somebody should look at."""

from __future__ import annotations

from streamcls import hookimpl
from streamcls_moderation.policy import ModerationPolicy

__all__ = ["register_policies"]


@hookimpl
def register_policies() -> list[type]:
    """Offer the policy."""
    return [ModerationPolicy]

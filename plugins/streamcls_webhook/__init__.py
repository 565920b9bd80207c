"""Events posted to a web server."""

from __future__ import annotations

from streamcls import hookimpl
from streamcls_webhook.webhook import WebhookSubscriber

__all__ = ["register_subscribers"]


@hookimpl
def register_subscribers() -> list[type]:
    """Offer the subscriber."""
    return [WebhookSubscriber]

"""Metrics for Prometheus, and a health check."""

from __future__ import annotations

from streamcls import hookimpl
from streamcls_prometheus.prometheus import PrometheusSubscriber

__all__ = ["register_subscribers"]


@hookimpl
def register_subscribers() -> list[type]:
    """Offer the subscriber."""
    return [PrometheusSubscriber]

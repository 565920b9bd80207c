"""The configuration of the subscriber ``prometheus``."""

from __future__ import annotations

import ipaddress
from importlib.util import find_spec

from pydantic import Field

from streamcls import ComponentConfig

__all__ = ["PrometheusConfig", "config_problems"]


class PrometheusConfig(ComponentConfig):
    """Where metrics are served, and what is held for ill."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen at.")
    port: int = Field(default=9757, ge=0, le=65535, description="0: one that the system chooses.")
    insecure: bool = Field(
        default=False, description="Allow an address that other machines reach; everybody may read there."
    )
    stale_s: float = Field(
        default=30.0, gt=0, le=86_400, description="A running stream is ill when its last window is older."
    )
    retrying_s: float = Field(
        default=60.0, ge=0, le=86_400, description="A source is ill when it has been lost for longer."
    )
    forget_s: float = Field(default=300.0, ge=0, le=86_400, description="For so long an ended stream is shown.")


def config_problems(config: PrometheusConfig) -> list[str]:
    """Return everything that is wrong with a configuration, as sentences, without opening anything."""
    problems = []
    if find_spec("prometheus_client") is None:
        problems.append("prometheus-client is not installed: pip install 'streamcls[prometheus]'")
    if not config.insecure and not _is_loopback(config.host):
        problems.append(
            f"host {config.host!r} can be reached from other machines, and nobody is asked for a password: "
            "use 127.0.0.1 or ::1, or say insecure = true"
        )
    return problems


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

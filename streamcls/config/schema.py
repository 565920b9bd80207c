"""What may stand in a configuration file. Component tables carry keys of their plugin, which ``resolve`` checks."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "NAME_PATTERN",
    "BusSettings",
    "ComponentEntry",
    "DaemonSettings",
    "ModelSettings",
    "ModelsSettings",
    "PolicyEntry",
    "Settings",
    "SourceEntry",
    "StreamSettings",
    "SubscriberEntry",
]

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Names of streams and components: letters, digits and . _ : @ + -, since they become part of topics and file names."""


def _endpoint(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in {"tcp", "ipc"} or not rest:
        raise ValueError("expected tcp://ADDRESS:PORT or ipc:///PATH")
    if scheme == "tcp":
        _, colon, port = rest.rpartition(":")
        if not colon or not (port in {"*", "0"} or (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16)):
            raise ValueError("expected tcp://ADDRESS:PORT with a port of 1 to 65535")
    return value


Endpoint = Annotated[str, AfterValidator(_endpoint)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DaemonSettings(_Table):
    """``[daemon]``."""

    name: Name = Field(default="streamcls", description="Name of this daemon in its events.")
    workers: int = Field(default=0, ge=0, le=256, description="Worker threads; 0: one per core.")
    state_dir: str = Field(
        default="", description="Folder for checkpoints; empty: $STATE_DIRECTORY, else ~/.local/state/streamcls."
    )
    buffer_s: float = Field(default=5.0, ge=0.5, le=300, description="Audio a stream may wait for its worker.")
    heartbeat_s: float = Field(default=5.0, ge=0.2, le=3600)
    drain_s: float = Field(
        default=1.0, ge=0, le=60, description="At stop, audio that arrived is classified for at most this long."
    )
    retry_s: float = Field(
        default=1.0, gt=0, le=3600, description="First pause before a source is opened again; doubles …"
    )
    retry_max_s: float = Field(default=60.0, gt=0, le=86_400, description="… up to this.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _ordered(self) -> DaemonSettings:
        if self.retry_s > self.retry_max_s:
            raise ValueError(f"retry_s is {self.retry_s:g}, expected at most retry_max_s ({self.retry_max_s:g})")
        return self


class BusSettings(_Table):
    """``[bus]``."""

    publish: tuple[Endpoint, ...] = Field(
        default=("tcp://127.0.0.1:5757",), description="Endpoints to publish events on."
    )
    high_water_mark: int = Field(default=100_000, ge=1, le=10_000_000, description="Events kept for a slow subscriber.")
    insecure: bool = Field(
        default=False, description="Allow an address that other machines reach, without encryption or permission."
    )

    @model_validator(mode="after")
    def _private(self) -> BusSettings:
        exposed = [endpoint for endpoint in self.publish if not is_local(endpoint)]
        if exposed and not self.insecure:
            raise ValueError(
                f"{', '.join(exposed)} can be reached from other machines, and nothing is encrypted; "
                "use 127.0.0.1 or ipc, or set insecure = true"
            )
        return self


def is_local(endpoint: str) -> bool:
    """Whether an endpoint is reached from this machine only."""
    if not endpoint.startswith("tcp://"):
        return True
    host = urlsplit(endpoint.replace(":*", ":0")).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "lo"


class ComponentEntry(BaseModel):
    """A table that names a plugin's component; its other keys are the component's own."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    @property
    def options(self) -> dict[str, Any]:
        """The keys that belong to the component."""
        return dict(self.model_extra or {})


class SourceEntry(ComponentEntry):
    """``[[source]]``."""

    name: Name
    type: str = Field(min_length=1)


class SubscriberEntry(ComponentEntry):
    """``[[subscriber]]``: which events it gets, and its own keys."""

    type: str = Field(min_length=1)
    name: Name | None = None
    kinds: tuple[str, ...] = Field(default=(), description="Kinds or beginnings of kinds; empty: all.")
    streams: tuple[str, ...] = Field(default=(), description="Stream names or shell patterns; empty: all.")


class PolicyEntry(ComponentEntry):
    """``[policy.NAME]``: the type is the name unless stated."""

    type: str | None = None


class ModelSettings(_Table):
    """``[model.NAME]``."""

    bundle: str | None = Field(
        default=None, description="Name of a bundle, or a path to its folder; none: the model's name."
    )
    backend: str = Field(default="litert")
    stride_s: float | None = Field(
        default=None, gt=0, le=3600, description="Distance of windows, in whole hops; none: the bundle's."
    )


class ModelsSettings(_Table):
    """``[models]``."""

    path: tuple[str, ...] = Field(default=(), description="Further folders of bundles, searched first.")


class StreamSettings(_Table):
    """``[[stream]]``: settings by stream name; the first match wins."""

    match: str = Field(default="*", min_length=1, description="Shell pattern over stream names.")
    models: tuple[str, ...] = ("genre-cnn", "moderation-cnn")
    policies: tuple[str, ...] = ("genre", "moderation")
    priority: int = Field(default=0, ge=-1000, le=1000)
    tags: dict[str, str] = Field(default_factory=dict, description="Copied into stream.status events.")


class Settings(_Table):
    """A whole configuration file."""

    daemon: DaemonSettings = DaemonSettings()
    bus: BusSettings = BusSettings()
    models: ModelsSettings = ModelsSettings()
    source: tuple[SourceEntry, ...] = Field(min_length=1)
    stream: tuple[StreamSettings, ...] = (StreamSettings(),)
    model: dict[Name, ModelSettings] = Field(default_factory=dict)
    policy: dict[Name, PolicyEntry] = Field(default_factory=dict)
    subscriber: tuple[SubscriberEntry, ...] = ()

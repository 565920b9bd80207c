"""What may stand in a configuration file. Component tables carry keys of their plugin, which ``resolve`` checks."""

from __future__ import annotations

import difflib
import ipaddress
import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "NAME_PATTERN",
    "AuditSettings",
    "BusSettings",
    "ComponentEntry",
    "DaemonSettings",
    "EvidenceSettings",
    "JournalSettings",
    "ModelSettings",
    "ModelsSettings",
    "OverloadSettings",
    "PolicyEntry",
    "SecuritySettings",
    "Settings",
    "SilenceSettings",
    "SourceEntry",
    "StreamSettings",
    "SubscriberEntry",
    "host_and_port",
    "is_local",
]

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Names of streams and components: letters, digits and . _ : @ + -, since they become part of topics and file names."""

_LAST_PORT: Final = 65_535


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


def _time_zone(value: str) -> str:
    try:
        _ = ZoneInfo(value) if value else None
    except (KeyError, OSError, ValueError):  # unknown, a folder of zones, no key at all
        near = difflib.get_close_matches(value, available_timezones(), n=1)
        raise ValueError(
            f"unknown here, expected e.g. {near[0] if near else 'Europe/Berlin'}; the package tzdata brings those that a system lacks"
        ) from None
    return value


TimeZone = Annotated[str, AfterValidator(_time_zone)]


def _time_of_day(value: str) -> str:
    if re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00", value) is None:
        raise ValueError("expected a time of day of four digits, e.g. 08:30")
    return value


def _before_midnight(value: str) -> str:
    if value == "24:00":
        raise ValueError("expected a time of day up to 23:59; where a day begins is 00:00")
    return value


TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]


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
    stall_s: float = Field(
        default=30.0,
        ge=0,
        le=86_400,
        description="A live source's stream that delivered audio and then nothing for so long is stalled; 0: never.",
    )
    stuck_s: float = Field(
        default=30.0, ge=2, le=3600, description="A thread of the daemon without progress for so long is stuck."
    )
    on_wedged: Literal["abandon", "restart"] = Field(
        default="abandon",
        description="What becomes of a source that a reload cannot stop: it is left behind, or the daemon ends, to be started anew.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: as systemd's journal wants it where that reads it, else text."
    )

    @model_validator(mode="after")
    def _ordered(self) -> DaemonSettings:
        if self.retry_s > self.retry_max_s:
            raise ValueError(f"retry_s is {self.retry_s:g}, expected at most retry_max_s ({self.retry_max_s:g})")
        return self


class OverloadSettings(_Table):
    """``[overload]``: what is done where more audio comes than can be classified."""

    enabled: bool = Field(
        default=True, description="Do something about it; else what does not fit is lost as it comes."
    )
    max_stretch: Literal[1, 2, 4, 8, 16] = Field(
        default=4, description="First, only each so many-th window is classified at most; 1: always all."
    )
    shed: bool = Field(default=True, description="Then, streams of the lowest priority are given up for a while.")
    lag_s: float = Field(
        default=1.0, gt=0, le=60, description="A live stream's audio that waits for so long tells of overload."
    )
    calm_s: float = Field(
        default=10.0, ge=1, le=300, description="There has to be room again for so long before a step is undone."
    )


class BusSettings(_Table):
    """``[bus]``."""

    publish: tuple[Endpoint, ...] = Field(
        default=("tcp://127.0.0.1:5757",), description="Endpoints to publish events on."
    )
    replay: tuple[Endpoint, ...] | None = Field(
        default=None,
        description="Endpoints that answer for the past; not given: beside the first of publish, at the next port or under PATH.replay.",
    )
    high_water_mark: int = Field(default=10_000, ge=1, le=10_000_000, description="Events kept for a slow subscriber.")
    insecure: bool = Field(
        default=False, description="Allow an address that other machines reach, without encryption or permission."
    )

    @property
    def exposed(self) -> list[str]:
        """Endpoints that other machines reach."""
        return [endpoint for endpoint in (*self.publish, *self.replay_endpoints) if not is_local(endpoint)]

    @property
    def replay_endpoints(self) -> tuple[str, ...]:
        """Where the past is answered for: as configured, or beside the first endpoint of ``publish``."""
        if self.replay is not None or not self.publish:
            return self.replay or ()
        first = self.publish[0]
        head, _, port = first.rpartition(":")
        if not first.startswith("tcp://"):
            return (f"{first}.replay",)
        if port in {"*", "0"}:
            return (first,)
        return (f"{head}:{int(port) + 1 if int(port) < _LAST_PORT else _LAST_PORT - 1}",)


class JournalSettings(_Table):
    """``[journal]``."""

    enabled: bool = Field(default=True, description="Keep events on disk before they are published.")
    windows: bool = Field(default=False, description="Keep window events as well.")
    durability: Literal["power", "process"] = Field(
        default="power", description="What an event outlives once it is published: a power cut, or only the daemon."
    )
    max_mb: int = Field(default=256, ge=1, le=1_000_000, description="Megabytes of events kept; the oldest go first.")
    max_age_days: float = Field(default=30.0, gt=0, le=3650, description="Events older than this go.")
    checkpoint_s: float = Field(
        default=2.0, ge=0.1, le=600, description="Longest time between two checkpoints of a stream that can resume."
    )
    resume_s: float = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="After a start, what a stream left open waits so long for it to go on; then it is closed.",
    )


class SecuritySettings(_Table):
    """``[security]``."""

    curve: bool = Field(default=False, description="Encrypt publish, replay and ingest, and admit known keys only.")
    keys: str = Field(
        default="",
        description="Folder made by streamcls keys; empty: keys in the state folder.",
    )


class EvidenceSettings(_Table):
    """``[evidence]``: clips of the audio around alerts, for streams with ``evidence = true``."""

    path: str = Field(default="", description="Folder for clips; empty: evidence in the state folder.")
    capture_s: float = Field(
        default=10.0, ge=1, le=300, description="The newest audio, kept in memory for each stream."
    )
    pre_s: float = Field(default=3.0, ge=0, le=300, description="Audio before the alert's beginning.")
    post_s: float = Field(default=3.0, ge=0, le=300, description="Audio after the alert's end.")
    max_clip_s: float = Field(default=30.0, ge=1, le=600, description="Longest clip.")
    max_mb: int = Field(default=1024, ge=1, le=10_000_000, description="Megabytes of clips kept; the oldest go first.")
    max_age_days: float = Field(default=30.0, gt=0, le=3650, description="Clips older than this go.")

    @model_validator(mode="after")
    def _fits(self) -> EvidenceSettings:
        if self.pre_s > self.capture_s:
            raise ValueError(f"pre_s is {self.pre_s:g}, expected at most capture_s ({self.capture_s:g})")
        if self.max_clip_s < self.pre_s + self.post_s:
            raise ValueError(
                f"max_clip_s is {self.max_clip_s:g}, expected at least pre_s + post_s ({self.pre_s + self.post_s:g})"
            )
        return self


class AuditSettings(_Table):
    """``[audit]``: the append-only log of alerts and evidence."""

    enabled: bool = False
    path: str = Field(default="", description="Its file; empty: audit.jsonl in the state folder.")
    sync: bool = Field(default=True, description="Force each record to the disk before the next.")
    rotate_mb: int = Field(
        default=64, ge=1, le=100_000, description="A file of this size is set aside and a new one begun."
    )


class SilenceSettings(_Table):
    """``[[silence]]``: a planned time in which alerts are marked as muted."""

    name: Name
    labels: tuple[str, ...] = Field(default=(), description="Labels of alerts; empty: all.")
    streams: tuple[str, ...] = Field(default=(), description="Stream names or shell patterns; empty: all.")
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        default=("mon", "tue", "wed", "thu", "fri", "sat", "sun"), description="Days on which it begins."
    )
    begin: Annotated[TimeOfDay, AfterValidator(_before_midnight)] = Field(
        default="00:00", description="Local time of day."
    )
    end: TimeOfDay = Field(default="24:00", description="Local time of day; not after begin: on the next day.")
    timezone: TimeZone = Field(default="", description="E.g. Europe/Berlin; empty: the machine's.")


def host_and_port(endpoint: str) -> tuple[str, str]:
    """Return both of a TCP endpoint: the host without brackets and in lower case, the port as it stands there."""
    head, _, port = endpoint.rpartition(":")
    try:
        return urlsplit(head + ":0").hostname or "", port
    except ValueError:  # brackets that do not match
        return "", port


def is_local(endpoint: str) -> bool:
    """Whether an endpoint is reached from this machine only."""
    if not endpoint.startswith("tcp://"):
        return True
    host, _ = host_and_port(endpoint)
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
    catch_up: bool = Field(
        default=True, description="After a restart, go on where it was; else begin with what is published now."
    )
    isolate: bool = Field(default=False, description="Run it in a process of its own, with limits.")
    hang_s: float = Field(default=60.0, gt=0, le=3600, description="An event that takes longer means that it hangs.")
    memory_mb: int = Field(default=512, ge=32, le=1_000_000, description="Most memory of its own process.")


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
    evidence: bool = Field(default=False, description="Keep clips of the audio around alerts.")
    tags: dict[str, str] = Field(default_factory=dict, description="Copied into stream.status events.")


class Settings(_Table):
    """A whole configuration file."""

    daemon: DaemonSettings = DaemonSettings()
    overload: OverloadSettings = OverloadSettings()
    bus: BusSettings = BusSettings()
    journal: JournalSettings = JournalSettings()
    security: SecuritySettings = SecuritySettings()
    evidence: EvidenceSettings = EvidenceSettings()
    audit: AuditSettings = AuditSettings()
    models: ModelsSettings = ModelsSettings()
    source: tuple[SourceEntry, ...] = Field(min_length=1)
    stream: tuple[StreamSettings, ...] = (StreamSettings(),)
    model: dict[Name, ModelSettings] = Field(default_factory=dict)
    policy: dict[Name, PolicyEntry] = Field(default_factory=dict)
    silence: tuple[SilenceSettings, ...] = ()
    subscriber: tuple[SubscriberEntry, ...] = ()

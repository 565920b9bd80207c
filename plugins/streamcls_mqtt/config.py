"""The configuration of the subscriber ``mqtt``."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from streamcls import ComponentConfig

__all__ = ["MqttConfig", "MqttTls", "config_problems", "file_of"]


class MqttTls(ComponentConfig):
    """``tls``: how the broker is known, and this client to it."""

    ca: str = Field(default="", description="PEM file of the authority that signed the broker; empty: the system's.")
    cert: str = Field(default="", description="PEM file of this client's certificate.")
    key: str = Field(default="", description="PEM file of its key.")


class MqttConfig(ComponentConfig):
    """Where the broker is, and what it is told."""

    host: str = Field(default="127.0.0.1", min_length=1, description="The broker.")
    port: int = Field(default=0, ge=0, le=65535, description="Its port; 0: 1883, with tls 8883.")
    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: str = Field(default="", description="File that holds the password, instead of password.")
    tls: MqttTls | None = Field(default=None, description="Encrypt; an empty table suffices.")
    client_id: str = Field(
        default="", max_length=128, description="Empty: PREFIX-DAEMON. Two clients of one id throw each other out."
    )
    keepalive_s: int = Field(
        default=30, ge=5, le=3600, description="After 1.5 times this the broker announces a lost client as offline."
    )
    qos: Literal[0, 1, 2] = Field(default=1, description="0: nobody acknowledges, and events may get lost.")
    timeout_s: float = Field(
        default=10.0, gt=0, le=600, description="An event not acknowledged by then is delivered again."
    )
    prefix: str = Field(default="streamcls", description="Beginning of every topic.")
    events: bool = Field(default=True, description="Publish the events themselves too, not retained.")
    window_events: bool = Field(default=False, description="Of these, windows too.")
    heartbeats: bool = Field(default=False, description="Of these, heartbeats too.")
    muted: Literal["skip", "send"] = Field(default="skip", description="What becomes of muted alerts.")
    keep_ended: int = Field(
        default=100, ge=0, le=10_000, description="Ended streams that the broker goes on knowing; older ones go."
    )
    discovery: bool = Field(default=False, description="Announce everything to Home Assistant.")
    discovery_prefix: str = "homeassistant"
    device_class: Literal["sound", "safety", "problem"] = Field(
        default="sound", description="Home Assistant's for alerts."
    )

    @property
    def real_port(self) -> int:
        """The port to connect to."""
        return self.port or (1883 if self.tls is None else 8883)


def config_problems(config: MqttConfig) -> list[str]:
    """Return everything that is wrong with a configuration, as sentences, without connecting."""
    problems = []
    if find_spec("paho") is None:
        problems.append("paho-mqtt is not installed: pip install 'streamcls[mqtt]'")
    for key in ("prefix", "discovery_prefix"):
        problems += _prefix_problems(key, getattr(config, key))
    if config.password_file and config.password.get_secret_value():
        problems.append("both password and password_file are given: keep one")
    if (config.password_file or config.password.get_secret_value()) and not config.username:
        problems.append("a password is given without a username")
    if config.password_file:
        problems += _file_problems("password_file", config.password_file)
    if config.tls is not None:
        for key in ("ca", "cert", "key"):
            if path := getattr(config.tls, key):
                problems += _file_problems(f"tls.{key}", path)
        if bool(config.tls.cert) != bool(config.tls.key):
            problems.append("tls: cert and key belong together; one of them is missing")
    return problems


def file_of(path: str) -> Path:
    """Replace a leading ``~``; of a user that nobody knows it stays, and the file will be called missing."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises there


def _prefix_problems(key: str, prefix: str) -> list[str]:
    if not all(prefix.split("/")) or prefix.startswith("$") or any(c in prefix for c in "+#\0"):
        return [f"{key} {prefix!r}: expected names with slashes in between, without + and #, not beginning with $"]
    return []


def _file_problems(key: str, path: str) -> list[str]:
    file = file_of(path)
    if not file.is_file():
        return [f"{key} {path!r}: there is no such file"]
    return [] if os.access(file, os.R_OK) else [f"{key} {path!r}: no permission to read it"]

"""Settings of the subscriber ``exec``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from streamcls.bus.delivery_settings import DeliverySettings

__all__ = ["ExecConfig", "state_folder"]

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _argument(value: str) -> str:
    if "\0" in value:
        raise ValueError("a NUL character, which no argument can hold")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("expected an absolute path")
    return _argument(value)


Argument = Annotated[str, AfterValidator(_argument)]


class ExecConfig(DeliverySettings):
    """Settings of the subscriber ``exec``."""

    command: tuple[Argument, ...] = Field(min_length=1, description="Absolute path of a programme, and its arguments.")
    alerts_only: bool = Field(default=True, description="Only events of kinds that end in .alert.")
    phases: tuple[Literal["opened", "updated", "closed"], ...] = Field(
        default=("opened",), description="Of segments and alerts, only these."
    )
    muted: Literal["skip", "run"] = Field(default="skip", description="What to do with alerts that somebody muted.")
    cwd: Annotated[str, AfterValidator(_absolute)] = Field(default="/", description="Folder that it is run in.")
    environment: dict[str, SecretStr] = Field(default_factory=dict, description="Further variables of its environment.")
    pass_environment: tuple[str, ...] = Field(
        default=(), description="Variables of the daemon's own that it gets, too."
    )
    timeout_s: float = Field(
        default=30.0, gt=0, le=86_400, description="After so long it is asked to end, with all it started …"
    )
    kill_after_s: float = Field(default=2.0, ge=0, le=60, description="… and after so long again it is killed.")
    concurrency: int = Field(default=2, ge=1, le=64, description="Commands at a time, each for another stream.")
    per_minute: int = Field(default=60, ge=0, le=100_000, description="Most starts in a minute, 0: any number.")
    cpu_s: int = Field(default=60, ge=0, le=86_400, description="Most processor time of each of its processes, 0: any.")
    memory_mb: int = Field(default=1024, ge=0, le=1_000_000, description="Most address space of each, 0: any.")
    open_files: int = Field(
        default=256, ge=0, le=1_000_000, description="Most open files of each, 0: as many as the daemon."
    )
    output_bytes: int = Field(default=4096, ge=0, le=1 << 20, description="So much of what it writes goes to the log.")
    attempts: int = Field(default=3, ge=1, le=1000, description="How often a command that fails is run in all.")
    retry_s: float = Field(default=5.0, gt=0, le=3600, description="First pause before it is run again; doubles …")
    max_waiting: int = Field(default=1000, ge=1, le=1_000_000, description="Most events that wait.")

    @model_validator(mode="after")
    def _fits(self) -> ExecConfig:
        if not self.command[0].startswith("/"):
            raise ValueError(f"command: {self.command[0]!r} is no absolute path; nothing is searched for along PATH")
        for name in (*self.environment, *self.pass_environment):
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an environment variable")
            if name.startswith("STREAMCLS_"):
                raise ValueError(f"{name}: variables that begin so are set by the subscriber itself")
        if any("\0" in value.get_secret_value() for value in self.environment.values()):
            raise ValueError("environment: a NUL character, which no variable can hold")
        return self


def state_folder(name: str) -> Path:
    """Return the folder of that name among those that survive restarts."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return (Path(given) if given else Path.home() / ".local" / "state" / "streamcls") / name

"""Settings that every subscriber has which delivers in its own time: how often it tries, and what may wait."""

from __future__ import annotations

from pydantic import Field, model_validator

from streamcls.interfaces import ComponentConfig

__all__ = ["DeliverySettings"]


class DeliverySettings(ComponentConfig):
    """What a :class:`~streamcls.bus.delivery.Delivery` and its outbox are told by a configuration."""

    retry_s: float = Field(default=1.0, gt=0, le=3600, description="First pause before another attempt; doubles …")
    retry_max_s: float = Field(default=300.0, gt=0, le=86_400, description="… up to this.")
    spool: str = Field(
        default="", description="Folder for what waits; empty: one called like the type, in the state folder."
    )
    sync: bool = Field(default=True, description="Force each event to the disk before it counts as accepted.")
    max_waiting: int = Field(default=10_000, ge=1, le=1_000_000, description="Most events that wait.")
    max_waiting_mb: int = Field(default=64, ge=1, le=10_000, description="The same in megabytes.")
    dead_letters: str = Field(default="", description="File; empty: dead-letters.jsonl in spool.")
    dead_letters_mb: int = Field(
        default=16, ge=1, le=10_000, description="Most that it takes, its predecessor included."
    )
    close_s: float = Field(default=2.0, ge=0, le=60, description="At stop, time to deliver what is under way.")

    @model_validator(mode="after")
    def _ordered(self) -> DeliverySettings:
        if self.retry_s > self.retry_max_s:
            raise ValueError(f"retry_s is {self.retry_s:g}, expected at most retry_max_s ({self.retry_max_s:g})")
        return self

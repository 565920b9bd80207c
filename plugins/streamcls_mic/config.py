"""What the configuration may say about a ``mic`` source."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from streamcls import ComponentConfig

__all__ = ["Config"]


class Config(ComponentConfig):
    """Configuration of one recording device.

    Attributes
    ----------
    device
        Number, name or part of a name (upper and lower case are the same), as ``streamcls devices`` lists
        them; without it the system's default.
    sample_rate
        In hertz; without it the device's own default.
    channels
        Without it all that the device has, at most 2.
    chunk_s
        Longest chunk in seconds.
    latency_s
        What the device should be able to buffer in seconds, so that a busy machine loses nothing.
    stall_s
        Silence of the device (no samples at all) in seconds after which it counts as lost.
    loss_s
        Audio in seconds by which a device may fall behind the clock before that much is declared missing.
    """

    device: Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)] | None = None
    sample_rate: Annotated[int, Field(ge=1, le=768_000)] | None = None
    channels: Annotated[int, Field(ge=1, le=64)] | None = None
    chunk_s: Annotated[float, Field(ge=0.01, le=1.0)] = 0.1
    latency_s: Annotated[float, Field(ge=0.01, le=10.0)] = 0.5
    stall_s: Annotated[float, Field(ge=1.0, le=3_600.0)] = 5.0
    loss_s: Annotated[float, Field(ge=0.2, le=60.0)] = 1.0

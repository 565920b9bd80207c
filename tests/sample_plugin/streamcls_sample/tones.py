"""A source that plays a low tone, then a high one, and ends."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from streamcls import Chunk, ComponentConfig, EndOfStream, StreamStatus
from streamcls.types import read_only

__all__ = ["Tones"]


class Tones:
    """One stream, named like the source."""

    name = "tones"
    live = False

    class Config(ComponentConfig):
        """Settings of the source ``tones``."""

        sample_rate: int = Field(default=16_000, ge=8_000, le=192_000, description="In hertz.")
        seconds: float = Field(default=10.0, gt=0, le=3_600, description="Length of each tone.")
        frequencies_hz: tuple[float, ...] = (200.0, 3_000.0)

    def __init__(self, config, context):
        self._config = config
        self._stream = context.name
        self._position = 0

    def items(self, stop):
        """Yield a tenth of a second at a time; called again, go on where it was."""
        config, rate = self._config, self._config.sample_rate
        each, step = round(config.seconds * rate), rate // 10
        end = each * len(config.frequencies_hz)
        yield StreamStatus(self._stream, "connecting", "tuning up")
        while self._position < end and not stop.is_set():
            index = np.arange(self._position, min(self._position + step, end))
            frequency = np.asarray(config.frequencies_hz)[index // each]
            samples = (0.25 * np.sin(2 * np.pi * frequency * index / rate)).astype(np.float32)
            yield Chunk(self._stream, read_only(samples[:, None]), rate, int(index[0]))
            self._position = int(index[-1]) + 1
        if not stop.is_set():
            yield EndOfStream(self._stream)

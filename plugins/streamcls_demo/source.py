"""Plays the programme that ships with streamcls, in a loop and in real time."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, ClassVar, Final

from pydantic import Field

from streamcls import Chunk, ComponentConfig, EndOfStream
from streamcls.audio.decode import decode_file
from streamcls.types import read_only

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from streamcls import SourceContext
    from streamcls.types import StreamItem

__all__ = ["DemoConfig", "DemoSource"]

PROGRAMME: Final = "programme.opus"
_CHUNK_S: Final = 0.1


class DemoConfig(ComponentConfig):
    """Settings of the source ``demo``."""

    loop: bool = Field(default=True, description="Begin again at the end.")
    speed: float = Field(
        default=1.0, ge=0, le=1000, description="1: real time; 10: ten times as fast; 0: as fast as possible."
    )


class DemoSource:
    """A radio station of its own: music of several styles, spoken words and a siren, rendered by ``scripts/render_demo.py``."""

    name: ClassVar[str] = "demo"
    Config = DemoConfig
    live = True

    def __init__(self, config: DemoConfig, context: SourceContext) -> None:
        self._config = config
        self._stream = context.name
        self.live = config.speed > 0
        self._position = 0

    def items(self, stop: threading.Event) -> Iterator[StreamItem]:
        """Yield the programme; a loop goes on at the next index, since the programme joins without a hole."""
        started, origin, speed = time.monotonic(), self._position, self._config.speed
        while not stop.is_set():
            for chunk in self._decoded():
                captured_at = None
                if speed:
                    wait = started + (chunk.end_sample - origin) / chunk.sample_rate / speed - time.monotonic()
                    if wait > 0 and stop.wait(wait):
                        return
                    captured_at = time.time() - len(chunk.samples) / chunk.sample_rate / speed
                if stop.is_set():
                    return
                yield replace(chunk, captured_at=captured_at)
                self._position = chunk.end_sample
            if not self._config.loop:
                yield EndOfStream(self._stream)
                return

    def _decoded(self) -> Iterator[Chunk]:
        """Decode the programme into chunks of at most a tenth of a second, indexed from the current position."""
        base = self._position
        with as_file(files("streamcls_demo").joinpath(PROGRAMME)) as path:
            for decoded in decode_file(path, self._stream):
                size = max(1, round(decoded.sample_rate * _CHUNK_S))
                for start in range(0, len(decoded.samples), size):
                    samples = read_only(decoded.samples[start : start + size])
                    yield Chunk(self._stream, samples, decoded.sample_rate, base + decoded.first_sample + start)

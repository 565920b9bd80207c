"""What the tests of the file source share: a clock made of steps, WAV headers by hand, and the reading of items."""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls import Chunk, SourceContext, StreamStatus
from streamcls_filetail.config import Config
from streamcls_filetail.source import FileTailSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from streamcls.types import StreamItem

__all__ = ["Steps", "append", "pcm16", "runs", "states", "tail", "wav_head"]


class Steps(threading.Event):
    """A stop event that stands for time: each wait performs the next step; after the last one it is set."""

    def __init__(self, *steps: Callable[[], object], idle: int = 2) -> None:
        super().__init__()
        self._steps = [*steps, *([lambda: None] * idle)]
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        if self.is_set():
            return True
        self.waits += 1
        if self._steps:
            self._steps.pop(0)()
        else:
            self.set()
        return self.is_set()


def append(path: Path, data: bytes) -> None:
    """Add bytes to a file as a recorder does."""
    with path.open("ab") as file:
        file.write(data)


def pcm16(count: int, seed: int = 1) -> bytes:
    """Return that many random 16-bit values."""
    return np.random.default_rng(seed).integers(-20_000, 20_000, count, "<i2").tobytes()


def wav_head(
    data_size: int,
    *,
    rate: int = 8_000,
    channels: int = 1,
    bits: int = 16,
    tag: int = 1,
    extra: bytes = b"",
    more: int = 0,
) -> bytes:
    """Return a WAV header; ``extra`` stands before the audio, ``more`` bytes are announced behind it."""
    block = channels * bits // 8
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, tag, channels, rate, rate * block, block, bits)
    riff = min(4 + len(fmt) + len(extra) + 8 + data_size + more, 0xFFFFFFFF)
    return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + fmt + extra + struct.pack("<4sI", b"data", data_size)


def tail(
    path: Path,
    state_dir: Path,
    *,
    raw: tuple[int, int, str] | None = None,
    marks: Mapping[str, Any] | None = None,
    reached: Mapping[str, int] | None = None,
    **keys: object,
) -> FileTailSource:
    """Return a source named ``tape`` on the file; ``raw`` is rate, channels and encoding."""
    declared = dict(zip(("sample_rate", "channels", "encoding"), raw, strict=True)) if raw else None
    config = Config.model_validate({"path": str(path), "format": declared, **keys})
    return FileTailSource(config, SourceContext("tape", state_dir, marks or {}, reached or {}))


def runs(items: Iterable[StreamItem]) -> list[tuple[int, np.ndarray]]:
    """Return the contiguous stretches of audio among the items: first index and samples of each."""
    found: list[tuple[int, list[np.ndarray]]] = []
    end = None
    for item in items:
        if not isinstance(item, Chunk):
            continue
        assert item.samples.dtype == np.float32
        assert not item.samples.flags.writeable
        if end == item.first_sample:
            found[-1][1].append(item.samples)
        else:
            assert end is None or item.first_sample > end, "the index went back"
            found.append((item.first_sample, [item.samples]))
        end = item.end_sample
    return [(first, np.concatenate(parts)) for first, parts in found]


def states(items: Iterable[StreamItem]) -> list[str]:
    """Return the states that were announced, in order."""
    return [item.state for item in items if isinstance(item, StreamStatus)]

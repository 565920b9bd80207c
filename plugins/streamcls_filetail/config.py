"""What the configuration may say about a ``filetail`` source."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  pydantic reads the annotation at run time
from typing import Annotated, Literal

from pydantic import Field

from streamcls import AudioFormat, ComponentConfig

__all__ = ["Config", "RawFormat"]


class RawFormat(ComponentConfig):
    """How the bytes of a file without a header are to be read.

    Attributes
    ----------
    sample_rate
        In hertz, 1 to 768000.
    channels
        1 to 64, interleaved.
    encoding
        Little-endian PCM: unsigned 8 bit, signed 16, 24 or 32 bit, or 32-bit float.
    """

    sample_rate: Annotated[int, Field(ge=1, le=768_000)]
    channels: Annotated[int, Field(ge=1, le=64)] = 1
    encoding: Literal["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"] = "pcm_s16le"

    def audio_format(self) -> AudioFormat:
        """Return it as the value that the decoder takes."""
        return AudioFormat(self.sample_rate, self.channels, self.encoding)


class Config(ComponentConfig):
    """Configuration of one followed file.

    Attributes
    ----------
    path
        The file. It need not exist yet.
    format
        Format of raw PCM; without it the file is a WAV file and says so itself.
    start
        Where to begin: ``beginning`` of the file, its present ``end``, or ``resume`` where the daemon was
        with it, according to its journal.
    pace
        ``fast``: as fast as the audio is consumed; ``realtime``: at the speed at which it would be heard.
    chunk_s
        Longest chunk in seconds.
    poll_s
        Seconds between two looks at a file that has nothing new.
    """

    path: Path
    format: RawFormat | None = None
    start: Literal["beginning", "end", "resume"] = "beginning"
    pace: Literal["fast", "realtime"] = "fast"
    chunk_s: Annotated[float, Field(ge=0.01, le=10.0)] = 0.1
    poll_s: Annotated[float, Field(ge=0.01, le=10.0)] = 0.1

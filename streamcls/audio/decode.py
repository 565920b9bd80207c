"""Finished files and streams of any format FFmpeg reads, through PyAV. It only decodes: rate and down-mix are ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcls.errors import AudioError
from streamcls.types import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamcls.types import FloatArray

__all__ = ["decode_file", "duration_s", "read_file"]


def decode_file(path: Path | str, stream: str) -> Iterator[Chunk]:
    """Decode a file's first audio track chunk by chunk, at its own rate and with its own channels.

    Parameters
    ----------
    path
        The file.
    stream
        Name that the chunks carry.

    Yields
    ------
    Chunks of float32 samples, contiguous from index 0, without a wall clock.

    Raises
    ------
    AudioError
        The file is missing, has no audio, changes its format, or is corrupt; the message names the file and the position.
        Damage that FFmpeg itself passes over (a torn FLAC block, junk between MP3 frames) is not noticed: what follows moves up.
    """
    import av

    position = 0
    rate = 0
    try:
        with _open(path) as container:
            if not container.streams.audio:
                raise AudioError(f"{path}: no audio track in it")
            resampler: av.AudioResampler | None = None
            for frame in container.decode(container.streams.audio[0]):
                if resampler is None:
                    rate = frame.sample_rate
                    # Only the sample type changes here: packed float, the rate and the channels stay.
                    resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=rate)
                for converted in resampler.resample(frame):
                    channels = len(converted.layout.channels)
                    samples = converted.to_ndarray().reshape(-1, channels)
                    yield Chunk(stream, np.ascontiguousarray(samples, np.float32), rate, position)
                    position += len(samples)
    except (av.FFmpegError, ValueError, OSError) as error:
        where = f" after {position / rate:.2f} s" if rate else ""
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{path}: cannot be decoded{where}: {reason}") from error
    if not position:
        raise AudioError(f"{path}: the audio track is empty")


def duration_s(path: Path | str) -> float | None:
    """Return the length that a file's header states, in seconds, or None where it states none."""
    import av

    try:
        with _open(path) as container:
            return container.duration / 1e6 if container.duration else None
    except (av.FFmpegError, ValueError, OSError):
        return None


def read_file(path: Path | str) -> tuple[FloatArray, int]:
    """Decode a whole file into samples of shape (n, channels) and its rate in hertz."""
    chunks = list(decode_file(path, ""))
    return np.concatenate([chunk.samples for chunk in chunks]), chunks[0].sample_rate


def _open(path: Path | str) -> Any:
    """Open a file for decoding, whatever its tags are encoded in.

    It is opened as a file and nothing else: FFmpeg would take a name with a colon for a protocol, and what a playlist names for
    something to fetch.
    """
    import av

    url, only_files = f"file:{Path(path).absolute()}", {"protocol_whitelist": "file"}
    try:
        return av.open(url, container_options=only_files)
    except (
        UnicodeDecodeError
    ):  # PyAV before 19 reads tags strictly unless it is told not to; from 19 on it cannot be told
        return av.open(url, container_options=only_files, metadata_errors="ignore")

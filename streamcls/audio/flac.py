"""Lossless 16-bit FLAC, through PyAV."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from streamcls.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.audio.capture import PcmArray

__all__ = ["MOST_CHANNELS", "encode_flac"]

_LAYOUTS: Final = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
"""By number of channels; they keep the order of the channels, whatever the source means by them."""
MOST_CHANNELS: Final = len(_LAYOUTS)
"""FLAC has no more."""
_BLOCK: Final = 4_096


def encode_flac(samples: PcmArray, sample_rate: int, tags: Mapping[str, str] | None = None) -> bytes:
    """Return a whole FLAC file.

    Parameters
    ----------
    samples
        Shape (n, channels), int16, at least one sample and at most 8 channels.
    sample_rate
        Hertz.
    tags
        Written into the file's comments.

    Raises
    ------
    AudioError
        FLAC cannot hold it; the message says why.
    """
    import av

    channels = samples.shape[1]
    if not 1 <= channels <= MOST_CHANNELS:
        raise AudioError(f"{channels} channels, but FLAC holds at most {MOST_CHANNELS}")
    if not len(samples):
        raise AudioError("there is no sample to write")
    layout = _LAYOUTS[channels - 1]
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="flac") as container:
            container.metadata.update(tags or {})
            stream = container.add_stream("flac", rate=sample_rate, layout=layout, format="s16")
            for at in range(0, len(samples), _BLOCK):
                block = np.ascontiguousarray(samples[at : at + _BLOCK]).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
                frame.sample_rate, frame.pts = sample_rate, at
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{channels} channels at {sample_rate} Hz cannot be written as FLAC: {reason}") from error
    return file.getvalue()

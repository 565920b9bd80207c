"""Lossy coding and decoding of a signal, in memory: what a stream, a DAB multiplex or a telephone link leaves of it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.broadcast.filters import fit_length, frames_of, resample

if TYPE_CHECKING:
    from collections.abc import Mapping

    import av

    from streamcls.types import FloatArray

__all__ = ["CODERS", "Coder", "transcode"]

_CONTAINER: Final = "nut"
"""FFmpeg's own container: it takes every codec and keeps all samples, so that what is cut does not depend on FFmpeg's version."""
_BITS_PER_KBIT: Final = 1000


@dataclass(frozen=True, slots=True)
class Coder:
    """A lossy codec.

    Attributes
    ----------
    name
        What people call it.
    encoder
        FFmpeg's name of the encoder; FFmpeg finds the decoder by itself.
    sample_format
        FFmpeg's name of the float format that the encoder takes.
    kbit_s
        Bit rates that broadcasters and stations on the network use for one channel, in kbit/s.
    options
        FFmpeg's options of the encoder: they ask it for speed.
    decoder_aligns
        Whether the decoder itself drops what the encoder put before the signal (Opus states it in its header).
    """

    name: str
    encoder: str
    sample_format: str
    kbit_s: tuple[int, ...]
    options: tuple[tuple[str, str], ...] = ()
    decoder_aligns: bool = False


CODERS: Final[Mapping[str, Coder]] = {
    coder.name: coder
    for coder in (
        Coder("mp3", "libmp3lame", "fltp", (32, 40, 48, 56, 64, 80, 96, 112, 128), (("compression_level", "7"),)),
        Coder("aac", "aac", "fltp", (32, 40, 48, 64, 80, 96), (("aac_coder", "fast"),)),
        Coder("opus", "libopus", "flt", (16, 20, 24, 32, 48, 64), decoder_aligns=True),
    )
}
"""The codecs by name."""


def transcode(signal: FloatArray, sample_rate: int, coder: Coder, kbit_s: float) -> FloatArray:
    """Encode and decode a mono signal.

    Parameters
    ----------
    signal
        Shape (n,), float32, not empty; what exceeds full scale is clipped.
    sample_rate
        In hertz. A codec that does not know it works at the next higher rate it knows, or at its highest.
    coder
        The codec.
    kbit_s
        Bit rate in kbit/s; an encoder that has no such rate takes the nearest it has.

    Returns
    -------
    Shape (n,), float32 within -1 to 1, aligned with the signal to the sample (after conversion of the rate, to one sample).

    Raises
    ------
    TrainingError
        The FFmpeg in PyAV has no such encoder, or the encoder fails.
    """
    import av

    rate = _rate_for(coder, sample_rate)
    inside = np.clip(resample(signal, sample_rate, rate), -1.0, 1.0)
    try:
        data, padding = _encode(inside, rate, coder, kbit_s)
        decoded, decoded_rate = _decode(data)
    except (av.FFmpegError, ValueError) as error:
        raise TrainingError(
            f"codec {coder.name}: {coder.encoder} failed at {rate} Hz, {kbit_s} kbit/s: {error}"
        ) from error
    decoded = decoded[padding * decoded_rate // rate :]
    return fit_length(np.clip(resample(decoded, decoded_rate, sample_rate), -1.0, 1.0), len(signal))


def _rate_for(coder: Coder, sample_rate: int) -> int:
    """Return the rate at which a codec works."""
    import av

    try:
        rates = av.Codec(coder.encoder, "w").audio_rates or [sample_rate]
    except ValueError as error:
        raise TrainingError(
            f"codec {coder.name}: the FFmpeg in PyAV {av.__version__} has no encoder {coder.encoder}; install PyAV from "
            "its own wheels (pip install --only-binary av av), which contain it, or leave the codec out"
        ) from error
    return min((rate for rate in rates if rate >= sample_rate), default=max(rates))


def _encode(signal: FloatArray, rate: int, coder: Coder, kbit_s: float) -> tuple[bytes, int]:
    """Return the coded signal, and how many samples before the signal's first the decoder will give."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=_CONTAINER) as container:
        stream = cast("av.AudioStream", container.add_stream(coder.encoder, rate=rate, options=dict(coder.options)))
        stream.layout, stream.format = "mono", coder.sample_format
        stream.bit_rate = round(kbit_s * _BITS_PER_KBIT)
        packets = [packet for frame in frames_of(signal, rate, coder.sample_format) for packet in stream.encode(frame)]
        packets += stream.encode(None)
        padding = 0 if coder.decoder_aligns else -(packets[0].pts or 0)
        container.mux(packets)
    return file.getvalue(), max(0, padding)


def _decode(data: bytes) -> tuple[FloatArray, int]:
    """Return all samples of a coded signal, and their rate in hertz."""
    import av

    with av.open(io.BytesIO(data), "r", format=_CONTAINER) as container:
        frames = list(container.decode(audio=0))
    if not frames:
        raise ValueError("nothing came out of the decoder")
    if frames[0].format.name != "fltp":
        raise ValueError(f"the decoder gives {frames[0].format.name}, expected fltp")
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate

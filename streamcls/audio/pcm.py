"""Raw PCM bytes to float32 samples and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from streamcls.errors import AudioError

if TYPE_CHECKING:
    from streamcls.types import AudioFormat, FloatArray

__all__ = ["LOUDEST", "decode_pcm", "down_mix", "encode_pcm"]

LOUDEST: Final = 1_000.0
"""Largest magnitude of a float sample that is believed to be audio (60 dB above full scale)."""


def decode_pcm(data: bytes | memoryview, audio_format: AudioFormat) -> FloatArray:
    """Decode interleaved little-endian PCM.

    Parameters
    ----------
    data
        Bytes; the length is a multiple of ``audio_format.bytes_per_sample``.

    Returns
    -------
    Shape (n, channels), float32. Integers are divided by 2**(bits-1), so full scale is -1 up to just below 1.

    Raises
    ------
    AudioError
        A length that ends inside a sample, or floats that are no audio (NaN, infinite, beyond 1000 times full scale).
    """
    size = audio_format.bytes_per_sample
    if len(data) % size:
        raise AudioError(
            f"{len(data)} bytes of {audio_format.encoding} are no whole number of samples "
            f"of {size} bytes ({audio_format.channels} channels)"
        )
    match audio_format.encoding:
        case "pcm_s16le":
            values = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(1 << 15)
        case "pcm_u8":
            values = (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
        case "pcm_s24le":
            padded = np.zeros((len(data) // 3, 4), np.uint8)
            padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            values = padded.view("<i4")[:, 0].astype(np.float32) / np.float32(1 << 31)
        case "pcm_s32le":
            values = np.frombuffer(data, "<i4").astype(np.float32) / np.float32(1 << 31)
        case "pcm_f32le":
            values = np.frombuffer(data, "<f4").astype(np.float32)
            with np.errstate(invalid="ignore"):
                loud = not np.all(np.abs(values) <= LOUDEST)
            if loud:
                worst = int(np.argmin(np.abs(values) <= LOUDEST))
                raise AudioError(f"value {worst} of pcm_f32le is {values[worst]}, expected audio between -1 and 1")
    return values.reshape(-1, audio_format.channels)


def encode_pcm(samples: FloatArray, encoding: str) -> bytes:
    """Encode samples as interleaved little-endian PCM; integers are rounded and clipped.

    Parameters
    ----------
    samples
        Shape (n,) or (n, channels), float32.
    encoding
        ``pcm_s16le``, ``pcm_s24le`` or ``pcm_f32le``.
    """
    flat = np.ascontiguousarray(samples, np.float32).reshape(-1)
    if encoding == "pcm_f32le":
        return flat.astype("<f4").tobytes()
    if encoding == "pcm_s16le":
        return np.clip(np.rint(flat * (1 << 15)), -(1 << 15), (1 << 15) - 1).astype("<i2").tobytes()
    if encoding == "pcm_s24le":
        wide = np.clip(np.rint(flat.astype(np.float64) * (1 << 23)), -(1 << 23), (1 << 23) - 1).astype("<i4")
        return wide.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    raise AudioError(f"encoding is {encoding!r}, expected pcm_s16le, pcm_s24le or pcm_f32le")


def down_mix(samples: FloatArray) -> FloatArray:
    """Average the channels: shape (n, channels) to (n,), float32."""
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0])
    total = samples[:, 0].copy()
    for channel in range(1, samples.shape[1]):
        total += samples[:, channel]
    total /= np.float32(samples.shape[1])
    return total

"""The header of a WAV file, also one that its recorder has not finished. Pure and bounded."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from streamcls import AudioFormat, RetryableSourceError

__all__ = ["ReadAt", "WavHeader", "parse_header"]

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""Takes an offset and a length, returns the bytes there: fewer, or none, where the file ends."""

_MAGICS: Final = (b"RIFF", b"RF64", b"BW64")
_HEAD: Final = 12
_CHUNK_HEAD: Final = 8
_FMT_MIN: Final = 16
_BODY_READ: Final = 40
"""Bytes of a format that matter: all of WAVE_FORMAT_EXTENSIBLE."""
_DS64_MIN: Final = 16
_UNFINISHED: Final = (0, 0xFFFF_FFFF)
_UNFINISHED_64: Final = (0, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)
_MAX_CHUNKS: Final = 1_024
"""Chunks before the audio; a file with more is no recording."""
_MAX_SKIP: Final = 1 << 24
"""Bytes of one chunk before the audio (a cover picture fits)."""
_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_GUID_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
"""What follows the format tag in the sub-format of WAVE_FORMAT_EXTENSIBLE."""
_ENCODINGS: Final = {
    (_PCM, 8): "pcm_u8",
    (_PCM, 16): "pcm_s16le",
    (_PCM, 24): "pcm_s24le",
    (_PCM, 32): "pcm_s32le",
    (_FLOAT, 32): "pcm_f32le",
}
_TRAILERS: Final = (
    b"LIST",
    b"INFO",
    b"id3 ",
    b"ID3 ",
    b"bext",
    b"iXML",
    b"axml",
    b"chna",
    b"cue ",
    b"smpl",
    b"inst",
    b"PEAK",
    b"fact",
    b"JUNK",
    b"junk",
    b"PAD ",
    b"FLLR",
    b"DISP",
    b"acid",
    b"_PMX",
    b"afsp",
    b"cart",
)
"""Chunks that recorders and taggers put behind the audio."""
_ID3V1: Final = b"TAG"


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What a WAV file says about its audio.

    Attributes
    ----------
    audio_format
        How the audio is to be read.
    data_offset
        Offset of the first byte of audio in the file.
    data_size
        Bytes of audio as stated, or None where the header is unfinished.
    riff_end
        Offset one past the last chunk as stated, or None where the header is unfinished.
    """

    audio_format: AudioFormat
    data_offset: int
    data_size: int | None
    riff_end: int | None

    def audio_end(self, size: int, read_at: ReadAt) -> int:
        """Return the offset one past the last byte of audio in a file of ``size`` bytes.

        A stated size is believed only where something shows that the recorder has finished: the header
        announces more chunks behind the audio, or a known one stands there. Otherwise what lies beyond the
        stated size is audio that came after the recorder last wrote its header (or beyond its place-holder).
        """
        if self.data_size is None:
            return size
        end = self.data_offset + self.data_size
        behind = end + (self.data_size & 1)
        if size <= behind:
            return min(size, end)
        if self.riff_end is not None and self.riff_end > behind:
            return end
        head = read_at(behind, 4)
        if head[:3] == _ID3V1 or any(known.startswith(head) for known in _TRAILERS):
            return end
        return size


def parse_header(read_at: ReadAt, name: str) -> WavHeader | None:
    """Read the header of a WAV file (RIFF, RF64 or BW64).

    Parameters
    ----------
    read_at
        Gives access to the file; at most 1024 chunk heads, their formats and sizes are read.
    name
        The file's name, for messages.

    Returns
    -------
    The header, or None where the file ends before the audio begins.

    Raises
    ------
    RetryableSourceError
        The bytes that are there cannot become the header of a WAV file that can be read; it names the file,
        the offset and the expectation.
    """
    head = read_at(0, _HEAD)
    _check_magic(head, name)
    if len(head) < _HEAD:
        return None
    sizes_64: tuple[int, int] | None = None
    audio_format: AudioFormat | None = None
    for kind, offset, size in _chunks(read_at, name):
        if kind == b"data":
            if audio_format is None:
                raise _corrupt(name, offset, "found the chunk 'data'", "the chunk 'fmt ' before it")
            riff_size = int.from_bytes(head[4:8], "little")
            return _finish(audio_format, offset + _CHUNK_HEAD, (riff_size, size), sizes_64)
        if kind == b"fmt " and audio_format is not None:
            raise _corrupt(name, offset, "found a second chunk 'fmt '", "one")
        if kind not in {b"fmt ", b"ds64"}:
            continue
        body = read_at(offset + _CHUNK_HEAD, min(size, _BODY_READ))
        if len(body) < min(size, _BODY_READ):
            return None
        if kind == b"fmt ":
            audio_format = _parse_format(body, name, offset + _CHUNK_HEAD)
        elif head[:4] != b"RIFF" and len(body) >= _DS64_MIN:
            sizes_64 = struct.unpack("<QQ", body[:_DS64_MIN])
    return None


def _check_magic(head: bytes, name: str) -> None:
    magic = head[:4]
    if magic == b"RIFX":
        raise _corrupt(name, 0, "found RIFX (big-endian)", "a little-endian WAV file; convert it")
    if not any(known.startswith(magic) for known in _MAGICS):
        raise _corrupt(name, 0, f"found {magic!r}", "RIFF or RF64; for raw PCM declare its format")
    if not b"WAVE".startswith(head[8:]):
        raise _corrupt(name, 8, f"found {head[8:]!r}", "WAVE")


def _chunks(read_at: ReadAt, name: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, offset and stated size of each chunk up to the audio, or to the end of the file."""
    offset = _HEAD
    for _ in range(_MAX_CHUNKS):
        head = read_at(offset, _CHUNK_HEAD)
        if len(head) < _CHUNK_HEAD:
            return
        kind, size = head[:4], int.from_bytes(head[4:], "little")
        if not all(0x20 <= byte <= 0x7E for byte in kind):  # noqa: PLR2004  printable ASCII
            raise _corrupt(name, offset, f"found {kind!r}", "the name of a chunk in printable ASCII")
        if size > _MAX_SKIP and kind != b"data":
            found = f"chunk {kind.decode()!r} says it has {size} bytes"
            raise _corrupt(name, offset + 4, found, f"at most {_MAX_SKIP} before the audio")
        yield kind, offset, size
        offset += _CHUNK_HEAD + size + (size & 1)
    raise _corrupt(name, offset, f"found {_MAX_CHUNKS} chunks and no audio", "the chunk 'data'")


def _finish(
    audio_format: AudioFormat, data_offset: int, sizes: tuple[int, int], sizes_64: tuple[int, int] | None
) -> WavHeader:
    riff_size, data_size = (None if size in _UNFINISHED else size for size in sizes)
    if sizes_64 is not None:  # they count only where the sizes of 32 bits say so
        riff_64, data_64 = (None if size in _UNFINISHED_64 else size for size in sizes_64)
        riff_size = riff_64 if riff_size is None else riff_size
        data_size = data_64 if data_size is None else data_size
    riff_end = None if riff_size is None else riff_size + _CHUNK_HEAD
    return WavHeader(audio_format, data_offset, data_size, riff_end)


def _parse_format(fmt: bytes, name: str, at: int) -> AudioFormat:
    if len(fmt) < _FMT_MIN:
        raise _corrupt(name, at - 4, f"chunk 'fmt ' says it has {len(fmt)} bytes", f"at least {_FMT_MIN}")
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", fmt[:_FMT_MIN])
    if tag == _EXTENSIBLE:
        if len(fmt) < _BODY_READ:
            raise _corrupt(name, at, f"WAVE_FORMAT_EXTENSIBLE with {len(fmt)} bytes", f"{_BODY_READ} bytes")
        if fmt[26:] != _GUID_TAIL:
            raise _corrupt(name, at + 24, f"sub-format {fmt[24:].hex()}", "PCM or IEEE float")
        tag = int.from_bytes(fmt[24:26], "little")
    encoding = _ENCODINGS.get((tag, bits))
    if encoding is None:
        found = f"format tag {tag:#06x} with {bits} bits"
        raise _corrupt(name, at, found, "PCM of 8, 16, 24 or 32 bits or IEEE float of 32 bits")
    if block != channels * bits // 8:
        expected = f"{channels * bits // 8} ({channels} channels of {bits} bits)"
        raise _corrupt(name, at + 12, f"{block} bytes a sample", expected)
    try:
        return AudioFormat(rate, channels, encoding)  # type: ignore[arg-type]
    except ValueError as error:
        raise RetryableSourceError(f"{name}: no WAV file that can be read: offset {at}: {error}") from error


def _corrupt(name: str, offset: int, found: str, expected: str) -> RetryableSourceError:
    return RetryableSourceError(f"{name}: no WAV file that can be read: offset {offset}: {found}, expected {expected}")

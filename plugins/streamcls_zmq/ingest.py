"""One message to one piece of audio. Pure: no socket, no clock, no state. See docs/ingest-format.md."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeGuard

from streamcls import AudioError, AudioFormat, Chunk, StreamclsError
from streamcls.audio import decode_pcm
from streamcls.types import read_only

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ENCODINGS",
    "END_OF_INDEX",
    "FRAMES",
    "REASONS",
    "VERSION",
    "Arrival",
    "MalformedMessageError",
    "parse_message",
    "stream_name_problem",
]

VERSION: Final = 1
"""Version of the ingest format."""
FRAMES: Final = 3
"""Frames of a message: stream, header, audio."""
ENCODINGS: Final = ("pcm_s16le", "pcm_s24le", "pcm_f32le")
END_OF_INDEX: Final = 1 << 53
"""Sample indices lie below it: up to here every JSON library keeps integers exact."""
Reason = Literal["frames", "size", "stream", "header", "version", "field", "audio"]
REASONS: Final[tuple[Reason, ...]] = ("frames", "size", "stream", "header", "version", "field", "audio")
"""What may be wrong with a message; each is counted by itself."""

_MAX_HEADER_BYTES: Final = 4_096
_MAX_DIGITS: Final = 20
_MAX_CAPTURED_AT: Final = 1e11
"""Unix seconds in the year 5138; what lies beyond is milliseconds."""
_MAX_QUOTE: Final = 60
"""Characters of a sender's value that a message repeats."""
_STREAM: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@+-]{0,127}")


class MalformedMessageError(StreamclsError):
    """A message that is not understood.

    Attributes
    ----------
    reason
        One of :data:`REASONS`.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        self.reason: Reason = reason
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message understood.

    Attributes
    ----------
    chunk
        Its audio, read-only; without samples only where ``end`` is true.
    end
        Whether the stream is over after it.
    """

    chunk: Chunk
    end: bool = False


def stream_name_problem(name: str) -> str:
    """Say in a clause what is wrong with a stream's name, or return an empty string."""
    if _STREAM.fullmatch(name):
        return ""
    return (
        f"{_quote(name)} is no stream name, expected 1 to 128 of the characters A-Z a-z 0-9 . _ : @ + - "
        "with a letter, a digit or _ first"
    )


def parse_message(frames: Sequence[bytes], *, max_message_bytes: int, max_chunk_s: float) -> Arrival:
    """Read one message.

    Parameters
    ----------
    frames
        Stream name, JSON header, PCM bytes.
    max_message_bytes
        Longest message accepted, all frames together.
    max_chunk_s
        Longest audio accepted, in seconds.

    Raises
    ------
    MalformedMessageError
        For whatever is wrong; nothing else is ever raised. The text names culprit and expectation.
    """
    if len(frames) != FRAMES:
        text = f"{len(frames)} frames, expected {FRAMES}: stream, header and audio"
        raise MalformedMessageError("frames", text)
    size = sum(len(frame) for frame in frames)
    if size > max_message_bytes:
        raise MalformedMessageError("size", f"{size} bytes, expected at most {max_message_bytes}")
    stream = _stream(frames[0])
    header = _header(frames[1], stream)
    version = header.get("version")
    if not _is_integer(version) or version != VERSION:
        _field(stream, "version", version, str(VERSION), reason="version")
    audio_format = _format(header, stream)
    first_sample = _integer(header, "first_sample", stream)
    end = header.get("end", False)
    if not isinstance(end, bool):
        _field(stream, "end", end, "true or false")
    data = frames[2]
    length = len(data) // audio_format.bytes_per_sample
    if not data and not end:
        raise MalformedMessageError("audio", f"stream {stream}: no audio in it, and end is not true")
    if length > audio_format.sample_rate * max_chunk_s:
        text = f"{length / audio_format.sample_rate:g} s of audio, expected at most {max_chunk_s:g} s"
        raise MalformedMessageError("audio", f"stream {stream}: {text}")
    if not 0 <= first_sample < END_OF_INDEX - length:
        _field(stream, "first_sample", first_sample, f"0 up to 2**53 less the {length} samples that follow")
    try:
        samples = decode_pcm(data, audio_format)
    except AudioError as error:
        raise MalformedMessageError("audio", f"stream {stream}: {error}") from None
    captured_at = _captured_at(header, stream)
    chunk = Chunk(stream, read_only(samples), audio_format.sample_rate, first_sample, captured_at)
    return Arrival(chunk, end)


def _stream(frame: bytes) -> str:
    try:
        name = frame.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedMessageError("stream", f"the stream name {_quote(frame)} is not UTF-8") from None
    problem = stream_name_problem(name)
    if problem:
        raise MalformedMessageError("stream", problem)
    return name


def _header(frame: bytes, stream: str) -> dict[str, Any]:
    if len(frame) > _MAX_HEADER_BYTES:
        text = f"a header of {len(frame)} bytes, expected at most {_MAX_HEADER_BYTES}"
        raise MalformedMessageError("header", f"stream {stream}: {text}")
    try:
        header = json.loads(
            frame.decode("utf-8"), object_pairs_hook=_object, parse_int=_digits, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        # A decoding error repeats the whole frame in its text, a recursion error tells of the interpreter.
        what = {UnicodeDecodeError: "it is not UTF-8", RecursionError: "it is nested too deeply"}
        text = f"stream {stream}: no JSON header as expected: {what.get(type(error), str(error))}"
        raise MalformedMessageError("header", text) from None
    if not isinstance(header, dict):
        text = f"the header is {_quote(header)}, expected a JSON object"
        raise MalformedMessageError("header", f"stream {stream}: {text}")
    return header


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {_quote(key)} stands in it twice")
        values[key] = value
    return values


def _digits(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"an integer of {len(text)} characters, expected at most {_MAX_DIGITS}")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _format(header: dict[str, Any], stream: str) -> AudioFormat:
    encoding = header.get("encoding")
    if encoding not in ENCODINGS:
        _field(stream, "encoding", encoding, f"one of {', '.join(ENCODINGS)}")
    sample_rate = _integer(header, "sample_rate", stream)
    channels = _integer(header, "channels", stream)
    try:
        return AudioFormat(sample_rate, channels, encoding)
    except ValueError as error:
        raise MalformedMessageError("field", f"stream {stream}: {error}") from None


def _integer(header: dict[str, Any], key: str, stream: str) -> int:
    value = header.get(key)
    if not _is_integer(value):
        _field(stream, key, value, "an integer")
    return value


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _captured_at(header: dict[str, Any], stream: str) -> float | None:
    value = header.get("captured_at")
    if value is None:
        return None
    if not (_is_integer(value) or isinstance(value, float)) or not math.isfinite(value):
        _field(stream, "captured_at", value, "a number, Unix time in seconds")
    if not 0 <= value < _MAX_CAPTURED_AT:
        _field(stream, "captured_at", value, "Unix time in seconds (not in milliseconds)")
    return float(value)


def _field(stream: str, key: str, value: object, expected: str, *, reason: Reason = "field") -> NoReturn:
    given = "missing" if value is None else _quote(value)
    raise MalformedMessageError(reason, f"stream {stream}: {key} is {given}, expected {expected}")


def _quote(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _MAX_QUOTE else f"{text[: _MAX_QUOTE - 3]}..."

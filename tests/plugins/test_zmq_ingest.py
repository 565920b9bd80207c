"""What a message means, and what is said of one that means nothing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from streamcls_zmq.ingest import REASONS, MalformedMessageError, parse_message

HEADER: dict[str, Any] = {
    "version": 1,
    "sample_rate": 16_000,
    "channels": 2,
    "encoding": "pcm_s16le",
    "first_sample": 4_800,
    "captured_at": 1_700_000_000.25,
}
PCM = np.array([[0, -32_768], [16_384, 32_767]], "<i2").tobytes()
MIB = 1 << 20


def message(stream: bytes = b"radio-1", header: Any = None, data: bytes = PCM, **changes: Any) -> list[bytes]:
    if header is None:
        fields = {key: value for key, value in {**HEADER, **changes}.items() if value is not ...}
        header = json.dumps(fields).encode()
    return [stream, header, data]


def parse(frames: list[bytes]):
    return parse_message(frames, max_message_bytes=MIB, max_chunk_s=10.0)


def test_every_field_of_a_message_arrives():
    arrival = parse(message())

    chunk = arrival.chunk
    assert (chunk.stream, chunk.sample_rate, chunk.first_sample) == ("radio-1", 16_000, 4_800)
    assert (chunk.captured_at, arrival.end) == (1_700_000_000.25, False)
    assert chunk.samples.dtype == np.float32
    assert chunk.samples.tolist() == [[0.0, -1.0], [0.5, 32_767 / 32_768]]
    assert not chunk.samples.flags.writeable


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        ("pcm_s16le", b"\x00\x40", 0.5),
        ("pcm_s24le", b"\x00\x00\xc0", -0.5),
        ("pcm_f32le", np.array([0.123], "<f4").tobytes(), float(np.float32(0.123))),
    ],
)
def test_each_encoding_is_decoded(encoding, data, expected):
    arrival = parse(message(encoding=encoding, channels=1, data=data))

    assert arrival.chunk.samples.tolist() == [[expected]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"captured_at": ...}, None),
        ({"captured_at": None}, None),
        ({"captured_at": 0}, 0.0),
        ({"captured_at": 12}, 12.0),
    ],
)
def test_the_wall_clock_is_optional(changes, expected):
    assert parse(message(**changes)).chunk.captured_at == expected


def test_an_end_may_come_with_or_without_audio():
    with_audio = parse(message(end=True))
    without = parse(message(data=b"", end=True))

    assert with_audio.end
    assert len(with_audio.chunk.samples) == 2
    assert without.end
    assert without.chunk.samples.shape == (0, 2)


def test_fields_that_are_not_known_are_ignored():
    assert parse(message(gain_db=-3, nested={"a": [1, {}]})).chunk.first_sample == 4_800


@pytest.mark.parametrize("name", [b"a", b"_x", b"7", b"radio-1.fm:eu@home+2", b"x" * 128])
def test_names_from_the_safe_set_are_taken(name):
    assert parse(message(stream=name)).chunk.stream == name.decode()


@pytest.mark.parametrize("index", [0, (1 << 53) - 3])
def test_the_whole_range_of_indices_is_taken(index):
    assert parse(message(first_sample=index)).chunk.first_sample == index


BAD_HEADERS = {
    "empty": b"",
    "no JSON": b"hello",
    "a number": b"1",
    "an array": b"[]",
    "null": b"null",
    "cut off": json.dumps(HEADER).encode()[:-1],
    "followed by more": json.dumps(HEADER).encode() + b"{}",
    "not UTF-8": b'{"version": "\xff"}',
    "UTF-16": json.dumps(HEADER).encode("utf-16"),
    "with a byte order mark": b"\xef\xbb\xbf" + json.dumps(HEADER).encode(),
    "not a number": b'{"version": 1, "captured_at": NaN}',
    "infinite": b'{"version": 1, "captured_at": -Infinity}',
    "a huge integer": b'{"first_sample": ' + b"9" * 4_000 + b"}",
    "a key twice": b'{"version": 1, "version": 1}',
    "a key twice inside": b'{"version": 1, "x": {"a": 1, "a": 2}}',
    "very deep": b'{"x":' + b"[" * 4_000,
    "very deep and closed": b'{"x":' + b"[" * 2_000 + b"]" * 2_000 + b"}",
    "too long": b'{"x": "' + b"y" * 4_096 + b'"}',
}


@pytest.mark.parametrize("header", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_a_header_that_is_no_sound_json_object_is_refused(header):
    with pytest.raises(MalformedMessageError, match=r"^stream radio-1: ") as caught:
        parse(message(header=header))
    assert caught.value.reason == "header"


@pytest.mark.parametrize("version", [..., None, 0, 2, -1, True, 1.0, "1", [1], {"a": 1}])
def test_another_version_is_refused(version):
    with pytest.raises(MalformedMessageError, match=r"version is .*, expected 1") as caught:
        parse(message(version=version))
    assert caught.value.reason == "version"


BAD_FIELDS = [
    ("sample_rate", ...),
    ("sample_rate", None),
    ("sample_rate", 0),
    ("sample_rate", -8_000),
    ("sample_rate", 768_001),
    ("sample_rate", 16_000.0),
    ("sample_rate", "16000"),
    ("sample_rate", True),
    ("sample_rate", [16_000]),
    ("channels", ...),
    ("channels", 0),
    ("channels", 65),
    ("channels", 1.5),
    ("channels", False),
    ("encoding", ...),
    ("encoding", "pcm_u8"),
    ("encoding", "PCM_S16LE"),
    ("encoding", 16),
    ("encoding", ["pcm_s16le"]),
    ("encoding", {}),
    ("first_sample", ...),
    ("first_sample", -1),
    ("first_sample", 1 << 53),
    ("first_sample", (1 << 53) - 2),
    ("first_sample", 10**19),
    ("first_sample", 0.0),
    ("first_sample", "0"),
    ("first_sample", False),
    ("captured_at", "2024-01-01T00:00:00Z"),
    ("captured_at", True),
    ("captured_at", [1.0]),
    ("captured_at", -1),
    ("captured_at", 1_700_000_000_000),
    ("captured_at", 10**19),
    ("end", None),
    ("end", 1),
    ("end", "true"),
]


@pytest.mark.parametrize(("key", "value"), BAD_FIELDS)
def test_a_field_with_a_wrong_value_is_named(key, value):
    with pytest.raises(MalformedMessageError, match=rf"^stream radio-1: {key} is .*, expected ") as caught:
        parse(message(**{key: value}))
    assert caught.value.reason == "field"


def test_a_float_beyond_the_range_of_floats_is_no_time():
    header = json.dumps(HEADER).encode().replace(b"1700000000.25", b"1e999")

    with pytest.raises(MalformedMessageError, match="captured_at is inf"):
        parse(message(header=header))


@pytest.mark.parametrize(
    "name",
    [b"", b"x" * 129, b"a/b", b"a b", b"a\n", b"a\x00", b".", b"..", b"-rf", "größe".encode(), b"\xff\xfe", b"a,b"],
)
def test_a_name_outside_the_safe_set_is_refused(name):
    with pytest.raises(MalformedMessageError, match="stream name") as caught:
        parse(message(stream=name))
    assert caught.value.reason == "stream"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data": b""}, "no audio in it"),
        ({"data": PCM[:-1]}, "7 bytes of pcm_s16le"),
        ({"data": b"\x00" * 8, "encoding": "pcm_s24le"}, "8 bytes of pcm_s24le"),
        ({"data": b"\x00" * 3, "end": True}, "3 bytes of pcm_s16le"),
        ({"data": np.array([0, np.nan], "<f4").tobytes(), "encoding": "pcm_f32le"}, "value 1 of pcm_f32le is nan"),
        ({"data": np.array([np.inf, 0], "<f4").tobytes(), "encoding": "pcm_f32le"}, "value 0 of pcm_f32le is inf"),
        ({"data": np.array([0, 1e30], "<f4").tobytes(), "encoding": "pcm_f32le"}, "value 1 of pcm_f32le"),
        ({"data": PCM * 6, "sample_rate": 1}, "12 s of audio, expected at most 10 s"),
    ],
)
def test_audio_that_does_not_fit_its_header_is_refused(changes, text):
    with pytest.raises(MalformedMessageError, match=text) as caught:
        parse(message(**changes))
    assert caught.value.reason == "audio"


@pytest.mark.parametrize("count", [0, 1, 2, 4, 100])
def test_another_number_of_frames_is_refused(count):
    with pytest.raises(MalformedMessageError, match="frames, expected 3") as caught:
        parse((message() * 40)[:count])
    assert caught.value.reason == "frames"


def test_a_message_that_is_too_long_is_refused_before_it_is_read():
    with pytest.raises(MalformedMessageError, match=f"expected at most {MIB}") as caught:
        parse([b"radio-1", b"{", bytes(MIB)])
    assert caught.value.reason == "size"


def test_what_a_sender_wrote_is_repeated_shortened_and_without_control_characters():
    with pytest.raises(MalformedMessageError) as caught:
        parse(message(encoding="\x1b[31m\n" + "x" * 1_000))

    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 200


def test_every_reason_is_used():
    used = set()
    for frames in (
        [],
        [b"", b"", bytes(MIB + 1)],
        message(stream=b"/"),
        message(header=b"{"),
        message(version=2),
        message(channels=0),
        message(data=b""),
    ):
        with pytest.raises(MalformedMessageError) as caught:
            parse(frames)
        used.add(caught.value.reason)
    assert used == set(REASONS)

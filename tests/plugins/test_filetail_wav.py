from __future__ import annotations

import struct

import pytest
from tailing import wav_head

from streamcls import AudioFormat, SourceError
from streamcls_filetail.wav import parse_header


def reader(data: bytes):
    return lambda offset, length: data[offset : offset + length]


def parse(data: bytes):
    return parse_header(reader(data), "tape.wav")


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def fmt(tag: int, channels: int, rate: int, bits: int, tail: bytes = b"") -> bytes:
    block = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits) + tail)


def riff(*chunks: bytes, magic: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if size is None else size) + body


def extensible(tag: int, bits: int) -> bytes:
    guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
    return fmt(0xFFFE, 2, 44_100, bits, struct.pack("<HHI", 22, bits, 3) + guid)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (fmt(1, 1, 8_000, 8), AudioFormat(8_000, 1, "pcm_u8")),
        (fmt(1, 2, 44_100, 16), AudioFormat(44_100, 2, "pcm_s16le")),
        (fmt(1, 3, 96_000, 24), AudioFormat(96_000, 3, "pcm_s24le")),
        (fmt(1, 6, 48_000, 32), AudioFormat(48_000, 6, "pcm_s32le")),
        (fmt(3, 1, 22_050, 32), AudioFormat(22_050, 1, "pcm_f32le")),
        (fmt(3, 1, 22_050, 32, b"\0\0"), AudioFormat(22_050, 1, "pcm_f32le")),
        (extensible(1, 24), AudioFormat(44_100, 2, "pcm_s24le")),
        (extensible(3, 32), AudioFormat(44_100, 2, "pcm_f32le")),
    ],
)
def test_every_format_is_recognised(form, expected) -> None:
    data = riff(form, chunk(b"data", bytes(48)))
    header = parse(data)
    assert header is not None
    assert header.audio_format == expected
    assert header.data_offset == len(data) - 48
    assert header.data_size == 48
    assert header.riff_end == len(data)


def test_unknown_chunks_before_the_audio_are_skipped_with_their_padding() -> None:
    data = riff(chunk(b"JUNK", bytes(27)), fmt(1, 1, 8_000, 16), chunk(b"LIST", b"INFOx"), chunk(b"data", b"ab"))
    header = parse(data)
    assert header is not None
    assert data[header.data_offset :] == b"ab"


@pytest.mark.parametrize("magic", [b"RIFF", b"RF64", b"BW64"])
def test_a_header_that_is_cut_anywhere_is_waited_for(magic) -> None:
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, 0, 0, 0))
    data = riff(ds64, fmt(1, 1, 8_000, 16, b"\0\0"), chunk(b"fact", bytes(4)), b"data\xff\xff\xff\xff", magic=magic)
    for length in range(len(data)):
        assert parse(data[:length]) is None, length
    header = parse(data)
    assert header is not None
    assert header.data_offset == len(data)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_size_that_nobody_filled_in_is_unfinished(size) -> None:
    header = parse(riff(fmt(1, 1, 8_000, 16), struct.pack("<4sI", b"data", size), size=size))
    assert header is not None
    assert header.data_size is None
    assert header.riff_end is None
    assert header.audio_end(12_345, reader(b"")) == 12_345


def test_rf64_takes_its_sizes_from_ds64() -> None:
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 5_000_000_100, 5_000_000_000, 0, 0))
    data = riff(ds64, fmt(1, 1, 8_000, 16), b"data\xff\xff\xff\xff", magic=b"RF64", size=0xFFFFFFFF)
    header = parse(data)
    assert header is not None
    assert header.data_size == 5_000_000_000
    assert header.riff_end == 5_000_000_108


def test_ds64_means_nothing_in_a_plain_riff_file() -> None:
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 100, 64, 0, 0))
    header = parse(riff(ds64, fmt(1, 1, 8_000, 16), b"data\xff\xff\xff\xff", size=0xFFFFFFFF))
    assert header is not None
    assert header.data_size is None


AUDIO = bytes(range(200, 240))


@pytest.mark.parametrize(
    ("head", "behind", "audio_bytes"),
    [
        (wav_head(40), b"", 40),
        (wav_head(40, more=20), chunk(b"abcd", bytes(12)), 40),
        (wav_head(40), chunk(b"LIST", bytes(12)), 40),
        (wav_head(40), b"TAG" + bytes(125), 40),
        (wav_head(40), b"LI", 40),
        (wav_head(20), b"", 40),
        (wav_head(40), b"\x10\x20\x30\x40\x50\x60", 46),
        (wav_head(0x7FFFF000), b"\x10\x20", 42),
        (wav_head(0x7FFFF000), b"LIST" + bytes(4), 48),
        (wav_head(39), b"", 39),
    ],
    ids=[
        "nothing behind",
        "announced chunk behind",
        "known chunk behind",
        "id3v1 behind",
        "first bytes of a chunk behind",
        "stale size of a file that grew",
        "audio behind a stated size",
        "place-holder of sox",
        "place-holder not reached: LIST may be audio",
        "pad byte",
    ],
)
def test_the_end_of_the_audio(head, behind, audio_bytes) -> None:
    data = head + AUDIO + behind
    header = parse(data)
    assert header is not None
    assert header.audio_end(len(data), reader(data)) == header.data_offset + audio_bytes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"OggS" + bytes(60), r"tape\.wav: .*offset 0: found b'OggS', expected RIFF or RF64; for raw PCM declare"),
        (b"RIFX" + bytes(60), r"offset 0: found RIFX \(big-endian\), expected a little-endian"),
        (b"RIFF\0\0\0\0AVI " + bytes(60), r"offset 8: found b'AVI ', expected WAVE"),
        (b"R\0", r"offset 0: found b'R\\x00'"),
        (riff(chunk(b"data", b"ab")), r"offset 12: found the chunk 'data', expected the chunk 'fmt ' before it"),
        (riff(chunk(b"fmt ", bytes(14))), r"offset 16: chunk 'fmt ' says it has 14 bytes, expected at least 16"),
        (riff(chunk(b"fmt ", b"")), r"offset 16: chunk 'fmt ' says it has 0 bytes"),
        (riff(fmt(1, 1, 8_000, 16), fmt(1, 1, 8_000, 16)), r"offset 36: found a second chunk 'fmt ', expected one"),
        (
            riff(b"\x01\x02\x03\x04" + bytes(8)),
            r"offset 12: found b'\\x01\\x02\\x03\\x04', expected the name of a chunk",
        ),
        (
            riff(b"LIST" + struct.pack("<I", 1 << 30)),
            r"offset 16: chunk 'LIST' says it has 1073741824 bytes, expected at most",
        ),
        (riff(fmt(2, 1, 8_000, 4)), r"offset 20: format tag 0x0002 with 4 bits, expected PCM of 8"),
        (riff(fmt(3, 1, 8_000, 64)), r"format tag 0x0003 with 64 bits"),
        (riff(fmt(1, 0, 8_000, 16)), r"channels is 0, expected 1 to 64"),
        (riff(fmt(1, 1, 0, 16)), r"sample_rate is 0, expected 1 to 768000"),
        (riff(fmt(0xFFFE, 1, 8_000, 16)), r"WAVE_FORMAT_EXTENSIBLE with 16 bytes, expected 40"),
        (riff(extensible(7, 16)), r"format tag 0x0007 with 16 bits"),
        (riff(fmt(0xFFFE, 1, 8_000, 16, bytes(24))), r"offset 44: sub-format 0+, expected PCM or IEEE float"),
        (
            riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 2, 8_000, 32_000, 3, 16))),
            r"offset 32: 3 bytes a sample, expected 4 \(2 channels of 16 bits\)",
        ),
        (riff(*[chunk(b"JUNK", b"")] * 1_024), r"found 1024 chunks and no audio, expected the chunk 'data'"),
    ],
)
def test_a_corrupt_header_names_file_offset_and_expectation(data, message) -> None:
    with pytest.raises(SourceError, match=message):
        parse(data)

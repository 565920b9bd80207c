"""Mutated and random WAV headers. ``STREAMCLS_FUZZ`` is the number of inputs (default 3000)."""

from __future__ import annotations

import io
import os
import random
import struct

import numpy as np
import soundfile

from streamcls import SourceError
from streamcls.audio import decode_pcm
from streamcls_filetail.wav import WavHeader, parse_header

COUNT = int(os.environ.get("STREAMCLS_FUZZ", "3000"))
CORNERS = (0, 1, 2, 7, 15, 16, 39, 40, 127, 255, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NAMES = (b"RIFF", b"RF64", b"BW64", b"RIFX", b"WAVE", b"fmt ", b"data", b"ds64", b"LIST", b"JUNK", b"fact", b"\0\0\0\0")
MOST_READS = 2 * 1_024 + 8
"""Two reads for each of the chunks that may stand before the audio, and a few for the rest."""


class File:
    """Bytes that count what is asked of them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads = 0

    def read_at(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert 0 <= length <= 64, "a header is read in small pieces"
        self.reads += 1
        return self.data[offset : offset + length]


def seeds() -> list[bytes]:
    """Real headers: every container and encoding as libsndfile writes them."""
    audio = np.sin(np.arange(60, dtype=np.float32)).reshape(-1, 2)
    found = []
    for container in ("WAV", "WAVEX", "RF64"):
        for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"):
            if (container, subtype) not in {("RF64", "ULAW"), ("WAVEX", "DOUBLE")}:
                file = io.BytesIO()
                soundfile.write(file, audio, 44_100, subtype, format=container)
                found.append(file.getvalue())
    return found


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a header in a few places: bits, numbers, names, pieces cut out, doubled or moved."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(min(len(out), 110)) if out else 0
        match rng.randrange(8):
            case 0 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at : at + 4] = struct.pack("<I", rng.choice(CORNERS))
            case 2:
                out[at : at + 2] = struct.pack("<H", rng.choice(CORNERS) & 0xFFFF)
            case 3:
                out[at : at + 4] = rng.choice(NAMES)
            case 4:
                del out[at : at + rng.randrange(1, 40)]
            case 5:
                out[at:at] = out[at : at + rng.randrange(1, 60)]
            case 6:
                out[at:at] = rng.randbytes(rng.randrange(1, 20))
            case _:
                del out[rng.randrange(len(out) + 1) :]
    return bytes(out)


def random_file(rng: random.Random) -> bytes:
    """Chunks of random names and sizes behind a good beginning, or no beginning at all."""
    if rng.random() < 0.2:
        return rng.randbytes(rng.randrange(200))
    data = rng.choice(NAMES[:3]) + struct.pack("<I", rng.choice(CORNERS)) + b"WAVE"
    for _ in range(rng.choice((1, 3, 10, 1_100))):
        body = rng.randbytes(rng.choice((0, 1, 16, 18, 40)))
        data += rng.choice(NAMES[5:]) + struct.pack("<I", rng.choice((len(body), rng.choice(CORNERS)))) + body
    return data


def check(data: bytes) -> str:
    """Hold one input against what is promised; return how it ended."""
    file = File(data)
    try:
        header = parse_header(file.read_at, "tape.wav")
    except SourceError as error:
        refusal = str(error)
    else:
        refusal = ""
    assert file.reads <= MOST_READS
    if refusal:
        assert refusal.startswith("tape.wav: no WAV file that can be read: offset ")
        assert "expected" in refusal
        return "refused"
    if header is None:
        return "unfinished"
    check_header(header, file)
    return "read"


def check_header(header: WavHeader, file: File) -> None:
    """A header that was read leads to audio inside the file, and more bytes never take audio away."""
    size = len(file.data)
    assert 20 <= header.data_offset <= size
    end = header.audio_end(size, file.read_at)
    assert end <= max(size, header.data_offset)
    assert end == size or header.data_size is not None
    audio = file.data[header.data_offset : end]
    audio = audio[: len(audio) // header.audio_format.bytes_per_sample * header.audio_format.bytes_per_sample]
    if header.audio_format.encoding != "pcm_f32le":
        assert np.all(np.abs(decode_pcm(audio, header.audio_format)) <= 1)
    whole = parse_header(File(file.data[: header.data_offset]).read_at, "tape.wav")
    assert whole == header, "the header depends on what follows it"


def test_no_header_crashes_or_stalls_the_parser() -> None:
    rng = random.Random(20_240_607)
    originals = seeds()
    ends = {"read": 0, "unfinished": 0, "refused": 0}
    for number in range(COUNT):
        data = random_file(rng) if number % 4 == 3 else mutate(rng.choice(originals), rng)
        try:
            ends[check(data)] += 1
        except Exception as error:
            raise AssertionError(f"input {number}: {data[:200].hex()}") from error
    print(f"{COUNT} inputs: {ends}")
    assert min(ends.values()) > COUNT // 50, "the inputs are too tame or too wild to say anything"


def test_every_original_is_read_or_refused_for_its_encoding() -> None:
    assert {check(data) for data in seeds()} == {"read", "refused"}


def test_every_cut_of_an_original_is_unfinished_or_ends_as_the_whole() -> None:
    for data in seeds():
        whole = check(data)
        assert {check(data[:length]) for length in range(len(data))} <= {"unfinished", whole}

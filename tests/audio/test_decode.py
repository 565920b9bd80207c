from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import soundfile
from signals import noise, real_file

from streamcls.audio.decode import decode_file, duration_s, read_file
from streamcls.errors import AudioError

if TYPE_CHECKING:
    from pathlib import Path

RATE = 48_000


def _tone(channels: int, rate: int = RATE, seconds: float = 1.0) -> np.ndarray:
    """A tone whose frequency says which channel it is."""
    time = np.arange(round(rate * seconds)) / rate
    return np.stack(
        [0.4 * np.sin(2 * np.pi * 300 * (channel + 1) * time) for channel in range(channels)], axis=1
    ).astype(np.float32)


def _encode(
    path: Path, codec: str, samples: np.ndarray, layout: str, *, rate: int = RATE, sample_format: str = "s16"
) -> Path:
    """Write a file with PyAV's own encoders."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.codec_context.layout = layout
        stream.codec_context.format = sample_format
        stream.codec_context.time_base = Fraction(1, rate)
        planar = sample_format.endswith("p")
        values = samples if sample_format.startswith("fl") else np.rint(samples * 32767).astype(np.int16)
        values = values.T if planar else values.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format=sample_format, layout=layout)
        frame.sample_rate = rate
        frame.pts = 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        while (part := fifo.read(stream.codec_context.frame_size or 4096, partial=True)) is not None:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def _loudest_hz(samples: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize(
    ("name", "subtype"), [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16")]
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_lossless_files_decode_to_what_libsndfile_reads(tmp_path: Path, name: str, subtype: str, channels: int) -> None:
    path = tmp_path / name
    soundfile.write(path, _tone(channels), RATE, subtype=subtype)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    samples, rate = read_file(path)
    assert rate == RATE
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, expected, atol=1e-7)


@pytest.mark.parametrize("kind", [("a.mp3", "libmp3lame", "s16p"), ("a.opus", "libopus", "s16")], ids=["mp3", "opus"])
@pytest.mark.parametrize(("channels", "layout"), [(1, "mono"), (2, "stereo")])
def test_lossy_files_keep_length_rate_and_channels(
    tmp_path: Path, kind: tuple[str, str, str], channels: int, layout: str
) -> None:
    name, codec, sample_format = kind
    samples, rate = read_file(_encode(tmp_path / name, codec, _tone(channels), layout, sample_format=sample_format))
    assert rate == RATE
    assert samples.shape[1] == channels
    assert abs(len(samples) - RATE) < 0.05 * RATE
    for channel in range(channels):
        assert _loudest_hz(samples[5000:45_000, channel], RATE) == pytest.approx(300 * (channel + 1), abs=3)
        assert np.abs(samples[5000:45_000, channel]).max() == pytest.approx(0.4, abs=0.05)


def test_a_surround_file_keeps_its_six_channels_in_order(tmp_path: Path) -> None:
    samples, _ = read_file(_encode(tmp_path / "a.flac", "flac", _tone(6), "5.1"))
    assert [round(_loudest_hz(samples[:, channel], RATE)) for channel in range(6)] == [300, 600, 900, 1200, 1500, 1800]


def test_chunks_are_contiguous_named_and_without_a_wall_clock(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, _tone(2), RATE)
    chunks = list(decode_file(path, "tape"))
    assert len(chunks) > 1
    assert [chunk.first_sample for chunk in chunks] == np.cumsum(
        [0, *(len(chunk.samples) for chunk in chunks[:-1])]
    ).tolist()
    assert {(chunk.stream, chunk.sample_rate, chunk.captured_at) for chunk in chunks} == {("tape", RATE, None)}
    assert all(chunk.samples.flags.c_contiguous for chunk in chunks)


def test_a_real_recording_decodes_as_libsndfile_decodes_it() -> None:
    path = real_file("gtzan_full30/rock/*.ogg")
    expected, rate = soundfile.read(path, dtype="float32", always_2d=True)
    samples, got = read_file(path)
    assert got == rate
    assert samples.shape == expected.shape
    np.testing.assert_allclose(samples, expected, atol=1e-3)
    assert duration_s(path) == pytest.approx(len(expected) / rate, abs=0.01)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nowhere\.wav: cannot be decoded: No such file"):
        list(decode_file(tmp_path / "nowhere.wav", "s"))


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF", b"RIFF\x24\x00\x00\x00WAVEfmt ", b"this is no audio at all" * 50, bytes(5000)],
    ids=["empty", "riff", "header", "text", "zeros"],
)
def test_a_file_that_is_no_audio_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"broken\.wav: "):
        list(decode_file(path, "s"))


def test_a_file_with_a_header_and_no_audio_is_called_empty(tmp_path: Path) -> None:
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros((0, 1), np.float32), RATE)
    with pytest.raises(AudioError, match=r"silent\.wav: "):
        list(decode_file(path, "s"))


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"cannot be decoded"):
        list(decode_file(tmp_path, "s"))


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match=r"film\.mkv: no audio track"):
        list(decode_file(path, "s"))


@pytest.mark.parametrize("damage", [50, 20_000])
def test_damage_that_ffmpeg_passes_over_leaves_the_rest_decodable(tmp_path: Path, damage: int) -> None:
    path = tmp_path / "torn.flac"
    soundfile.write(path, noise(RATE * 4), RATE)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + damage] = bytes(damage)
    path.write_bytes(content)
    samples, rate = read_file(path)
    assert rate == RATE
    assert 3 * RATE < len(samples) < 4 * RATE
    np.testing.assert_allclose(samples[:RATE, 0], noise(RATE * 4)[:RATE], atol=1e-4)
    np.testing.assert_allclose(samples[-RATE:, 0], noise(RATE * 4)[-RATE:], atol=1e-4)


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.77])
def test_a_truncated_mp3_gives_what_is_there_or_an_error_that_names_it(tmp_path: Path, keep: float) -> None:
    path = _encode(tmp_path / "short.mp3", "libmp3lame", _tone(2, seconds=4), "stereo", sample_format="s16p")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    position, complaint = 0, ""
    try:
        for chunk in decode_file(path, "s"):
            assert chunk.first_sample == position
            position = chunk.end_sample
    except AudioError as error:
        complaint = str(error)
    assert position == pytest.approx(keep * 4 * RATE, rel=0.1)
    assert not complaint or "short.mp3: cannot be decoded after" in complaint


def test_an_mp3_of_a_header_alone_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = _encode(tmp_path / "short.mp3", "libmp3lame", _tone(2), "stereo", sample_format="s16p")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(AudioError, match=r"short\.mp3: "):
        list(decode_file(path, "s"))


def test_a_change_of_rate_inside_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    first = _encode(tmp_path / "a.mp3", "libmp3lame", _tone(1, 44_100), "mono", rate=44_100, sample_format="s16p")
    second = _encode(tmp_path / "b.mp3", "libmp3lame", _tone(1, 22_050), "mono", rate=22_050, sample_format="s16p")
    both = tmp_path / "both.mp3"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(AudioError, match=r"both\.mp3: cannot be decoded after [01]\.\d\d s"):
        list(decode_file(both, "s"))


def test_the_stated_length_is_known_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, _tone(1, seconds=1.5), RATE)
    assert duration_s(path) == pytest.approx(1.5, abs=1e-3)
    assert duration_s(tmp_path / "nowhere.wav") is None
    raw = tmp_path / "text.wav"
    raw.write_bytes(b"no audio")
    assert duration_s(raw) is None


def test_tags_that_are_not_utf_8_do_not_matter(tmp_path: Path) -> None:
    text = b"caf\xe9 \xff\xfe!"
    info = b"INFOIART" + struct.pack("<I", len(text)) + text
    pcm = struct.pack("<4h", 0, 8192, -8192, 16384)
    body = b"WAVE" + b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    body += b"LIST" + struct.pack("<I", len(info)) + info + b"data" + struct.pack("<I", len(pcm)) + pcm
    path = tmp_path / "tagged.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    samples, rate = read_file(path)
    assert rate == 8000
    assert samples[:, 0].tolist() == [0.0, 0.25, -0.25, 0.5]

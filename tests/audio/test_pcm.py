from __future__ import annotations

import io
import math

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamcls.audio import decode_pcm, down_mix, encode_pcm
from streamcls.errors import AudioError
from streamcls.types import ENCODINGS, AudioFormat

SUBTYPES = {
    "pcm_u8": "PCM_U8",
    "pcm_s16le": "PCM_16",
    "pcm_s24le": "PCM_24",
    "pcm_s32le": "PCM_32",
    "pcm_f32le": "FLOAT",
}
BITS = {"pcm_u8": 8, "pcm_s16le": 16, "pcm_s24le": 24}


def _reference(data: bytes, encoding: str, channels: int) -> np.ndarray:
    file = io.BytesIO(data)
    samples, _ = soundfile.read(
        file,
        dtype="float64",
        always_2d=True,
        samplerate=8000,
        channels=channels,
        format="RAW",
        subtype=SUBTYPES[encoding],
        endian="LITTLE",
    )
    return samples


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("encoding", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le"])
def test_every_byte_pattern_decodes_as_libsndfile_decodes_it(encoding: str, channels: int) -> None:
    size = ENCODINGS[encoding] * channels
    data = np.random.default_rng(1).integers(0, 256, 2000 * size, dtype=np.uint8).tobytes()
    samples = decode_pcm(data, AudioFormat(8000, channels, encoding))
    assert samples.shape == (2000, channels)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, _reference(data, encoding, channels).astype(np.float32))


def test_floats_decode_to_themselves() -> None:
    values = np.random.default_rng(2).standard_normal((500, 2)).astype(np.float32)
    samples = decode_pcm(memoryview(values.tobytes()), AudioFormat(8000, 2, "pcm_f32le"))
    np.testing.assert_array_equal(samples, values)


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        ("pcm_u8", b"\x00\x80\xff", [-1.0, 0.0, 127 / 128]),
        ("pcm_s16le", b"\x00\x80\x00\x00\xff\x7f", [-1.0, 0.0, 32767 / 32768]),
        ("pcm_s24le", b"\x00\x00\x80\x01\x00\x00\xff\xff\xff", [-1.0, 2.0**-23, -(2.0**-23)]),
        ("pcm_s32le", b"\x00\x00\x00\x80\x00\x00\x00\x40", [-1.0, 0.5]),
    ],
)
def test_full_scale_is_minus_one_up_to_just_below_one(encoding: str, data: bytes, expected: list[float]) -> None:
    assert decode_pcm(data, AudioFormat(8000, 1, encoding))[:, 0].tolist() == expected


def test_nothing_decodes_to_nothing() -> None:
    assert decode_pcm(b"", AudioFormat(8000, 2, "pcm_s24le")).shape == (0, 2)


@pytest.mark.parametrize("encoding", list(ENCODINGS))
def test_a_length_inside_a_sample_is_refused_with_its_numbers(encoding: str) -> None:
    size = ENCODINGS[encoding] * 2
    with pytest.raises(AudioError, match=rf"{size + 1} bytes of {encoding}.* samples of {size} bytes \(2 channels\)"):
        decode_pcm(bytes(size + 1), AudioFormat(8000, 2, encoding))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1001.0, -3e38])
def test_floats_that_are_no_audio_are_refused_with_their_place(bad: float) -> None:
    values = np.zeros(10, np.float32)
    values[7] = bad
    with pytest.raises(AudioError, match="value 7 of pcm_f32le"):
        decode_pcm(values.tobytes(), AudioFormat(8000, 1, "pcm_f32le"))


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_s24le", "pcm_f32le"])
@settings(deadline=None)
@given(values=arrays(np.float32, (50, 2), elements=st.floats(-1, 0.99951171875, width=32)))
def test_encoding_and_decoding_returns_the_nearest_value(encoding: str, values: np.ndarray) -> None:
    again = decode_pcm(encode_pcm(values, encoding), AudioFormat(8000, 2, encoding))
    step = 0.0 if encoding == "pcm_f32le" else 2.0 ** -BITS[encoding]
    assert np.all(np.abs(again.astype(np.float64) - values) <= step * 1.0000001)


@pytest.mark.parametrize(("encoding", "largest"), [("pcm_s16le", 32767 / 32768), ("pcm_s24le", 8388607 / 8388608)])
def test_integers_are_clipped_and_never_wrap(encoding: str, largest: float) -> None:
    samples = np.array([2.0, -2.0, 1.0, -1.0], np.float32)
    again = decode_pcm(encode_pcm(samples, encoding), AudioFormat(8000, 1, encoding))[:, 0]
    assert again.tolist() == [largest, -1.0, largest, -1.0]


def test_an_encoding_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(AudioError, match="'pcm_u8', expected pcm_s16le, pcm_s24le or pcm_f32le"):
        encode_pcm(np.zeros(1, np.float32), "pcm_u8")


def test_the_down_mix_is_the_mean_of_the_channels_and_leaves_its_input_alone() -> None:
    samples = np.random.default_rng(3).standard_normal((100, 6)).astype(np.float32)
    before = samples.copy()
    mono = down_mix(samples)
    assert mono.dtype == np.float32
    np.testing.assert_allclose(mono, samples.mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(samples, before)
    np.testing.assert_array_equal(down_mix(samples[:, :1]), samples[:, 0])
    assert down_mix(samples[:, :1]).flags.c_contiguous


@settings(deadline=None)
@given(cut=st.integers(0, 100))
def test_the_down_mix_does_not_depend_on_where_chunks_end(cut: int) -> None:
    samples = np.random.default_rng(4).standard_normal((100, 3)).astype(np.float32)
    np.testing.assert_array_equal(np.concatenate([down_mix(samples[:cut]), down_mix(samples[cut:])]), down_mix(samples))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, "pcm_s16le"), "sample_rate is 0"),
        ((768_001, 1, "pcm_s16le"), "sample_rate is 768001"),
        ((8000, 0, "pcm_s16le"), "channels is 0"),
        ((8000, 65, "pcm_s16le"), "channels is 65"),
        ((8000, 1, "pcm_s16be"), "encoding is 'pcm_s16be'"),
    ],
)
def test_a_format_that_cannot_be_is_refused(arguments: tuple[int, int, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioFormat(*arguments)

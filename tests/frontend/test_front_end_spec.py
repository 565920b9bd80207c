from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import pytest

from streamcls.types import FrontEndSpec

DEFAULT_DIGEST = "b3e73e5378846ca5720ccec9fde0af69472a74094cd108aaa859cca3aa1d8a88"


def test_the_digest_of_the_defaults_never_changes_by_accident() -> None:
    """Bundles are bound to it: a new field or another default makes every bundle's features another thing."""
    assert FrontEndSpec().digest == DEFAULT_DIGEST


OTHER: dict[str, Any] = {
    "kind": "log_mel",
    "sample_rate": 22_051,
    "frame_length": 2_047,
    "hop_length": 511,
    "n_fft": 4_096,
    "window": "rectangular",
    "power": 1.0,
    "n_mels": 65,
    "mel_scale": "htk",
    "mel_norm": "none",
    "fmin": 1.0,
    "fmax": 11_000.0,
    "log_floor": 1e-9,
    "n_mfcc": 63,
    "dct_norm": "none",
    "normalise": "window",
}


def test_every_field_enters_the_digest() -> None:
    assert set(OTHER) == set(FrontEndSpec.field_names())
    digests = {replace(FrontEndSpec(), **{name: value}).digest for name, value in OTHER.items()}
    assert len(digests | {FrontEndSpec().digest}) == len(OTHER) + 1


def test_a_whole_number_in_a_file_means_the_same_as_the_same_number_with_a_point() -> None:
    whole = FrontEndSpec(power=2, fmin=0, fmax=8000)
    point = FrontEndSpec(power=2.0, fmin=0.0, fmax=8000.0)
    assert whole == point
    assert whole.digest == point.digest
    assert all(type(asdict(whole)[name]) is float for name in ("power", "fmin", "fmax"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "mel"}, "kind is 'mel', expected mfcc, log_mel or waveform"),
        ({"kind": ["mfcc"]}, r"kind is \['mfcc'\], expected a word"),
        ({"window": "hamming"}, "window is 'hamming'"),
        ({"mel_scale": "mel"}, "mel_scale is 'mel'"),
        ({"mel_norm": None}, "mel_norm is None, expected a word"),
        ({"mel_norm": "area"}, "mel_norm is 'area'"),
        ({"dct_norm": "orthonormal"}, "dct_norm is 'orthonormal'"),
        ({"normalise": "clip"}, "normalise is 'clip'"),
        ({"sample_rate": 999}, "sample_rate is 999"),
        ({"sample_rate": 384_001}, "sample_rate is 384001"),
        ({"sample_rate": 22_050.0}, "sample_rate is 22050.0, expected a whole number"),
        ({"hop_length": 0}, "hop_length is 0"),
        ({"hop_length": 512.0}, "hop_length is 512.0, expected a whole number"),
        ({"hop_length": True}, "hop_length is True, expected a whole number"),
        ({"hop_length": 2_049}, "frame_length is 2048, expected hop_length to"),
        ({"frame_length": 1 << 17, "n_fft": 1 << 17}, "frame_length is 131072"),
        ({"n_fft": 2_047}, "n_fft is 2047, expected frame_length"),
        ({"n_fft": (1 << 17) + 1}, "n_fft is 131073"),
        ({"power": 1.5}, "power is 1.5"),
        ({"power": "2"}, "power is '2', expected a number"),
        ({"n_mels": 0}, "n_mels is 0"),
        ({"n_mels": 1_025}, "n_mels is 1025"),
        ({"n_mfcc": 65}, r"n_mfcc is 65, expected 1 to n_mels \(64\)"),
        ({"n_mfcc": 0}, "n_mfcc is 0"),
        ({"fmin": -1.0}, "fmin is -1.0"),
        ({"fmin": 11_025.0}, "fmin is 11025.0"),
        ({"fmin": math.nan}, "fmin is nan"),
        ({"fmax": 11_026.0}, r"fmax is 11026.0, expected at most half the sample rate \(11025 Hz\)"),
        ({"fmax": math.nan}, "fmin is 0.0, expected 0 to fmax"),
        ({"log_floor": 0.0}, "log_floor is 0.0"),
        ({"log_floor": 1.0}, "log_floor is 1.0"),
        ({"kind": "waveform"}, "frame_length is 2048, expected equal to hop_length"),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name_value_and_expectation(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FrontEndSpec(**change)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (FrontEndSpec(n_mfcc=20), 20),
        (FrontEndSpec(kind="log_mel", n_mels=128), 128),
        (FrontEndSpec(kind="waveform", frame_length=512), 512),
    ],
)
def test_the_number_of_features_depends_on_the_kind(spec: FrontEndSpec, expected: int) -> None:
    assert spec.n_features == expected

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streamcls.errors import BundleError
from streamcls.training.importing.front_end import front_end_for, parse_values, read_spec_file

if TYPE_CHECKING:
    from pathlib import Path

MFCC: dict[str, Any] = {"sample_rate": 16_000, "frame_length": 400, "hop_length": 160, "n_mels": 40}
MEL: dict[str, Any] = {"sample_rate": 16_000, "frame_length": 400, "hop_length": 160}


@pytest.mark.parametrize(
    ("shape", "stride_s", "hop", "n_frames", "stride_frames"),
    [
        ((15600,), None, 7800, 2, 1),  # YAMNet: half a window
        ((1, 15600), 0.975, 15600, 1, 1),
        ((1, 15600, 1), 0.5, 400, 39, 20),
        ((1, 15600), 1.95, 15600, 1, 2),
        ((1, 144000), None, 36_000, 4, 2),  # half of it is more than a frame may have
        ((1, 144000), 9.0, 48_000, 3, 3),
        ((15601,), None, 15601, 1, 1),  # a prime: no half, whole windows
    ],
)
def test_a_row_of_samples_is_filled_by_whole_frames(
    shape: tuple[int, ...], stride_s: float | None, hop: int, n_frames: int, stride_frames: int
) -> None:
    spec, window = front_end_for("waveform", shape, {"sample_rate": 16_000}, stride_s)
    assert (spec.kind, spec.hop_length, spec.n_features) == ("waveform", hop, hop)
    assert (window.n_frames, window.stride_frames) == (n_frames, stride_frames)
    assert window.n_frames * spec.n_features == max(shape)


@pytest.mark.parametrize(
    ("shape", "n_frames", "n_features"), [((1, 96, 40), 96, 40), ((1, 96, 40, 1), 96, 40), ((1, 1, 96, 40), 96, 40), ((40, 40), 40, 40)]
)  # fmt: skip
def test_rows_of_features_take_their_number_from_the_shape(
    shape: tuple[int, ...], n_frames: int, n_features: int
) -> None:
    for kind, values in (("mfcc", MFCC), ("log_mel", MEL)):
        spec, window = front_end_for(kind, shape, values, None)
        assert (spec.n_features, window.n_frames, window.stride_frames) == (n_features, n_frames, n_frames // 2)
        assert (spec.n_fft, spec.fmax) == (400, 8000.0)


def test_a_stride_is_rounded_to_frames() -> None:
    _, window = front_end_for("mfcc", (1, 96, 40), MFCC, 0.333)
    assert window.stride_frames == 33


@pytest.mark.parametrize(
    ("kind", "shape", "values", "stride_s", "message"),
    [
        ("waveform", (15600,), {}, None, "the sample rate is missing.*--sample-rate"),
        ("waveform", (15600,), {"sample_rate": 5}, None, "sample_rate is 5, expected 1000 to 384000 Hz"),
        ("waveform", (15600,), {"sample_rate": 16_000, "n_mels": 3}, None, "n_mels mean nothing to a model that takes samples"),
        ("waveform", (1, 96, 64), {"sample_rate": 16_000}, None, r"\[1, 96, 64\], which is no row of samples"),
        ("waveform", (15600,), {"sample_rate": 16_000}, 1 / 3, r"cannot be 5333 samples apart.*try --stride 0\.333125"),
        ("waveform", (200_003,), {"sample_rate": 16_000}, None, "of 80 to 65536 samples$"),
        ("mfcc", (1, 96, 40), {"sample_rate": 16_000}, None, "frame_length, hop_length, n_mels missing"),
        ("mfcc", (1, 96, 40), {**MFCC, "n_mel": 40}, None, "unknown n_mel; it has kind, sample_rate"),
        ("mfcc", (1, 96, 40), {**MFCC, "kind": "log_mel"}, None, "kind is 'log_mel', but --input says mfcc"),
        ("mfcc", (1, 96, 64), MFCC, None, r"n_mfcc is 64, expected 1 to n_mels \(40\); the model's input is \[1, 96, 64\]"),
        ("mfcc", (1, 96, 40), {**MFCC, "n_mfcc": 13}, None, r"input is \[1, 96, 40\], but the front end gives rows of 13 \(mfcc\)"),
        ("log_mel", (1, 64, 96), {**MEL, "n_mels": 64}, None, "64 features by 96 frames, but windows are frames by features"),
        ("log_mel", (1, 96, 64, 3), {**MEL, "n_mels": 64}, None, r"expected \[1, n_frames, 64\]"),
        ("log_mel", (1, 96, 64), {**MEL, "hop_length": "x"}, None, "hop_length is 'x', expected a whole number"),
    ],
)  # fmt: skip
def test_what_does_not_fill_the_input_is_refused_with_the_culprit(
    kind: Any, shape: tuple[int, ...], values: dict[str, Any], stride_s: float | None, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        front_end_for(kind, shape, values, stride_s)


def test_settings_are_numbers_where_they_can_be() -> None:
    assert parse_values(["hop_length=160", "fmax = 7600.5", "mel_scale=htk"]) == {
        "hop_length": 160,
        "fmax": 7600.5,
        "mel_scale": "htk",
    }


@pytest.mark.parametrize("value", ["hop_length", "=3", "hop_length="])
def test_a_setting_without_key_or_value_is_refused(value: str) -> None:
    with pytest.raises(BundleError, match=r"is not KEY=VALUE"):
        parse_values([value])


def test_a_front_end_is_read_from_its_own_file_or_from_a_table_of_another(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    for text in ('kind = "mfcc"\nn_mels = 40\n', 'name = "x"\n[front_end]\nkind = "mfcc"\nn_mels = 40\n'):
        path.write_text(text)
        assert read_spec_file(path) == {"kind": "mfcc", "n_mels": 40}


@pytest.mark.parametrize(("text", "message"), [("front_end = 3", "expected a table"), ("a = ", "no valid TOML")])
def test_what_is_no_front_end_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(BundleError, match=message):
        read_spec_file(path)
    with pytest.raises(BundleError, match=r"b\.toml: No such file"):
        read_spec_file(tmp_path / "b.toml")

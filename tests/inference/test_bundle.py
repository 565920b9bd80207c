from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from core_bundles import LABELS, MANIFEST, write_bundle

from streamcls.errors import BundleError
from streamcls.inference import bundle as bundle_module
from streamcls.inference import bundled_model_paths, find_bundles, load_bundle
from streamcls.inference.bundle import parse_labels
from streamcls.types import FrontEndSpec


def test_a_valid_bundle_says_everything_that_its_users_ask(tmp_path: Path) -> None:
    bundle = load_bundle(write_bundle(tmp_path / "tiny", model=b"abc"))
    assert (bundle.name, bundle.labels, bundle.n_labels) == ("tiny", ("rock", "jazz", "audiobook"), 3)
    assert bundle.taxonomy == {"rock": "audioset:/m/06by7"}
    assert (bundle.input_shape, bundle.output_name, bundle.model_bytes) == ((1, 10, 40, 1), None, b"abc")
    assert bundle.digest == hashlib.sha256(b"abc").hexdigest()
    assert isinstance(bundle.spec, FrontEndSpec)
    assert (bundle.spec.kind, bundle.spec.fmax) == ("log_mel", 8000.0)
    assert bundle.window_s == pytest.approx((9 * 256 + 512) / 16_000)
    assert bundle.stride_s(5) == pytest.approx(5 * 256 / 16_000)
    assert (bundle.calibration.temperature, bundle.calibration.bias) == (1.5, (0.0, 0.5, -0.5))
    info = bundle.info("mine", 10)
    assert (info.name, info.version, info.task, info.labels, info.exclusive) == (
        "mine",
        "1.2",
        "genre",
        bundle.labels,
        True,
    )
    assert (info.window_s, info.stride_s) == (bundle.window_s, bundle.stride_s(10))
    assert (info.digest, info.front_end_digest) == (bundle.digest, bundle.spec.digest)
    assert (info.taxonomy, info.thresholds) == (bundle.taxonomy, {"rock": 0.4})
    assert bundle.info().name == "tiny"
    assert bundle.info().stride_s == bundle.stride_s(5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1\n", "", "format is None, this version of streamcls reads 1"),
        ("format = 1\n", "format = 2\n", "format is 2, this version of streamcls reads 1; upgrade streamcls"),
        ("format = 1\n", "format = true\n", "format is True"),
        ('name = "tiny"', 'name = "Tiny Name"', "name: "),
        ('version = "1.2"', "version = 1.2", "version: "),
        ('version = "1.2"\n', "", "version: Field required"),
        ('task = "genre"', 'task = ""', "task: "),
        ('task = "genre"', 'task = "genre"\nunknown = 1', "unknown: Extra inputs"),
        ("[1, 10, 40, 1]", "[]", r"model\.input_shape: "),
        ("[1, 10, 40, 1]", "[1, 0, 40]", r"model\.input_shape\.1: "),
        ("[1, 10, 40, 1]", "[1, 10, 41, 1]", r"model\.input_shape \[1, 10, 41, 1\] holds 410 values, .*10 x 40 = 400"),
        ('quantisation = "int8"', 'quantisation = "int4"', r"model\.quantisation: "),
        ('quantisation = "int8"', 'quantisation = "int8"\nfile = "other.tflite"', "files lacks 'other.tflite'"),
        ('quantisation = "int8"', 'quantisation = "int8"\nlabels = "other.txt"', "files lacks 'other.txt'"),
        ("n_frames = 10", "n_frames = 0", r"window\.n_frames: "),
        ("n_frames = 10", "n_frames = 11", "holds 400 values, .*11 x 40 = 440"),
        ("stride_frames = 5", "stride_frames = 0", r"window\.stride_frames: "),
        ('activation = "softmax"', 'activation = "relu"', r"calibration\.activation: "),
        ("temperature = 1.5", "temperature = 0", r"calibration\.temperature: "),
        ("temperature = 1.5", "temperature = nan", r"calibration\.temperature: "),
        ("bias = [0.0, 0.5, -0.5]", "bias = [0.0, 0.5]", r"calibration\.bias has 2 values for 3 labels"),
        ("bias = [0.0, 0.5, -0.5]", "bias = [0.0, inf, 0.0]", r"calibration\.bias\.1: "),
        ("rock = 0.4", "pop = 0.4", r"calibration\.thresholds names pop, which labels\.txt does not have"),
        ("rock = 0.4", "rock = 1.4", r"calibration\.thresholds\.rock: "),
        ('kind = "log_mel"', 'kind = "mel"', "front_end: kind is 'mel'"),
        ('kind = "log_mel"', "kind = []", r"front_end: kind is \[\], expected a word"),
        ('kind = "log_mel"', 'kind = "log_mel"\nhop = 3', "front_end: unknown hop; it has kind, sample_rate"),
        ("hop_length = 256", 'hop_length = "256"', "front_end: hop_length is '256', expected a whole number"),
        ("fmax = 8000", "fmax = 8001", "front_end: fmax is 8001.0, expected at most half"),
        ("n_mels = 40", "n_mels = 40.0", "front_end: n_mels is 40.0, expected a whole number"),
        ("[files]", "[files]\n'more.bin' = 'abc'", r"files\.more\.bin: "),
        ("[files]", f"[files]\n'more.bin' = '{'0' * 64}'", r"files: more\.bin cannot be read: No such file"),
        ("[files]", f"[files]\n'../secret' = '{'0' * 64}'", "files: '../secret' is no plain file name"),
        ("[files]", f"[files]\n'/etc/passwd' = '{'0' * 64}'", "files: '/etc/passwd' is no plain file name"),
        ("[files]", f"[files]\n'..' = '{'0' * 64}'", r"files: '\.\.' is no plain file name"),
        ("[files]", f"[files]\n'a/b' = '{'0' * 64}'", "files: 'a/b' is no plain file name"),
        ("[files]", f"[files]\n\"a\\u0000b\" = '{'0' * 64}'", "is no plain file name"),
        ("[files]", f"[files]\n'{'x' * 300}' = '{'0' * 64}'", "cannot be read: File name too long"),
    ],
)
def test_a_wrong_manifest_is_refused_by_folder_and_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MANIFEST
    folder = write_bundle(tmp_path / "tiny", manifest=MANIFEST.replace(old, new, 1))
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(folder)
    assert str(caught.value).startswith(f"{folder}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "format is None"),
        (b"format = ", "bundle.toml is no valid TOML"),
        (b"\xff\xfe", "bundle.toml is no valid TOML"),
        (b"format = " + b"9" * 5000, "bundle.toml is no valid TOML: Exceeds the limit"),
        (b"a = " + b"[" * 100_000, "bundle.toml is no valid TOML"),
        (b"#" * ((4 << 20) + 1), "bundle.toml has 4194305 bytes, expected at most 4194304"),
    ],
    ids=["empty", "cut", "no-utf8", "digits", "deep", "huge"],
)
def test_a_manifest_that_is_no_toml_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_bundle(tmp_path / "tiny")
    (folder / "bundle.toml").write_bytes(content)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (b"", "model.labels: labels.txt: it is empty"),
        (b"rock\n\njazz\n", "model.labels: labels.txt: line 2 has no label"),
        (b"rock\njazz\nrock\n", "model.labels: labels.txt: line 3 repeats the label 'rock'"),
        (b"\xff\xff\n", "model.labels: labels.txt: "),
    ],
)
def test_a_wrong_label_file_is_refused(tmp_path: Path, labels: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(write_bundle(tmp_path / "tiny", labels=labels))


@pytest.mark.parametrize("name", ["model.tflite", "labels.txt"])
def test_a_file_that_was_changed_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path / "tiny")
    content = bytearray((folder / name).read_bytes())
    content[3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(
        BundleError, match=rf"files: {name} has sha256 .*…, the bundle says .*…: it is damaged or was changed"
    ):
        load_bundle(folder)


def test_a_missing_folder_file_or_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere: no readable bundle\.toml: No such file"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"no readable bundle\.toml: embedded null byte"):
        load_bundle(Path("a\0b"))
    folder = write_bundle(tmp_path / "tiny")
    (folder / "model.tflite").unlink()
    (folder / "model.tflite").mkdir()
    with pytest.raises(BundleError, match=r"files: model\.tflite cannot be read: Is a directory"):
        load_bundle(folder)


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bundle(tmp_path / "tiny")
    with (folder / "model.tflite").open("wb") as file:
        file.truncate(bundle_module._LARGEST_FILE + 1)  # a hole: it takes no room
    monkeypatch.setattr(Path, "read_bytes", _small_only)
    with pytest.raises(BundleError, match=r"files: model\.tflite is larger than 512 MiB"):
        load_bundle(folder)


def _small_only(path: Path) -> bytes:
    assert path.stat().st_size < 1 << 20, f"{path} was read"
    with path.open("rb") as file:
        return file.read()


def test_labels_may_carry_a_taxonomy_id() -> None:
    assert parse_labels("a b\tx:1\nc\t\n d \t y\r\n") == (("a b", "c", "d"), {"a b": "x:1", "d": "y"})


def test_the_first_folder_that_has_a_bundle_wins(tmp_path: Path) -> None:
    for place, names in {"first": ["a", "b"], "second": ["b", "c"]}.items():
        for name in names:
            write_bundle(tmp_path / place / name)
    (tmp_path / "first" / "no-bundle").mkdir()
    (tmp_path / "first" / "file").write_text("")
    found = find_bundles([tmp_path / "nowhere", tmp_path / "first" / "file", tmp_path / "first", tmp_path / "second"])
    assert found == {
        name: tmp_path / place / name for name, place in {"a": "first", "b": "first", "c": "second"}.items()
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_counts_as_empty(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    write_bundle(closed / "a")
    closed.chmod(0)
    try:
        assert find_bundles([closed]) == {}
    finally:
        closed.chmod(0o755)


def test_a_path_that_no_file_system_knows_counts_as_empty() -> None:
    assert find_bundles([Path("a\0b")]) == {}


def test_the_places_of_our_own_bundles_are_folders(root: Path) -> None:
    paths = bundled_model_paths()
    assert all(path.is_dir() for path in paths)
    assert (root / "models" in paths) == (root / "models").is_dir()


def test_the_manifest_used_here_is_what_a_writer_would_write() -> None:
    assert LABELS.count(b"\n") == 3

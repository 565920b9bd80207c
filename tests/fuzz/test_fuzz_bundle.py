"""Whatever stands in a bundle's folder, only a BundleError comes out of the reader."""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING, Any

from core_bundles import LABELS, MANIFEST, write_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamcls.errors import BundleError
from streamcls.inference import load_bundle

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

EXAMPLES = int(os.environ.get("STREAMCLS_FUZZ_EXAMPLES", "300"))
MODEL = b"TFL3 no real model" * 4
SCRAPS = (
    b"[", b"]", b"=", b'"', b"'", b"\n", b"\x00", b"\xff", b"nan", b"inf", b"-1", b"1e400", b"9" * 20, b"9" * 5000, b"true",
    b"{}", b"[[]]", b"1979-05-27", b"..", b"/", b"\\u0000", b"\\U0010FFFF", b"[model]", b"[files]", b"'''", b"#", b"a.b.c = 1\n",
    b"0x", b"[" * 3000,
)  # fmt: skip
KEYS = (
    "format", "name", "version", "task", "model", "front_end", "window", "calibration", "files", "provenance", "file", "labels",
    "input_shape", "output_name", "quantisation", "n_frames", "stride_frames", "activation", "temperature", "bias", "thresholds",
    "kind", "sample_rate", "hop_length", "n_mels", "fmax", "model.tflite", "labels.txt", "rock", "description",
)  # fmt: skip


def _outcome(folder: Path) -> str:
    try:
        bundle = load_bundle(folder)
    except BundleError as error:
        return "refused" if str(folder) in str(error) else "refused without naming it"
    assert bundle.n_labels == len(bundle.labels) > 0
    assert len(bundle.spec.digest) == 64
    assert bundle.window_s > 0
    bundle.info()
    return "accepted"


def _mutated(content: bytes, chance: random.Random) -> bytes:
    out = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) + 1)
        match chance.randrange(6):
            case 0:
                out[at : at + chance.randint(1, 20)] = b""
            case 1:
                out[at:at] = chance.choice(SCRAPS)
            case 2 if at < len(out):
                out[at] = chance.randrange(256)
            case 3:
                out[at : at + 3] = chance.choice(SCRAPS)
            case 4:
                lines = bytes(out).split(b"\n")
                chance.shuffle(lines)
                out = bytearray(b"\n".join(lines))
            case _:
                out[at:at] = bytes(out[max(0, at - 40) : at])
    return bytes(out)


def test_mutations_of_a_valid_bundle(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "tiny", model=MODEL)
    valid = {name: (folder / name).read_bytes() for name in ("bundle.toml", "labels.txt", "model.tflite")}
    chance = random.Random(20_240_607)
    outcomes = {"refused": 0, "accepted": 0}
    for _ in range(EXAMPLES):
        name = chance.choice(("bundle.toml", "bundle.toml", "bundle.toml", "labels.txt", "model.tflite"))
        (folder / name).write_bytes(_mutated(valid[name], chance))
        outcomes[_outcome(folder)] += 1
        (folder / name).write_bytes(valid[name])
    assert outcomes["refused"] > 0, "and each of them named the folder"
    assert outcomes["accepted"] > 0, "a change in a comment or a description does no harm"


def test_label_files_whose_hash_is_right(tmp_path: Path) -> None:
    chance = random.Random(1)
    folder = tmp_path / "tiny"
    for _ in range(EXAMPLES):
        labels = _mutated(LABELS, chance)
        model = hashlib.sha256(MODEL).hexdigest()
        write_bundle(folder, model=MODEL, labels=labels, manifest=MANIFEST.replace("{model}", model))
        assert _outcome(folder) in {"refused", "accepted"}


SCALARS = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(max_size=20),
    st.sampled_from(["int8", "softmax", "mfcc", "hann", "0" * 64, "model.tflite"]),
    st.dates(),
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)


VALUES: st.SearchStrategy[Any] = st.recursive(SCALARS, _nested, max_leaves=12)


def _toml(value: Any) -> str:
    """Write a value as TOML, inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    return str(value)


def _text(value: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" if not c.isascii() or not c.isalnum() else c for c in value) + '"'


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(st.tuples(st.lists(st.sampled_from(KEYS), min_size=1, max_size=2), VALUES), max_size=4),
    bare=st.booleans(),
)
def test_structures_of_right_names_and_wrong_values(
    tmp_path_factory: pytest.TempPathFactory, changes: list, bare: bool
) -> None:
    import tomllib

    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    write_bundle(folder, model=MODEL)
    data: dict[str, Any] = (
        {"format": 1} if bare else tomllib.loads((folder / "bundle.toml").read_text(encoding="utf-8"))
    )
    for path, value in changes:
        table = data
        for step in path[:-1]:
            table = table[step] if isinstance(table.get(step), dict) else table
        table[path[-1]] = value
    text = "\n".join(f"{_text(key)} = {_toml(value)}" for key, value in data.items())
    (folder / "bundle.toml").write_text(text, encoding="utf-8")
    assert _outcome(folder) in {"refused", "accepted"}

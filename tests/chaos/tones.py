"""Audio whose alerts are known: tones in quiet noise, and a bundle that answers to them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from streamcls.frontend.mel import mel_matrix
from streamcls.types import FrontEndSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATE = 8_000
EVERY_S = 3.0
"""One tone begins in each such stretch."""
TONE_S = 1.0
FREQUENCIES_HZ = {"tone_a": 500.0, "tone_b": 1_000.0, "tone_c": 1_700.0, "tone_d": 2_900.0}
_AMPLITUDE = 0.3
_NOISE = 1e-3
_SPEC = FrontEndSpec(
    kind="log_mel", sample_rate=RATE, frame_length=256, hop_length=128, n_fft=256, n_mels=20, n_mfcc=20, fmax=4_000.0
)
_MANIFEST = """\
format = 1
name = "tones"
version = "1"
task = "moderation"

[model]
file = "model.json"
input_shape = [1, 24, 20]
quantisation = "float32"

[front_end]
kind = "log_mel"
sample_rate = 8000
frame_length = 256
hop_length = 128
n_fft = 256
n_mels = 20
n_mfcc = 20
fmax = 4000.0

[window]
n_frames = 24
stride_frames = 8

[calibration]
activation = "sigmoid"
bias = [7.0, 7.0, 7.0, 7.0]

[files]
"model.json" = "{model}"
"labels.txt" = "{labels}"
"""
CONFIG = """\
[daemon]
name = "chaos"
state_dir = "{folder}/state"
heartbeat_s = 1.0
workers = 1

[bus]
publish = ["tcp://127.0.0.1:{port}"]
high_water_mark = 100

[journal]
durability = "{durability}"
checkpoint_s = 1.0

[models]
path = ["{folder}/models"]

[model.tones]
backend = "matrix"

[policy.moderation]
update_s = 2.0
{rules}
[[stream]]
models = ["tones"]
policies = ["moderation"]
{sources}"""
_RULE = "labels.{label} = {{ k = 2, n = 3, enter = 0.6, cool_down_s = 0.5 }}\n"
_SOURCE = """
[[source]]
name = "radio-{number}"
type = "filetail"
path = "{folder}/radio-{number}.raw"
start = "resume"
poll_s = 0.05
format = {{ sample_rate = 8000, channels = 1, encoding = "pcm_s16le" }}
"""


def write_bundle(folder: Path) -> Path:
    """Write the bundle: each label's logit is the level in decibels of the mel band in which its tone lies."""
    bundle = folder / "models" / "tones"
    bundle.mkdir(parents=True)
    filters = mel_matrix(_SPEC)
    matrix = np.zeros((len(FREQUENCIES_HZ), _SPEC.n_mels))
    for row, frequency in enumerate(FREQUENCIES_HZ.values()):
        matrix[row, int(np.argmax(filters[:, round(frequency * _SPEC.n_fft / RATE)]))] = 0.2
    model = json.dumps(matrix.tolist()).encode()
    labels = "\n".join(FREQUENCIES_HZ).encode() + b"\n"
    (bundle / "model.json").write_bytes(model)
    (bundle / "labels.txt").write_bytes(labels)
    digests = {"model": hashlib.sha256(model).hexdigest(), "labels": hashlib.sha256(labels).hexdigest()}
    (bundle / "bundle.toml").write_text(_MANIFEST.format(**digests), encoding="utf-8")
    return bundle


def write_config(folder: Path, *, port: int, streams: int, durability: str) -> Path:
    """Write the daemon's configuration."""
    rules = "".join(_RULE.format(label=label) for label in FREQUENCIES_HZ)
    sources = "".join(_SOURCE.format(number=number, folder=folder) for number in range(streams))
    path = folder / "chaos.toml"
    text = CONFIG.format(folder=folder, port=port, durability=durability, rules=rules, sources=sources)
    path.write_text(text, encoding="utf-8")
    return path


def pieces(seed: int, piece_s: float) -> Iterator[bytes]:
    """Yield a stream's audio without end, ``piece_s`` seconds at a time; the same for the same seed."""
    generator = np.random.default_rng(seed)
    length = round(EVERY_S * RATE)
    labels = list(FREQUENCIES_HZ.values())
    rest = np.zeros(0, np.int16)
    step = round(piece_s * RATE)
    while True:
        samples = _NOISE * generator.standard_normal(length)
        begin = int(generator.integers(0, length - round(TONE_S * RATE)))
        index = np.arange(round(TONE_S * RATE))
        frequency = labels[int(generator.integers(len(labels)))]
        samples[begin : begin + len(index)] += _AMPLITUDE * np.sin(2 * np.pi * frequency * index / RATE)
        rest = np.concatenate([rest, np.round(samples * 32_767).astype("<i2")])
        while len(rest) >= step:
            yield rest[:step].tobytes()
            rest = rest[step:]

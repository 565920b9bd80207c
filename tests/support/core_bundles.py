"""A small valid bundle on disk, for tests of what reads bundles; its model file is never run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LABELS = b"rock\taudioset:/m/06by7\njazz\naudiobook\n"

MANIFEST = """\
format = 1
name = "tiny"
version = "1.2"
task = "genre"

[model]
input_shape = [1, 10, 40, 1]
quantisation = "int8"

[front_end]
kind = "log_mel"
sample_rate = 16000
frame_length = 512
hop_length = 256
n_fft = 512
n_mels = 40
n_mfcc = 40
fmax = 8000

[window]
n_frames = 10
stride_frames = 5

[calibration]
activation = "softmax"
temperature = 1.5
bias = [0.0, 0.5, -0.5]
thresholds = {{ rock = 0.4 }}

[files]
"model.tflite" = "{model}"
"labels.txt" = "{labels}"
"""


def write_bundle(
    folder: Path, *, manifest: str = MANIFEST, model: bytes = b"no real model", labels: bytes = LABELS
) -> Path:
    """Write the bundle's three files into ``folder`` with the right hashes and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes(model)
    (folder / "labels.txt").write_bytes(labels)
    text = manifest.format(model=hashlib.sha256(model).hexdigest(), labels=hashlib.sha256(labels).hexdigest())
    (folder / "bundle.toml").write_text(text, encoding="utf-8")
    return folder

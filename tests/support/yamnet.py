"""YAMNet as a bundle that a user brings: a waveform model with AudioSet's 521 classes."""

from __future__ import annotations

import csv
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

GENRE_MAP = MODERATION_MAP = "audioset"
"""The ready map that ships, as a configuration names it."""


def write_yamnet_bundle(data: Path, folder: Path) -> Path:
    """Make a bundle of ``reference/yamnet.tflite`` in ``folder`` and return its path."""
    bundle = folder / "yamnet"
    bundle.mkdir(parents=True)
    model = (data / "reference" / "yamnet.tflite").read_bytes()
    with (data / "reference" / "yamnet_class_map.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = "".join(f"{row['display_name']}\taudioset:{row['mid']}\n" for row in rows).encode()
    (bundle / "model.tflite").write_bytes(model)
    (bundle / "labels.txt").write_bytes(labels)
    (bundle / "bundle.toml").write_text(
        f"""\
format = 1
name = "yamnet"
version = "1"
task = "tagging"

[model]
input_shape = [15600]
quantisation = "dynamic_range"

[front_end]
kind = "waveform"
sample_rate = 16000
frame_length = 7800
hop_length = 7800
n_fft = 8192
fmax = 8000.0

[window]
n_frames = 2
stride_frames = 1

[calibration]
activation = "identity"

[files]
"model.tflite" = "{hashlib.sha256(model).hexdigest()}"
"labels.txt" = "{hashlib.sha256(labels).hexdigest()}"
""",
        encoding="utf-8",
    )
    return bundle

"""Small synthetic sounds on disk: three classes that any model must be able to tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from pathlib import Path

RATE = 22_050


def tone(rng: np.random.Generator, seconds: float) -> np.ndarray:
    time = np.arange(round(RATE * seconds)) / RATE
    frequency = rng.uniform(300, 900)
    harmonics = sum(np.sin(2 * np.pi * frequency * k * time) / k for k in range(1, 6))
    return (0.2 * harmonics + 0.003 * rng.standard_normal(len(time))).astype(np.float32)


def noise(rng: np.random.Generator, seconds: float) -> np.ndarray:
    return (0.2 * rng.standard_normal(round(RATE * seconds))).astype(np.float32)


def clicks(rng: np.random.Generator, seconds: float) -> np.ndarray:
    signal = 0.001 * rng.standard_normal(round(RATE * seconds))
    for start in range(int(rng.integers(2_000)), len(signal) - 200, 5_000):
        signal[start : start + 200] += 0.8 * rng.standard_normal(200)
    return signal.astype(np.float32)


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of label/file folders, twenty files of two seconds each."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(3)
    for label, make in (("clicks", clicks), ("noise", noise), ("tone", tone)):
        (folder / label).mkdir()
        for number in range(20):
            soundfile.write(folder / label / f"{label}-{number:02}.wav", make(rng, 2.0), RATE)
    return folder


@pytest.fixture(scope="session")
def recipe_text(sounds: Path) -> str:
    return f"""
name = "three-sounds"
version = "1"
task = "sound"
description = "Tells tones, noise and clicks apart."
seed = 5

[labels]
clicks = ""
noise = "audioset:/m/096m7z"
tone = ""

[front_end]
n_mels = 32
n_mfcc = 32
normalise = "window"

[window]
n_frames = 32
stride_frames = 16

[[corpus]]
name = "sounds"
path = "{sounds}"
layout = "folder"

[network]
size = "S"

[training]
epochs = 6
windows_per_epoch = 512
batch_size = 32
learning_rate = 1e-2

[quantisation]
representative_windows = 64
"""

"""Real audio, decoded once: music, speech, and what a moderator wants to know of, in turn."""

from __future__ import annotations

import csv
import random
from typing import TYPE_CHECKING

import numpy as np
import soxr

from streamcls.audio import down_mix
from streamcls.audio.decode import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["RATE", "AudioBank"]

RATE = 22_050
_MUSIC = ("blues", "classical", "country", "metal", "jazz", "reggae", "pop", "music")
_ALARMING = ("gun_shot", "siren", "glass_breaking", "crying_baby")
_OTHER = ("speech", "street_music", "dog_bark", "children_playing")
_LONGEST_S = 20.0
_FULL_SCALE = 32_767


class AudioBank:
    """Minutes of mono PCM (16 bits, 22050 Hz) that every stream plays in a loop, each from a place of its own.

    Parameters
    ----------
    data
        Folder with ``manifest.csv`` and the recordings that it names.
    minutes
        Length of the loop.
    seed
        Of the choice of recordings.
    """

    def __init__(self, data: Path, minutes: float, seed: int) -> None:
        generator = random.Random(seed)
        paths: dict[str, list[str]] = {}
        with (data / "manifest.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                paths.setdefault(row["label"], []).append(row["path"])
        length = round(minutes * 60) * RATE
        pieces: list[NDArray[np.int16]] = []
        have = 0
        while have < length:
            for group in (_MUSIC, _ALARMING, _OTHER, _ALARMING):
                label = generator.choice([label for label in group if label in paths])
                piece = _decoded(data / generator.choice(paths[label]))
                pieces.append(piece)
                have += len(piece)
        self.samples = np.concatenate(pieces)[:length]
        self._mono = memoryview(self.samples.astype("<i2").tobytes())
        self._wide: memoryview | None = None

    @property
    def seconds(self) -> int:
        """Length of the loop."""
        return len(self.samples) // RATE

    def mono(self, first: int, length: int) -> memoryview:
        """Return bytes from an index on; a piece must not span the loop's end."""
        at = 2 * (first % len(self.samples))
        return self._mono[at : at + 2 * length]

    def wide(self, first: int, length: int) -> memoryview:
        """Return the same as stereo at twice the rate, indices and lengths counted there."""
        if self._wide is None:
            twice = np.repeat(self.samples, 2)
            self._wide = memoryview(np.column_stack([twice, twice]).astype("<i2").tobytes())
        at = 4 * (first % (2 * len(self.samples)))
        return self._wide[at : at + 4 * length]


def _decoded(path: Path) -> NDArray[np.int16]:
    samples, rate = read_file(path)
    mono = down_mix(samples)[: round(_LONGEST_S * rate)]
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE)
    return np.round(np.clip(mono, -1.0, 1.0) * _FULL_SCALE).astype(np.int16)

"""Augmentation of waveforms that resembles broadcasting: a chain of studio, channel and codec, drawn at random and repeatable."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.errors import TrainingError
from streamcls.training.broadcast import effects
from streamcls.training.broadcast.filters import check_signal
from streamcls.training.broadcast.stages import STAGES, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.types import FloatArray

__all__ = ["Chain", "Stage", "draw_chain", "process"]

_VERSION: Final = 1
"""To be raised when a stage sounds different with the same parameters: caches are keyed by it."""
_DIGEST_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a chain.

    Attributes
    ----------
    name
        One of ``STAGES``.
    parameters
        What JSON can hold: the keyword arguments of the effect of this name (see ``streamcls.training.broadcast.effects``); of a codec, its
        name ``codec`` and its bit rate ``kbit_s``.
    """

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Chain:
    """A drawn chain: stages in the order of a broadcast."""

    stages: tuple[Stage, ...]

    def describe(self) -> list[dict[str, Any]]:
        """Return the stages as JSON can hold them: each its ``stage``, a name, and its parameters."""
        return [{"stage": stage.name, **stage.parameters} for stage in self.stages]

    @property
    def digest(self) -> str:
        """A short hash of the description and of the version of the stages' sound; the same in every process."""
        text = json.dumps([_VERSION, self.describe()], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_DIGITS]


def draw_chain(rng: np.random.Generator, *, stages: Sequence[str] = STAGES, share: float = 0.5) -> Chain:
    """Draw a chain: each stage is in it with probability ``share``, with parameters from these ranges.

    | stage | parameters |
    |---|---|
    | equalise | a smooth curve, -8 to 8 dB at each of six frequencies |
    | compress | ratio 2 to 10 above -35 to -20 dB of full scale, attack 1 to 30 ms, release 50 to 500 ms, made up to -20 to -10 dB |
    | reverberate | reverberation time 0.2 to 1.2 s, first reflection after 1 to 20 ms, share of the room 0.05 to 0.4 |
    | band_limit | AM (to 4.5 to 5 kHz), telephone (0.3 to 3.4 kHz), DAB at a low bit rate (to 10 to 12 kHz) or FM (to 15 kHz) |
    | noise | white, pink or hum of the mains (50 or 60 Hz), 15 to 40 dB below the signal |
    | gain | -30 to 6 dB |
    | codec | MP3 of 32 to 128, AAC of 32 to 96 or Opus of 16 to 64 kbit/s |

    Parameters
    ----------
    rng
        Source of chance.
    stages
        Names of the stages that may be in it, by default all; they come in the order of ``STAGES``.
    share
        Probability of each stage, 0 to 1.

    Raises
    ------
    ValueError
        A stage is unknown, or the share is out of range.
    """
    for name in stages:
        kind_of(name)
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share: is {share}; expected 0 to 1")
    present = [name for name in STAGES if name in stages and rng.random() < share]
    return Chain(tuple(Stage(name, kind_of(name).draw(rng)) for name in present))


def process(chain: Chain, signal: FloatArray, sample_rate: int) -> FloatArray:
    """Send a signal through a chain.

    Parameters
    ----------
    chain
        The chain; an empty one gives a copy.
    signal
        Shape (n,), float32, full scale is 1.
    sample_rate
        In hertz, usually 22050.

    Returns
    -------
    Shape (n,), float32: of the same length and aligned in time, but for filters of minimal phase, which delay the bass by some
    milliseconds; the same for the same input on the same machine. What a stage lifts above full scale, a limiter holds below it.

    Raises
    ------
    ValueError
        The signal is not mono, is empty or is not finite; a stage is unknown.
    TrainingError
        The FFmpeg in PyAV lacks a filter or an encoder, or a stage's parameters are not such as it takes.
    """
    check_signal(signal, sample_rate)
    sound = np.array(signal, np.float32)
    for stage in chain.stages:
        try:
            processed = kind_of(stage.name).apply(sound, sample_rate, **stage.parameters)
        except TypeError as error:
            raise TrainingError(
                f"stage {stage.name}: parameters {dict(stage.parameters)} do not fit: {error}"
            ) from error
        sound = effects.limit(processed, sample_rate)
        if not np.isfinite(sound).all():
            raise TrainingError(f"stage {stage.name}: gave samples that are not finite with {dict(stage.parameters)}")
    return sound

"""From a plan to audio: stretch by stretch, through broadcast chains, into hour-long files. Never more than a stretch in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.training.broadcast import draw_chain, process
from streamcls.training.programme.material import power_of
from streamcls.training.programme.plan import EVENT_FADE_IN_S, EVENT_FADE_OUT_S, SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamcls.training.programme.material import SignalCache
    from streamcls.training.programme.plan import Layer, Plan, PlannedEvent
    from streamcls.types import FloatArray

__all__ = ["FILE_HOURS", "PEAK_LIMIT", "REFERENCE_FLOOR_DBFS", "SOFTEST_GAIN_DB", "Piece", "Writer", "render"]

FILE_HOURS: Final = 1.0
_JOIN_S: Final = 0.05
"""Over this long one broadcast chain is faded into the next."""
REFERENCE_FLOOR_DBFS: Final = -35.0
"""An event's level is meant relative to the bed under it, or to this where the bed is softer."""
PEAK_LIMIT: Final = 0.97
"""A stretch whose peak is above this is made softer as a whole, so that a loud event keeps its level above the bed …"""
SOFTEST_GAIN_DB: Final = -12.0
"""… by no more than this; what is above full scale then is clipped."""
_LAYER_PEAK: Final = 0.9
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Piece:
    """A rendered stretch.

    Attributes
    ----------
    samples
        Shape (n,), float32, within -1 to 1.
    chain
        What the broadcast chain did, as JSON values; None where there was none.
    """

    samples: FloatArray
    chain: Any


def render(plan: Plan, cache: SignalCache) -> Iterator[Piece]:
    """Yield a programme's stretches in order; together they have exactly the plan's length."""
    join = round(_JOIN_S * SAMPLE_RATE)
    tail = np.zeros(0, np.float32)
    fade = np.linspace(0.0, 1.0, join, dtype=np.float32)
    for number, stretch in enumerate(plan.stretches):
        end = min(stretch.end + join, plan.length)
        mix = _bed(plan, cache, stretch.start, end, np.random.default_rng([plan.options.seed, number, 1]))
        for event in plan.events:
            if stretch.start <= event.start < stretch.end:
                _add_event(mix, stretch.start, event, cache)
        mix = _within_range(mix)
        chain: Any = None
        if plan.options.broadcast_share:
            rng = np.random.default_rng([plan.options.seed, number, 2])
            mix, chain = _broadcast(mix, rng, plan.options.broadcast_share)
        mix = np.clip(mix, -1.0, 1.0)
        if len(tail):
            mix[: len(tail)] = mix[: len(tail)] * fade[: len(tail)] + tail * (1.0 - fade[: len(tail)])
        length = min(stretch.end, plan.length) - stretch.start
        tail = mix[length:].copy()
        yield Piece(mix[:length], chain)


def _within_range(mix: FloatArray) -> FloatArray:
    gain = PEAK_LIMIT / max(float(np.abs(mix).max(initial=0.0)), _TINY)
    gain = min(1.0, max(gain, 10.0 ** (SOFTEST_GAIN_DB / 20.0)))
    return np.asarray(np.clip(mix * np.float32(gain), -1.0, 1.0), np.float32)


def _broadcast(mix: FloatArray, rng: np.random.Generator, share: float) -> tuple[FloatArray, Any]:
    chain = draw_chain(rng, share=share)
    return process(chain, mix, SAMPLE_RATE), chain.describe()


def _bed(plan: Plan, cache: SignalCache, start: int, end: int, rng: np.random.Generator) -> FloatArray:
    mix = np.zeros(end - start, np.float32)
    for layer in plan.layers:
        if layer.start >= end:
            break
        if layer.end <= start:
            continue
        first, last = max(layer.start, start), min(layer.end, end)
        sound = _sound(layer, cache, rng)[first - layer.start : last - layer.start]
        mix[first - start : last - start] += sound
    return mix


def _sound(layer: Layer, cache: SignalCache, rng: np.random.Generator) -> FloatArray:
    """Return a layer's samples, shape (layer.length,), at its level and with its fades."""
    if layer.clip is None:
        sound = rng.standard_normal(layer.length, np.float32)
    else:
        signal = cache.signal(layer.clip)
        offset = max(0, min(layer.offset, len(signal) - layer.length))
        sound = np.zeros(layer.length, np.float32)
        excerpt = signal[offset : offset + layer.length]
        sound[: len(excerpt)] = excerpt
    gain = np.sqrt(10.0 ** (layer.level_dbfs / 10.0) / max(power_of(sound), _TINY))
    gain = min(float(gain), _LAYER_PEAK / max(float(np.abs(sound).max(initial=0.0)), _TINY))
    sound = sound * np.float32(gain)
    _fade(sound, layer.fade_in, layer.fade_out)
    return sound


def _fade(sound: FloatArray, fade_in: int, fade_out: int) -> None:
    """Fade both ends in place, so that two sounds that fade into each other keep their power."""
    if fade_in:
        sound[:fade_in] *= np.sin(0.5 * np.pi * np.arange(fade_in) / fade_in).astype(np.float32)
    if fade_out:
        sound[-fade_out:] *= np.cos(0.5 * np.pi * np.arange(1, fade_out + 1) / fade_out).astype(np.float32)


def _add_event(mix: FloatArray, start: int, event: PlannedEvent, cache: SignalCache) -> None:
    """Mix an event into the bed in place."""
    room = len(mix) - (event.start - start)
    sound = cache.signal(event.clip)[event.offset : event.offset + min(event.length, room)].copy()
    lead, rest = event.onset - event.start, event.start + event.length - event.end
    _fade(
        sound,
        min(lead, round(EVENT_FADE_IN_S * SAMPLE_RATE)),
        min(rest, round(EVENT_FADE_OUT_S * SAMPLE_RATE), len(sound)),
    )
    under = mix[event.start - start : event.start - start + len(sound)]
    bed = power_of(mix[event.onset - start : event.end - start])
    wanted = max(bed, 10.0 ** (REFERENCE_FLOOR_DBFS / 10.0)) * 10.0 ** (event.snr_db / 10.0)
    under += np.float32(np.sqrt(wanted / max(event.power, _TINY))) * sound


class Writer:
    """Writes samples one after the other into mono 16 bit FLAC files, of an hour each unless stated."""

    def __init__(self, folder: Path, file_samples: int = round(FILE_HOURS * 3_600 * SAMPLE_RATE)) -> None:
        self._folder, self._file_samples = folder, file_samples
        self._file: Any = None
        self._left = 0
        self.names: list[str] = []
        self.lengths: list[int] = []

    def write(self, samples: FloatArray) -> None:
        """Append samples, shape (n,), within -1 to 1."""
        import soundfile

        while len(samples):
            if not self._left:
                self.close()
                path = self._folder / f"audio-{len(self.names):03}.flac"
                self._file = soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16")
                self._left = self._file_samples
                self.names.append(path.name)
                self.lengths.append(0)
            part, samples = samples[: self._left], samples[self._left :]
            self._file.write(part)
            self._left -= len(part)
            self.lengths[-1] += len(part)

    def close(self) -> None:
        """Finish the file that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

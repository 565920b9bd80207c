"""What a broadcaster's studio and channel do to a signal. All take and give mono float32 samples of shape (n,), aligned in time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from streamcls.training.broadcast.filters import fit_length, generate, run_filters
from streamcls.training.extra import need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamcls.types import FloatArray

__all__ = [
    "EQUALISER_HZ",
    "add_noise",
    "apply_gain",
    "compress",
    "equalise",
    "limit",
    "limit_band",
    "reverberate",
    "rms",
]

EQUALISER_HZ: Final = (60.0, 180.0, 540.0, 1_620.0, 4_860.0, 14_580.0)
"""Frequencies at which an equaliser's gains are given, in hertz: 1.6 octaves apart."""
_EQUALISER_HALF_S: Final = 0.02
"""Half the length of the equaliser's impulse response, in seconds: what its filter needs to shape the bass."""
_OCTAVES_FROM_HZ: Final = 20.0
"""FFmpeg counts octaves from here."""
_REFERENCE_DB: Final = -20.0
"""Level (RMS) at which a programme enters the compressor, in dB of full scale."""
_MOST_GAIN_DB: Final = 30.0
"""Most that a compressor lifts its input, and its output: silence stays quiet."""
_CEILING_DB: Final = -1.0
"""Where a broadcaster's limiter stands, in dB of full scale."""
_LIMITER_ATTACK_MS: Final = 5.0
_LIMITER_RELEASE_MS: Final = 50.0
_HIGH_PASS_POLES: Final = 2
_LOW_PASS_POLES: Final = 8
_HIGHEST_SHARE: Final = 0.49
"""Part of the sample rate from which on a low pass would leave the signal as it is."""
_ROOM_HZ: Final = 5_000.0
"""Above this frequency a room reflects less."""
_NEPERS_OF_60_DB: Final = math.log(1_000.0)
_HUM_HARMONICS: Final = 8


def rms(signal: FloatArray) -> float:
    """Return the root of the mean square, linear."""
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))


def limit(signal: FloatArray, sample_rate: int, ceiling_db: float = 0.0) -> FloatArray:
    """Keep peaks under a ceiling, in dB of full scale, by a limiter that looks ahead; a signal below it stays as it is."""
    ceiling = _linear(ceiling_db)
    if float(np.abs(signal).max()) <= ceiling:
        return signal
    options = {
        "limit": ceiling, "attack": _LIMITER_ATTACK_MS, "release": _LIMITER_RELEASE_MS, "level": 0, "latency": 1,
    }  # fmt: skip
    return fit_length(np.clip(run_filters(signal, sample_rate, ("alimiter", options)), -ceiling, ceiling), len(signal))


def equalise(signal: FloatArray, sample_rate: int, *, gains_db: Sequence[float]) -> FloatArray:
    """Filter with a smooth curve through ``gains_db`` at ``EQUALISER_HZ``, by a linear-phase filter."""
    entries = ";".join(
        f"entry({math.log2(hertz / _OCTAVES_FROM_HZ)},{gain})"
        for hertz, gain in zip(EQUALISER_HZ, gains_db, strict=True)
    )
    options = {
        "gain": "cubic_interpolate(f)", "gain_entry": entries, "scale": "loglog", "delay": _EQUALISER_HALF_S,
    }  # fmt: skip
    filtered = run_filters(signal, sample_rate, ("firequalizer", options))
    return fit_length(filtered[(len(filtered) - len(signal)) // 2 :], len(signal))


def compress(
    signal: FloatArray,
    sample_rate: int,
    *,
    threshold_db: float,
    ratio: float,
    attack_ms: float,
    release_ms: float,
    loudness_db: float,
) -> FloatArray:
    """Compress the dynamics, make up to a loudness and limit: a station's processor.

    The signal enters at -20 dB of full scale (RMS over its whole length), so that the threshold means the same for any recording.

    Parameters
    ----------
    signal, sample_rate
        Samples of shape (n,), and their rate in hertz.
    threshold_db
        Level above which it compresses, in dB of full scale, not below -60.
    ratio
        How many decibels above the threshold become one, 1 to 20.
    attack_ms, release_ms
        How fast it follows, in milliseconds.
    loudness_db
        RMS level of what leaves it, before the limiter at -1 dB, in dB of full scale.
    """
    options = {"threshold": _linear(threshold_db), "ratio": ratio, "attack": attack_ms, "release": release_ms}
    squeezed = run_filters(_levelled(signal, _REFERENCE_DB), sample_rate, ("acompressor", options))
    return limit(_levelled(fit_length(squeezed, len(signal)), loudness_db), sample_rate, _CEILING_DB)


def reverberate(
    signal: FloatArray, sample_rate: int, *, rt60_s: float, pre_delay_ms: float, wet: float, seed: int
) -> FloatArray:
    """Add a room: noise that decays exponentially, by 60 dB in ``rt60_s`` seconds (Moorer, 1979: About this reverberation business).

    Parameters
    ----------
    signal, sample_rate
        Samples of shape (n,), and their rate in hertz.
    rt60_s
        Reverberation time, in seconds.
    pre_delay_ms
        When the first reflection comes, in milliseconds.
    wet
        Share of the room in the sum, 0 to 1; the room has as much energy as the direct sound for white noise at 0.5.
    seed
        Seed of the room.
    """
    need("scipy", "a reverberation")
    from scipy.signal import oaconvolve

    time = np.arange(max(1, round(rt60_s * sample_rate)), dtype=np.float32) / sample_rate
    response = np.random.default_rng(seed).standard_normal(len(time), np.float32)
    response *= np.exp(np.float32(-_NEPERS_OF_60_DB / rt60_s) * time)
    if sample_rate * _HIGHEST_SHARE > _ROOM_HZ:
        response = run_filters(response, sample_rate, ("lowpass", {"frequency": _ROOM_HZ, "poles": 1}))
    response *= wet / np.sqrt(np.sum(np.square(response)))
    room = np.concatenate([np.zeros(round(pre_delay_ms * sample_rate / 1_000), np.float32), response])
    room[0] += 1.0 - wet
    return np.asarray(oaconvolve(signal, room)[: len(signal)], np.float32)


def limit_band(signal: FloatArray, sample_rate: int, *, low_hz: float, high_hz: float) -> FloatArray:
    """Keep a band, by Butterworth filters (12 dB an octave below it, 48 above it); a bound beyond the signal's own does nothing."""
    filters = [("highpass", {"frequency": low_hz, "width_type": "q", "width": q}) for q in _qualities(_HIGH_PASS_POLES)]
    if high_hz < _HIGHEST_SHARE * sample_rate:
        filters += [
            ("lowpass", {"frequency": high_hz, "width_type": "q", "width": q}) for q in _qualities(_LOW_PASS_POLES)
        ]
    return fit_length(run_filters(signal, sample_rate, *filters), len(signal))


def add_noise(
    signal: FloatArray,
    sample_rate: int,
    *,
    colour: Literal["white", "pink", "hum"],
    snr_db: float,
    seed: int,
    mains_hz: int = 50,
) -> FloatArray:
    """Add a stationary noise, ``snr_db`` below the signal's RMS level over its whole length; silence stays silent.

    White and pink noise are FFmpeg's; hum is the mains' frequency and its harmonics, whose amplitudes fall as 1/k.
    """
    if colour == "hum":
        phases = np.random.default_rng(seed).uniform(0.0, 2 * np.pi, _HUM_HARMONICS)
        # Whole hertz: the hum repeats itself each second.
        turns = 2 * np.pi * mains_hz * np.arange(sample_rate) / sample_rate
        second = sum(np.sin(k * turns + phase) / k for k, phase in enumerate(phases, 1))
        noise = np.resize(np.asarray(second, np.float32), len(signal))
    else:
        options = {"color": colour, "seed": seed, "sample_rate": sample_rate}
        noise = generate("anoisesrc", options, len(signal))
    power = rms(noise)
    return signal + noise * np.float32(rms(signal) * _linear(-snr_db) / power) if power else signal


def apply_gain(signal: FloatArray, sample_rate: int, *, gain_db: float) -> FloatArray:
    """Multiply, and keep what would exceed full scale below it by the limiter."""
    return limit(signal * np.float32(_linear(gain_db)), sample_rate)


def _linear(decibels: float) -> float:
    return float(10.0 ** (decibels / 20.0))


def _levelled(signal: FloatArray, level_db: float) -> FloatArray:
    """Bring a signal to an RMS level, in dB of full scale, as far as the largest gain allows."""
    level = rms(signal)
    gain = min(_linear(level_db) / level, _linear(_MOST_GAIN_DB)) if level else 1.0
    return signal * np.float32(gain)


def _qualities(poles: int) -> list[float]:
    """Return the Q of each second-order section of a Butterworth filter."""
    return [1.0 / (2.0 * math.cos(math.pi * (2 * k + 1) / (2 * poles))) for k in range(poles // 2)]

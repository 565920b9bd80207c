"""The kinds of stages of a broadcast: how the parameters of each are drawn, and what applies them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import TrainingError
from streamcls.training.broadcast import effects
from streamcls.training.broadcast.codecs import CODERS, transcode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from streamcls.types import FloatArray

__all__ = ["STAGES", "StageKind", "kind_of"]

_DIGITS: Final = 3
"""Decimal places of a drawn parameter."""
_SEEDS: Final = 2**31
_EQUALISE_DB: Final = 8.0
_THRESHOLD_DB: Final = (-35.0, -20.0)
_RATIO: Final = (2.0, 10.0)
_ATTACK_MS: Final = (1.0, 30.0)
_RELEASE_MS: Final = (50.0, 500.0)
_LOUDNESS_DB: Final = (-20.0, -10.0)
_RT60_S: Final = (0.2, 1.2)
_PRE_DELAY_MS: Final = (1.0, 20.0)
_WET: Final = (0.05, 0.4)
_BANDS_HZ: Final[Mapping[str, tuple[tuple[float, float], tuple[float, float]]]] = {
    "am": ((50.0, 100.0), (4_500.0, 5_000.0)),
    "telephone": ((300.0, 300.0), (3_400.0, 3_400.0)),
    "dab": ((20.0, 40.0), (10_000.0, 12_000.0)),
    "fm": ((20.0, 40.0), (15_000.0, 15_000.0)),
}
"""Ranges of the lower and the upper bound of a channel: AM radio, a telephone call, DAB at a low bit rate, FM radio."""
_COLOURS: Final = ("white", "pink", "hum")
_MAINS_HZ: Final = (50, 60)
_SNR_DB: Final = (15.0, 40.0)
_GAIN_DB: Final = (-30.0, 6.0)


@dataclass(frozen=True, slots=True)
class StageKind:
    """A kind of stage.

    Attributes
    ----------
    draw
        Draws its parameters.
    apply
        Takes a signal, its rate and the parameters as keywords, and returns as many samples.
    """

    draw: Callable[[np.random.Generator], dict[str, Any]]
    apply: Callable[..., FloatArray]


def _uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return round(float(rng.uniform(*bounds)), _DIGITS)


def _draw_equalise(rng: np.random.Generator) -> dict[str, Any]:
    return {"gains_db": [_uniform(rng, (-_EQUALISE_DB, _EQUALISE_DB)) for _ in effects.EQUALISER_HZ]}


def _draw_compress(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "threshold_db": _uniform(rng, _THRESHOLD_DB),
        "ratio": _uniform(rng, _RATIO),
        "attack_ms": _uniform(rng, _ATTACK_MS),
        "release_ms": _uniform(rng, _RELEASE_MS),
        "loudness_db": _uniform(rng, _LOUDNESS_DB),
    }


def _draw_reverberate(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "rt60_s": _uniform(rng, _RT60_S),
        "pre_delay_ms": _uniform(rng, _PRE_DELAY_MS),
        "wet": _uniform(rng, _WET),
        "seed": int(rng.integers(_SEEDS)),
    }


def _draw_band_limit(rng: np.random.Generator) -> dict[str, Any]:
    channel = str(rng.choice(list(_BANDS_HZ)))
    low, high = _BANDS_HZ[channel]
    return {"channel": channel, "low_hz": _uniform(rng, low), "high_hz": _uniform(rng, high)}


def _draw_noise(rng: np.random.Generator) -> dict[str, Any]:
    drawn = {"colour": str(rng.choice(_COLOURS)), "snr_db": _uniform(rng, _SNR_DB), "seed": int(rng.integers(_SEEDS))}
    return drawn | ({"mains_hz": int(rng.choice(_MAINS_HZ))} if drawn["colour"] == "hum" else {})


def _draw_gain(rng: np.random.Generator) -> dict[str, Any]:
    return {"gain_db": _uniform(rng, _GAIN_DB)}


def _draw_codec(rng: np.random.Generator) -> dict[str, Any]:
    coder = CODERS[str(rng.choice(list(CODERS)))]
    return {"codec": coder.name, "kbit_s": int(rng.choice(coder.kbit_s))}


def _apply_band_limit(
    signal: FloatArray, sample_rate: int, *, channel: str, low_hz: float, high_hz: float
) -> FloatArray:
    del channel  # a name for people: the bounds say it all
    return effects.limit_band(signal, sample_rate, low_hz=low_hz, high_hz=high_hz)


def _apply_codec(signal: FloatArray, sample_rate: int, *, codec: str, kbit_s: float) -> FloatArray:
    if codec not in CODERS:
        raise TrainingError(f"codec {codec!r}: is unknown; expected one of {', '.join(CODERS)}")
    return transcode(signal, sample_rate, CODERS[codec], kbit_s)


_KINDS: Final[Mapping[str, StageKind]] = {
    "equalise": StageKind(_draw_equalise, effects.equalise),
    "compress": StageKind(_draw_compress, effects.compress),
    "reverberate": StageKind(_draw_reverberate, effects.reverberate),
    "band_limit": StageKind(_draw_band_limit, _apply_band_limit),
    "noise": StageKind(_draw_noise, effects.add_noise),
    "gain": StageKind(_draw_gain, effects.apply_gain),
    "codec": StageKind(_draw_codec, _apply_codec),
}

STAGES: Final[tuple[str, ...]] = tuple(_KINDS)
"""Names of the stages, in the order of a broadcast."""


def kind_of(name: str) -> StageKind:
    """Return the kind of a name, or raise a ValueError that names those there are."""
    if name not in _KINDS:
        raise ValueError(f"stage {name!r}: there is none of this name; expected one of {', '.join(STAGES)}")
    return _KINDS[name]

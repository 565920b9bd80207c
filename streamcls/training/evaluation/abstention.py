"""How often a genre model names nothing where there is nothing to name: on speech, noise, silence and other sounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.frontend import StreamingFrontEnd
from streamcls.training.evaluation.bootstrap import Resamples
from streamcls.training.evaluation.exclusive import ENTER, abstains
from streamcls.training.evaluation.tracks import judge_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamcls.training.corpora import Clip
    from streamcls.training.evaluation.bootstrap import Array
    from streamcls.training.evaluation.candidates import Candidate
    from streamcls.training.evaluation.tracks import Judgements

__all__ = ["abstention", "generated_abstention", "kind_of"]

_SECONDS: Final = 10.0
_DRAWS: Final = 8
_LEVELS_DBFS: Final = (-60.0, -10.0)
_HUM_HZ: Final = (50.0, 60.0, 100.0, 400.0)
_LEAST_HZ: Final = 20.0


def kind_of(found: str) -> str:
    """Return what a corpus calls a sound as ``speech``, ``silence``, ``noise`` or ``sounds``."""
    for kind in ("speech", "silence", "noise"):
        if kind in found:
            return kind
    return "sounds"


def abstention(judgements: Judgements, clips: Sequence[Clip], groups: Array, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the share of windows of which none of the labels is true that a model leaves unnamed.

    Clips of which something is unknown are left out: they may well be music.

    Parameters
    ----------
    labels
        The real ones: a clip of a background label alone counts as one without a label.

    Returns
    -------
    ``all``; ``kinds``: by kind of sound (see :func:`kind_of`); ``found``: by corpus and the label that it has there.
    """
    silent = np.array([not set(clip.labels) & set(labels) and not clip.unknown for clip in clips])
    chosen = judgements.of(silent)
    if not len(chosen):
        return {}
    kinds = np.array([kind_of(clip.found) for clip in clips])[chosen.clip_of]
    places = np.array([f"{clip.corpus}/{clip.found}" for clip in clips])[chosen.clip_of]
    owner, unsure = groups[chosen.clip_of], abstains(chosen.values)
    result: dict[str, Any] = {"enter": ENTER, "all": _share(unsure, owner), "kinds": {}, "found": {}}
    for part, names in (("kinds", kinds), ("found", places)):
        for name in np.unique(names):
            result[part][str(name)] = _share(unsure[names == name], owner[names == name])
    return result


def generated_abstention(candidate: Candidate, seed: int = 0) -> dict[str, Any]:
    """Return the same for sounds made here: digital silence, noise of three slopes at many levels, hum and tones."""
    result = {}
    for name, make in _SOUNDS.items():
        rng = np.random.default_rng(seed)
        unsure, owner = [], []
        for draw in range(1 if name == "digital silence" else _DRAWS):
            signal = make(rng, candidate.spec.sample_rate).astype(np.float32)
            frames = StreamingFrontEnd(candidate.spec).push(signal)
            found = abstains(judge_frames(candidate, frames, None).values)
            unsure.append(found)
            owner.append(np.full(len(found), draw))
        result[name] = _share(np.concatenate(unsure), np.concatenate(owner))
    return result


def _share(unsure: Array, owner: Array) -> dict[str, Any]:
    resamples = Resamples(owner)
    counts = {"count": len(unsure), "recordings": resamples.n_groups}
    return counts | resamples.figure("abstains", resamples.share(unsure))


def _level(rng: np.random.Generator) -> float:
    return float(10.0 ** (rng.uniform(*_LEVELS_DBFS) / 20.0))


def _noise(slope: float) -> Callable[[np.random.Generator, int], Array]:
    """Return a maker of noise whose power falls with frequency to this power: 0 white, 1 pink, 2 brown."""

    def make(rng: np.random.Generator, rate: int) -> Array:
        n = round(_SECONDS * rate)
        frequency = np.maximum(np.fft.rfftfreq(n, 1.0 / rate), _LEAST_HZ)
        spectrum = np.fft.rfft(rng.standard_normal(n)) * frequency ** (-slope / 2.0)
        noise = np.fft.irfft(spectrum, n)
        return np.asarray(np.clip(noise / noise.std() * _level(rng), -1.0, 1.0))

    return make


def _tone(rng: np.random.Generator, rate: int) -> Array:
    time = np.arange(round(_SECONDS * rate)) / rate
    frequency = float(rng.choice(_HUM_HZ))
    wave = sum(np.sin(2.0 * np.pi * frequency * k * time) / k**2 for k in (1, 2, 3))
    return np.asarray(wave * _level(rng))


def _silence(rng: np.random.Generator, rate: int) -> Array:
    del rng
    return np.zeros(round(_SECONDS * rate))


_SOUNDS: Final[dict[str, Callable[[np.random.Generator, int], Array]]] = {
    "digital silence": _silence,
    "white noise": _noise(0.0),
    "pink noise": _noise(1.0),
    "brown noise": _noise(2.0),
    "hum and tones": _tone,
}

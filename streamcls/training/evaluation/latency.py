"""How long a model takes for one window, on one thread."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamcls.frontend import StreamingFrontEnd, windows_of
from streamcls.training.features import repeat_to

if TYPE_CHECKING:
    from streamcls.training.evaluation.candidates import Candidate

__all__ = ["latency"]

_WINDOWS: Final = 50
_ROUNDS: Final = 5
_SECONDS: Final = 30.0
_MS: Final = 1_000.0
_DIGITS: Final = 4


def latency(candidate: Candidate, seed: int = 0) -> dict[str, Any]:
    """Time a model on noise, window by window, and its front end, stride by stride.

    Returns
    -------
    ``window_ms`` with ``median`` and ``percentile_95`` of the fastest of five rounds, so that what else the machine does counts as little
    as possible; ``front_end_ms``: the median for one stride of sound, 0 for a model of the waveform; ``windows``, ``rounds``.
    """
    rate = candidate.spec.sample_rate
    rng = np.random.default_rng(seed)
    signal = (0.1 * rng.standard_normal(round(_SECONDS * rate))).astype(np.float32)
    least = candidate.n_frames * candidate.spec.hop_length + candidate.spec.frame_length
    front_end = StreamingFrontEnd(candidate.spec)
    frames = front_end.push(repeat_to(signal, least))
    windows = windows_of(frames, candidate.spec, candidate.n_frames, candidate.stride)
    features = [windows[i % len(windows)].features[None] for i in range(_WINDOWS)]
    candidate.run(features[0])
    rounds = [_times([lambda window=window: candidate.run(window) for window in features]) for _ in range(_ROUNDS)]
    best = min(rounds, key=lambda times: float(np.median(times)))
    step = candidate.stride * candidate.spec.hop_length
    parts = [signal[start : start + step] for start in range(0, len(signal) - step + 1, step)]
    spent = 0.0
    if candidate.spec.kind != "waveform" and parts:
        spent = float(np.median(_times([lambda part=part: front_end.push(part) for part in parts])))
    return {
        "window_ms": {
            "median": round(float(np.median(best)), _DIGITS),
            "percentile_95": round(float(np.percentile(best, 95)), _DIGITS),
        },
        "front_end_ms": round(spent, _DIGITS),
        "windows": _WINDOWS,
        "rounds": _ROUNDS,
    }


def _times(calls: list[Any]) -> list[float]:
    """Return how long each call took, in milliseconds."""
    times = []
    for call in calls:
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * _MS)
    return times

"""What a frame costs: the streaming front end against librosa, as ratios measured in the same run.

Run it by name: ``python tests/bench/bench_front_end.py``. With the environment variable STREAMCLS_DATA set the signal is real
music, otherwise noise. Each figure is the median of several rounds; the contenders take turns, so that whatever else the machine
does hits all of them.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import librosa
import numpy as np

from streamcls.frontend import StreamingFrontEnd
from streamcls.types import FrontEndSpec

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 30
ROUNDS = 9
RATE = 22_050
WINDOW_S, STRIDE_S = 3, 1
PIECES_S = {"whole": float(SECONDS), "0.5 s": 0.5, "0.1 s": 0.1, "20 ms": 0.02}
BASE = "streaming, pieces of 0.5 s"


def _signal() -> np.ndarray:
    folder = os.environ.get("STREAMCLS_DATA")
    files = sorted(Path(folder).glob("gtzan_full30/rock/*.ogg")) if folder else []
    if not files:
        return (np.random.default_rng(0).standard_normal(SECONDS * RATE) * 0.1).astype(np.float32)
    samples, _ = librosa.load(files[0], sr=RATE, mono=True, duration=SECONDS)
    return np.resize(samples, SECONDS * RATE).astype(np.float32)


def _librosa(signal: np.ndarray, spec: FrontEndSpec) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=signal,
        sr=RATE,
        n_fft=spec.n_fft,
        hop_length=spec.hop_length,
        center=False,
        n_mels=spec.n_mels,
        fmin=spec.fmin,
        fmax=spec.fmax,
    )
    return librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None, amin=spec.log_floor), n_mfcc=spec.n_mfcc)


def _streaming(signal: np.ndarray, spec: FrontEndSpec, piece: int) -> int:
    front_end = StreamingFrontEnd(spec)
    return sum(len(front_end.push(signal[i : i + piece])) for i in range(0, len(signal), piece))


def _recomputing(signal: np.ndarray, spec: FrontEndSpec) -> int:
    window, stride = WINDOW_S * RATE, STRIDE_S * RATE
    for begin in range(0, len(signal) - window + 1, stride):
        _librosa(signal[begin : begin + window], spec)
    return 1 + (len(signal) - spec.frame_length) // spec.hop_length


def main() -> None:
    """Print the table."""
    spec, signal = FrontEndSpec(), _signal()
    contenders: dict[str, Callable[[], int]] = {
        f"streaming, pieces of {name}" if name != "whole" else "streaming, whole": partial(
            _streaming, signal, spec, round(seconds * RATE)
        )
        for name, seconds in PIECES_S.items()
    }
    contenders["librosa, whole at once"] = lambda: _librosa(signal, spec).shape[1]
    contenders[f"librosa, {WINDOW_S} s window every {STRIDE_S} s"] = lambda: _recomputing(signal, spec)
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    frames = {name: contender() for name, contender in contenders.items()}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            begin = time.perf_counter()
            contender()
            taken[name].append(time.perf_counter() - begin)
    print(f"python {sys.version.split()[0]}, numpy {np.__version__}, librosa {librosa.__version__}")
    print(f"{spec.n_mfcc} MFCC of {spec.n_mels} bands, {spec.frame_length}/{spec.hop_length} at {RATE} Hz")
    print(f"{SECONDS} s of audio, median of {ROUNDS} rounds (fastest in brackets)")
    print(f"{'':32} {'us a frame':>16} {'times real time':>16} {'cost ratio':>11}")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        ratio = statistics.median(own / base for own, base in zip(seconds, taken[BASE], strict=True))
        cost = f"{median / frames[name] * 1e6:.1f} ({min(seconds) / frames[name] * 1e6:.1f})"
        print(f"{name:32} {cost:>16} {SECONDS / median:>16.0f} {ratio:>11.2f}")


if __name__ == "__main__":
    main()

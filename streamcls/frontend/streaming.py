"""The front end as the daemon runs it: only new frames, and bit for bit the same whatever the chunking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from streamcls.frontend.frames import Frames, analysis_window, cut
from streamcls.frontend.mel import dct_matrix, mel_matrix

if TYPE_CHECKING:
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = ["BLOCK", "StreamingFrontEnd"]

BLOCK: Final = 8
"""Frames computed together. The temporaries of eight stay in the cache and below the size at which memory is mapped anew."""

_DECIBELS_PER_NEPER: Final = np.float32(10.0 / np.log(10.0))
"""``10 log10(x)`` is this times ``ln(x)``, which numpy computes several times faster."""


class StreamingFrontEnd:
    """Turns samples at the model's rate into feature frames as they become whole.

    Every product runs on a block of exactly :data:`BLOCK` rows: BLAS sums in an order that depends on the shape, so that a fixed
    shape is what makes the result independent of how the signal arrived. Frame ``k`` always stands in row ``k % BLOCK``; what the
    other rows hold has no influence on it. The transforms, which work row by row, run on new frames only, and in double precision:
    the rounding of single precision is louder than the quiet bands of compressed music.
    """

    def __init__(self, spec: FrontEndSpec) -> None:
        self.spec = spec
        self._pending: FloatArray = np.zeros(0, np.float32)
        self._skip = 0
        self._frame = 0
        if spec.kind != "waveform":
            self._window = analysis_window(spec)
            self._mel = np.ascontiguousarray(mel_matrix(spec).T)
            self._dct = np.ascontiguousarray(dct_matrix(spec).T, np.float64)
            self._squared = np.zeros((BLOCK, spec.frame_length), np.float32)
            self._tapered = np.zeros((BLOCK, spec.n_fft), np.float64)
            self._spectrum = np.zeros((BLOCK, spec.n_fft // 2 + 1), np.float32)
            self._decibels = np.zeros((BLOCK, spec.n_mels), np.float64)
        self.reset(0)

    def reset(self, first_sample: int) -> None:
        """Begin at an index of the model's grid and forget the past. Frames start at multiples of the hop, so up to a hop is skipped."""
        self._frame = -(-first_sample // self.spec.hop_length)
        self._skip = self._frame * self.spec.hop_length - first_sample
        self._pending = np.zeros(0, np.float32)

    def push(self, samples: FloatArray) -> Frames:
        """Take samples, shape (n,), float32, and return the frames that they complete."""
        if self._skip:
            dropped = min(self._skip, len(samples))
            samples = samples[dropped:]
            self._skip -= dropped
        spec = self.spec
        signal = np.concatenate([self._pending, samples]) if len(self._pending) else samples
        frames = cut(signal, spec.frame_length, spec.hop_length)
        count = len(frames)
        self._pending = signal[count * spec.hop_length :].copy()
        first = self._frame
        self._frame += count
        if not count:
            return Frames.empty(spec, first)
        if spec.kind == "waveform":
            none = np.zeros(count, np.float64)
            power = np.add.reduce(np.square(frames), axis=1).astype(np.float64) / spec.frame_length
            return Frames(first, frames.copy(), none, none, power)
        features = np.empty((count, spec.n_features), np.float32)
        log_mel = np.empty((count, spec.n_mels), np.float64)
        energy = np.empty(count, np.float64)
        done = 0
        while done < count:
            row = (first + done) % BLOCK
            part = slice(done, done + min(BLOCK - row, count - done))
            rows = slice(row, row + part.stop - part.start)
            energy[part] = np.add.reduce(np.square(frames[part], out=self._squared[rows]), axis=1)
            self._decibels[:] = self._log_mel(frames[part], rows)
            log_mel[part] = self._decibels[rows]
            features[part] = ((self._decibels @ self._dct) if spec.kind == "mfcc" else self._decibels)[rows]
            done = part.stop
        mean = np.add.reduce(log_mel, axis=1) / spec.n_mels
        mean_square = np.add.reduce(np.square(log_mel), axis=1) / spec.n_mels
        return Frames(first, features, mean, mean_square, energy / spec.frame_length)

    def _log_mel(self, frames: FloatArray, rows: slice) -> FloatArray:
        """Return a block in which the given rows are the frames' log-mel bands in decibels, shape (BLOCK, n_mels)."""
        spec = self.spec
        np.multiply(frames, self._window, out=self._tapered[rows, : spec.frame_length])
        spectrum = np.fft.rfft(self._tapered[rows], axis=1)
        magnitude = np.square(spectrum.real)
        magnitude += np.square(spectrum.imag)
        self._spectrum[rows] = magnitude if spec.power == 2.0 else np.sqrt(magnitude)  # noqa: PLR2004
        mel = self._spectrum @ self._mel
        np.maximum(mel, np.float32(spec.log_floor), out=mel)
        np.log(mel, out=mel)
        mel *= _DECIBELS_PER_NEPER
        return mel

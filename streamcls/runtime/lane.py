"""The path of one stream's samples to feature windows, shared by all models with the same front end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcls.audio import Resampler
from streamcls.frontend import StreamingFrontEnd, Windower
from streamcls.types import FeatureWindow

if TYPE_CHECKING:
    from streamcls.frontend import FrameWindow
    from streamcls.types import FloatArray, FrontEndSpec

__all__ = ["Lane", "ModelWindow"]


@dataclass(frozen=True, slots=True)
class ModelWindow:
    """A window and the number of the consumer that it is for."""

    consumer: int
    window: FeatureWindow


class Lane:
    """Resampler, front end, and a windower per model. Features are computed once for all of them."""

    def __init__(self, stream: str, source_rate: int, spec: FrontEndSpec) -> None:
        self._stream = stream
        self._spec = spec
        self._resampler = Resampler(source_rate, spec.sample_rate)
        self._front_end = StreamingFrontEnd(spec)
        self._windowers: dict[int, Windower] = {}
        self._added = 0
        self._produced = 0
        self._next = 0

    def __len__(self) -> int:
        return len(self._windowers)

    def add(self, n_frames: int, stride_frames: int, *, every: int = 1) -> int:
        """Add a consumer of windows and return its number. It begins with the oldest frames that any other one still has."""
        windower = Windower(self._spec, n_frames, stride_frames)
        windower.every = every
        known = [(first, one) for one in self._windowers.values() if (first := one.kept_from) is not None]
        if known:
            windower.go_on_from(min(known, key=lambda pair: pair[0])[1])
        number, self._added = self._added, self._added + 1
        self._windowers[number] = windower
        return number

    def remove(self, consumer: int) -> None:
        """Leave a consumer out from now on."""
        del self._windowers[consumer]

    def stretch(self, every: int) -> None:
        """Hand out only each how many-th window of every consumer's grid; 1: all."""
        for windower in self._windowers.values():
            windower.every = every

    def reset(self, first_sample: int) -> None:
        """Begin anew at an absolute index of the source."""
        self._next = first_sample
        self._produced = self._resampler.reset(first_sample)
        self._front_end.reset(self._produced)
        for windower in self._windowers.values():
            windower.reset()

    @property
    def reached(self) -> int:
        """Source index up to which windows have been handed out: every later one ends beyond it."""
        return -(-(self._produced + 1) * self._resampler.source_rate // self._spec.sample_rate) - 1

    def begin_for(self, consumer: int, decided: int, origin: int) -> int:
        """Return the source index at which it has to begin anew to give the windows of a consumer that end after an index.

        Parameters
        ----------
        decided
            Absolute index: windows that end there or before are not wanted.
        origin
            Absolute index at which the stretch without a gap began.
        """
        spec, source_rate, windower = self._spec, self._resampler.source_rate, self._windowers[consumer]
        length = (windower.n_frames - 1) * spec.hop_length + spec.frame_length
        stride = windower.stride * spec.hop_length
        number = (decided * spec.sample_rate - length * source_rate) // (stride * source_rate) + 1
        return self._resampler.restart_at(origin, max(0, number) * stride * source_rate // spec.sample_rate)

    def push(self, mono: FloatArray, first_sample: int | None = None) -> list[ModelWindow]:
        """Take samples at the source's rate, shape (n,), and return the windows that they complete.

        Parameters
        ----------
        first_sample
            Absolute index of the first of them, by default that which is expected; what lies before the index of the last
            ``reset`` is passed over.
        """
        first = self._next if first_sample is None else first_sample
        known = max(0, self._next - first)
        self._next = max(self._next, first + len(mono))
        return self._windows(self._resampler.push(mono[known:]))

    def flush(self) -> list[ModelWindow]:
        """Return the windows that the resampler's last samples complete, at the end of a stream."""
        return self._windows(self._resampler.flush())

    def _windows(self, samples: FloatArray) -> list[ModelWindow]:
        if not len(samples):
            return []
        self._produced += len(samples)
        frames = self._front_end.push(samples)
        return [
            ModelWindow(consumer, self._at_source(windower, window))
            for consumer, windower in self._windowers.items()
            for window in windower.push(frames)
        ]

    def _at_source(self, windower: Windower, window: FrameWindow) -> FeatureWindow:
        """Express a window in the source's samples: from the last one not after its beginning to the first one not before its end."""
        spec, source_rate = self._spec, self._resampler.source_rate
        first = window.first_frame * spec.hop_length
        end = first + (windower.n_frames - 1) * spec.hop_length + spec.frame_length
        return FeatureWindow(
            self._stream,
            window.features,
            first * source_rate // spec.sample_rate,
            -(-end * source_rate // spec.sample_rate),
            source_rate,
            window.level_dbfs,
        )

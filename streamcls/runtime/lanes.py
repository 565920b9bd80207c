"""The lanes of one stream, one for each front end, and which consumer each of their windows is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamcls.runtime.lane import Lane

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from streamcls.runtime.consumer import Consumer
    from streamcls.runtime.lane import ModelWindow
    from streamcls.types import FeatureWindow, FloatArray, FrontEndSpec

__all__ = ["Lanes"]


class Lanes:
    """Every front end of a stream is computed once, for all consumers that have it."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._rate = 0
        self._every = 1
        self._lanes: dict[FrontEndSpec, Lane] = {}
        self._consumers: dict[tuple[FrontEndSpec, int], Consumer] = {}

    def build(self, rate: int, consumers: Iterable[Consumer]) -> None:
        """Begin with a source's sample rate; a ``reset`` must follow."""
        self._rate = rate
        self._lanes, self._consumers = {}, {}
        for consumer in consumers:
            self._add(consumer, None)

    def change(self, consumers: Collection[Consumer], at: int) -> None:
        """Leave out the consumers that are not among these, and take on those that are new, at an index.

        A new one begins with the frames that others of its front end, also one that leaves, have.
        """
        gone = [key for key, consumer in self._consumers.items() if all(consumer is not one for one in consumers)]
        there = list(self._consumers.values())
        for consumer in consumers:
            if all(consumer is not one for one in there):
                self._add(consumer, at)
        for spec, number in gone:
            self._lanes[spec].remove(number)
            del self._consumers[spec, number]
            if not len(self._lanes[spec]):
                del self._lanes[spec]

    def reset(self, first_sample: int) -> None:
        """Begin anew at an absolute index."""
        for lane in self._lanes.values():
            lane.reset(first_sample)

    def restore(self, begins: Mapping[str, int], otherwise: int) -> None:
        """Begin anew where each front end, by its digest, was."""
        for spec, lane in self._lanes.items():
            lane.reset(begins.get(spec.digest, otherwise))

    def stretch(self, every: int) -> None:
        """Hand out only each how many-th window of each grid; 1: all."""
        self._every = every
        for lane in self._lanes.values():
            lane.stretch(every)

    def push(self, mono: FloatArray, first_sample: int) -> Iterator[tuple[int, Consumer, FeatureWindow]]:
        """Take samples, shape (n,), and yield the windows that they complete: rank of the front end, consumer, window."""
        for rank, (spec, lane) in enumerate(self._lanes.items(), 1):
            yield from self._wanted(rank, spec, lane.push(mono, first_sample))

    def flush(self) -> Iterator[tuple[int, Consumer, FeatureWindow]]:
        """Yield the windows that the resamplers' last samples complete."""
        for rank, (spec, lane) in enumerate(self._lanes.items(), 1):
            yield from self._wanted(rank, spec, lane.flush())

    def reached(self, most: int) -> int:
        """Return the index up to which every front end has handed out its windows, at most ``most``."""
        return min([most, *(lane.reached for lane in self._lanes.values())])

    def begins(self, since: int, furthest: int) -> dict[str, int]:
        """Return, by digest of the front end, the index from which it has to be given audio again for what is not decided yet."""
        found: dict[str, int] = {}
        for (spec, number), consumer in self._consumers.items():
            begin = min(self._lanes[spec].begin_for(number, consumer.decided, since), furthest)
            found[spec.digest] = min(begin, found.get(spec.digest, begin))
        return found

    def _add(self, consumer: Consumer, at: int | None) -> None:
        spec, window = consumer.model.bundle.spec, consumer.model.bundle.manifest.window
        lane = self._lanes.get(spec)
        if lane is None:
            lane = self._lanes[spec] = Lane(self._stream, self._rate, spec)
            if at is not None:
                lane.reset(at)
        number = lane.add(window.n_frames, consumer.model.stride_frames, every=self._every)
        self._consumers[spec, number] = consumer

    def _wanted(
        self, rank: int, spec: FrontEndSpec, windows: Iterable[ModelWindow]
    ) -> Iterator[tuple[int, Consumer, FeatureWindow]]:
        for entry in windows:
            consumer = self._consumers[spec, entry.consumer]
            if entry.window.end_sample > consumer.decided:
                yield rank, consumer, entry.window

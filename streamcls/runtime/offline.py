"""Finished audio through the very same pipeline, as fast as it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamcls.audio import Run
from streamcls.errors import AudioError
from streamcls.runtime.pipeline import StreamPipeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamcls.interfaces import Classifier
    from streamcls.runtime.models import LoadedModel, StreamPlan
    from streamcls.types import Chunk, Event

__all__ = ["OfflinePool", "classify_chunks"]


class OfflinePool:
    """One classifier per model, for pipelines that run one after the other."""

    def __init__(self) -> None:
        self._classifiers: dict[str, Classifier] = {}

    def classifier(self, model: LoadedModel) -> Classifier:
        """Return the classifier of a model, made when first asked for."""
        if model.name not in self._classifiers:
            self._classifiers[model.name] = model.classifier()
        return self._classifiers[model.name]

    def close(self) -> None:
        """Free every classifier."""
        for classifier in self._classifiers.values():
            classifier.close()
        self._classifiers.clear()


def classify_chunks(stream: str, chunks: Iterable[Chunk], plan: StreamPlan, pool: OfflinePool) -> Iterator[Event]:
    """Yield the events of a stream that ends; what is open at its end is closed with the reason ``end of stream``.

    Raises
    ------
    AudioError
        The chunks broke off, after what was open has been closed with the reason ``source lost``.
    """
    pipeline = StreamPipeline(stream, plan, pool)
    try:
        for chunk in chunks:
            yield from pipeline.push(Run(chunk.samples, chunk.sample_rate, chunk.first_sample, chunk.captured_at))
    except AudioError:
        yield from pipeline.close("source lost", flush=True)
        raise
    yield from pipeline.close("end of stream", flush=True)

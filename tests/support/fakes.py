"""Fakes at the plugin edge: a backend, a policy, sources and subscribers that do what a test says. All else is real."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from realbundle import real_bundle

from streamcls import Chunk, ComponentConfig, Event
from streamcls.config.resolve import ResolvedComponent
from streamcls.inference import load_bundle
from streamcls.runtime.models import LoadedModel, StreamPlan
from streamcls.types import Posterior, read_only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from streamcls import Levels, ModelInfo, PolicyContext
    from streamcls.types import FeatureWindow, FloatArray, StreamItem

__all__ = ["NO_MODELS", "RATE", "Collector", "FakeBackend", "FakePolicy", "ListSource", "audio", "plan_with"]

RATE = 22_050
LONG_S = 20.0
NO_MODELS = StreamPlan((), {})


def audio(first_sample: int, n: int, stream: str = "radio-1", rate: int = RATE) -> Chunk:
    """Return a chunk of quiet noise that depends on its index only."""
    samples = np.random.default_rng(first_sample).standard_normal((n, 1)).astype(np.float32) * 0.1
    return Chunk(stream, read_only(samples), rate, first_sample)


class Collector:
    """Takes events as the bus does, and lets a test wait for them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[list[Event]], Any]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.events), LONG_S), self.events

    def of(self, stream: str) -> list[Event]:
        with self._changed:
            return [event for event in self.events if event.stream == stream]

    def states(self, stream: str = "radio-1") -> list[str]:
        return [event.data["state"] for event in self.of(stream) if event.kind == "stream.status"]


class FakeBackend:
    """Makes classifiers that answer with zeros, or with what ``answer`` does."""

    name: ClassVar[str] = "fake"

    def __init__(self, answer: Callable[[FeatureWindow], object] = lambda window: None) -> None:
        self._answer = answer
        self.made: list[FakeClassifier] = []

    def load(self, bundle: Any) -> FakeClassifier:
        self.made.append(FakeClassifier(bundle.n_labels, self._answer))
        return self.made[-1]

    @classmethod
    def unavailable(cls) -> str:
        return ""


class FakeClassifier:
    def __init__(self, n_labels: int, answer: Callable[[FeatureWindow], object]) -> None:
        self._n_labels = n_labels
        self._answer = answer
        self.closed = 0

    def logits(self, window: FeatureWindow) -> FloatArray:
        self._answer(window)
        return np.zeros(self._n_labels, np.float32)

    def close(self) -> None:
        self.closed += 1


class FakePolicy:
    """Reports every window, and a segment that is open for as long as the stream."""

    name: ClassVar[str] = "fake"

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Any, context: PolicyContext) -> None:
        self._context = context
        self._open = False

    @classmethod
    def accepts(cls, config: Any, model: ModelInfo) -> bool:
        return True

    def update(self, item: Posterior | Levels) -> list[Event]:
        if not isinstance(item, Posterior):
            return []
        self._open = True
        return [
            Event(
                "fake.window", item.stream, {"from": item.first_sample, "to": item.end_sample}, sample=item.end_sample
            )
        ]

    def gap(self, first_sample: int, end_sample: int) -> list[Event]:
        return []

    def close(self, at_sample: int, reason: str) -> list[Event]:
        return [Event("fake.segment", self._context.stream, {"reason": reason}, sample=at_sample)] if self._open else []


def plan_with(tmp_path: Path, backend: FakeBackend) -> StreamPlan:
    """Return a plan with a real bundle, whose model the backend stands in for, and the fake policy."""
    bundle = load_bundle(real_bundle(tmp_path))
    model = LoadedModel(bundle.name, bundle, backend, bundle.manifest.window.stride_frames)
    return StreamPlan(((model, (ResolvedComponent("fake", "fake", FakePolicy, FakePolicy.Config()),)),), {})


class ListSource:
    """Yields what it is given, one list per opening; an exception in a list is raised there, a callable is called with ``stop``."""

    name: ClassVar[str] = "list"

    class Config(ComponentConfig):
        pass

    def __init__(self, *openings: Iterable[Any], live: bool = False) -> None:
        self._openings = list(openings)
        self.live = live
        self.opened = 0

    def items(self, stop: threading.Event) -> Iterator[StreamItem]:
        self.opened += 1
        for item in self._openings.pop(0) if self._openings else ():
            if isinstance(item, Exception):
                raise item
            if callable(item):
                item(stop)
                continue
            yield item

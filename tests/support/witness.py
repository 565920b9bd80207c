"""A policy that says all that it is told, and models whose answer is a fixed function of the window, for tests of the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from core_bundles import MANIFEST, write_bundle
from pydantic import BaseModel

from streamcls.audio import Run
from streamcls.config.resolve import ResolvedComponent
from streamcls.inference import load_bundle
from streamcls.runtime.models import LoadedModel, StreamPlan
from streamcls.runtime.offline import OfflinePool
from streamcls.runtime.pipeline import StreamPipeline
from streamcls.types import Event, FeatureWindow, FloatArray, Levels, ModelInfo, Posterior

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.interfaces import BundleView, PolicyContext


class FormulaBackend:
    """Stands for an inference library: the outputs are a fixed function of the window, sensitive to every bit of it."""

    name: ClassVar[str] = "formula"

    def load(self, bundle: BundleView) -> FormulaBackend:
        self.n_labels = bundle.n_labels
        return self

    @classmethod
    def unavailable(cls) -> str:
        return ""

    def logits(self, window: FeatureWindow) -> FloatArray:
        flat = window.features.astype(np.float64).reshape(-1)
        return np.array([np.sin(flat.sum() * (k + 1) * 0.001) * 3 for k in range(self.n_labels)], np.float32)

    def close(self) -> None:
        pass


class Everything(BaseModel):
    """No settings."""


class Witness:
    """A policy of a third party: says everything that it is told, in the order in which it is told."""

    name: ClassVar[str] = "witness"
    Config: ClassVar[type[BaseModel]] = Everything

    def __init__(self, config: Everything, context: PolicyContext) -> None:
        self.context = context
        self.closed = False

    @classmethod
    def accepts(cls, config: Everything, model: ModelInfo) -> bool:
        return True

    def update(self, item: Posterior | Levels) -> list[Event]:
        what = "levels" if isinstance(item, Levels) else "posterior"
        values = item.rms_dbfs if isinstance(item, Levels) else item.values.tolist()
        return [self._say(what, item.end_sample, values=values, first=item.first_sample)]

    def gap(self, first_sample: int, end_sample: int) -> list[Event]:
        return [self._say("gap", first_sample, until=end_sample)]

    def close(self, at_sample: int, reason: str) -> list[Event]:
        return [self._say("close", at_sample, reason=reason)]

    def _say(self, what: str, at: int, **more: Any) -> Event:
        assert not self.closed, "a policy that was closed is not used again"
        self.closed = what == "close"
        data = {"what": what, "at": at, "model": self.context.model.name, "origin": self.context.origin, **more}
        return Event("witness", self.context.stream, data, sample=at)


WITNESS = ResolvedComponent("witness", "witness", Witness, Everything())


def component(policy: type, **keys: object) -> ResolvedComponent:
    return ResolvedComponent(policy.name, policy.name, policy, policy.Config.model_validate(keys))


def manifest(rate: int, n_frames: int = 10, stride: int = 5) -> str:
    return (
        MANIFEST.replace("sample_rate = 16000", f"sample_rate = {rate}")
        .replace("fmax = 8000", f"fmax = {rate // 2}")
        .replace("n_frames = 10", f"n_frames = {n_frames}")
        .replace("stride_frames = 5", f"stride_frames = {stride}")
        .replace("[1, 10, 40, 1]", f"[1, {n_frames}, 40, 1]")
    )


def four_models(folder: Path) -> dict[str, LoadedModel]:
    """Return two models that share a front end at 16 kHz and two of other rates."""
    made = {}
    for name, rate, n_frames, stride in (
        ("a16", 16_000, 30, 7),
        ("b16", 16_000, 11, 5),
        ("c22", 22_050, 20, 6),
        ("d8", 8000, 12, 12),
    ):
        bundle = load_bundle(write_bundle(folder / name, manifest=manifest(rate, n_frames, stride)))
        made[name] = LoadedModel(name, bundle, FormulaBackend(), stride)
    return made


def pipeline_of(
    models: list[LoadedModel], *components: ResolvedComponent, origin: str = "", **tags: str
) -> StreamPipeline:
    parts = components or (WITNESS,)
    return StreamPipeline(
        "radio", StreamPlan(tuple((model, parts) for model in models), tags), OfflinePool(), origin=origin
    )


def run_of(samples: FloatArray, first: int = 0, rate: int = 16_000, captured_at: float | None = None) -> Run:
    return Run(samples if samples.ndim == 2 else samples[:, None], rate, first, captured_at)


def push_in_pieces(
    pipeline: StreamPipeline, samples: FloatArray, sizes: list[int], first: int = 0, rate: int = 16_000
) -> list[Event]:
    events, position, turn = [], 0, 0
    while position < len(samples):
        n = sizes[turn % len(sizes)]
        events += pipeline.push(run_of(samples[position : position + n], first + position, rate))
        position, turn = position + n, turn + 1
    return events


def told(events: list[Event], *what: str) -> list[dict]:
    return [dict(event.data) for event in events if event.kind == "witness" and event.data["what"] in what]


def statuses(events: list[Event]) -> list[dict]:
    return [dict(event.data) for event in events if event.kind == "stream.status"]

"""Models that are ready to run: a verified bundle, its backend, and the stride in force."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamcls.errors import BackendUnavailableError, BundleError, Problem
from streamcls.inference import Bundle, load_bundle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.config import Resolved
    from streamcls.config.resolve import ResolvedComponent
    from streamcls.interfaces import Backend, Classifier
    from streamcls.types import ModelInfo

__all__ = ["LoadedModel", "StreamPlan", "load_models", "plan_stream"]

_log = logging.getLogger("streamcls.models")


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A bundle under its configured name; each worker makes its own classifier of it. Two that are made apart are never equal."""

    name: str
    bundle: Bundle
    backend: Backend
    stride_frames: int

    @property
    def info(self) -> ModelInfo:
        """What policies may know of it."""
        return self.bundle.info(self.name, self.stride_frames)

    @property
    def stride_s(self) -> float:
        """Distance of its windows, in seconds."""
        return self.stride_frames * self.bundle.spec.hop_length / self.bundle.spec.sample_rate

    def classifier(self) -> Classifier:
        """Make an interpreter."""
        return self.backend.load(self.bundle)

    def same_as(self, other: LoadedModel) -> bool:
        """Whether it would say the same of the same windows: the manifest has the version, thresholds, and the hash of every file."""
        one, two = (
            (model.name, model.bundle.manifest, type(model.backend), model.stride_frames) for model in (self, other)
        )
        return one == two


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What is done with a stream: each model with the policies that listen to it.

    Attributes
    ----------
    priority
        Under overload the lowest is given up first.
    evidence
        Whether clips of its alerts are kept.
    """

    models: tuple[tuple[LoadedModel, tuple[ResolvedComponent, ...]], ...]
    tags: dict[str, str]
    priority: int = 0
    evidence: bool = False


def load_models(
    resolved: Resolved, backends: dict[str, type[Backend]], known: Mapping[str, LoadedModel] | None = None
) -> dict[str, LoadedModel]:
    """Load and verify every bundle that a configuration uses; what is wrong is added to its problems.

    Parameters
    ----------
    known
        Models that are loaded already: one of these is returned where the new one would be the same.
    """
    models: dict[str, LoadedModel] = {}
    for name, entry in resolved.models.items():
        backend = backends.get(entry.backend)
        if backend is None or backend.unavailable():
            continue
        try:
            bundle = load_bundle(resolved.bundle_paths[name])
            stride = bundle.manifest.window.stride_frames
            if entry.stride_s is not None:
                stride = max(1, round(entry.stride_s * bundle.spec.sample_rate / bundle.spec.hop_length))
            model = LoadedModel(name, bundle, backend(), stride)
            model.classifier().close()
        except (BundleError, BackendUnavailableError) as error:
            resolved.problems.append(Problem(f"model.{name}", str(error)))
        except Exception as error:  # noqa: BLE001 - a stranger's backend: it is a problem like another
            _log.debug("model %s", name, exc_info=True)
            what = f"backend {entry.backend!r} raised {type(error).__name__}: {error}"
            resolved.problems.append(Problem(f"model.{name}", what))
        else:
            before = (known or {}).get(name)
            models[name] = before if before is not None and before.same_as(model) else model
    return models


def plan_stream(resolved: Resolved, models: dict[str, LoadedModel], stream: str) -> StreamPlan | None:
    """Find out what is to be done with a stream, or None where no ``[[stream]]`` matches it."""
    settings = resolved.settings_of(stream)
    if settings is None:
        return None
    policies = [resolved.policies[name] for name in settings.policies if name in resolved.policies]
    used: list[tuple[LoadedModel, tuple[Any, ...]]] = []
    for name in settings.models:
        if name in models:
            info = models[name].info
            used.append((models[name], tuple(p for p in policies if p.component.accepts(p.config, info))))
    return StreamPlan(tuple(used), dict(settings.tags), settings.priority, settings.evidence)

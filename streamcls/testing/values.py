"""The values that policies and backends are given, made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamcls.types import FeatureWindow, Levels, ModelInfo, Posterior, read_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.inference import Bundle

__all__ = ["make_levels", "make_model", "make_posterior", "make_window"]


def make_model(
    labels: Sequence[str] = ("one", "two", "three"),
    *,
    name: str = "model",
    task: str = "genre",
    exclusive: bool = True,
    window_s: float = 1.0,
    stride_s: float = 0.5,
) -> ModelInfo:
    """Return what a policy may know of a model with these labels."""
    taxonomy = {label: f"test:{label}" for label in labels}
    return ModelInfo(
        name, "1", task, tuple(labels), exclusive, window_s, stride_s,
        digest="11" * 32, front_end_digest="22" * 32, taxonomy=taxonomy,
    )  # fmt: skip


def make_posterior(
    model: ModelInfo,
    probabilities: Mapping[str, float],
    *,
    at_s: float = 0.0,
    stream: str = "test",
    sample_rate: int = 22_050,
    level_dbfs: float = -20.0,
) -> Posterior:
    """Return a model's opinion of the window that begins ``at_s`` seconds into the stream.

    Labels that ``probabilities`` leaves out share what is left to one where the model's labels exclude each other; else they are 0.
    """
    unknown = sorted(set(probabilities) - set(model.labels))
    if unknown:
        raise ValueError(
            f"probabilities names {', '.join(map(repr, unknown))}, the model has {', '.join(model.labels)}"
        )
    others = len(model.labels) - len(probabilities)
    rest = max(0.0, 1.0 - sum(probabilities.values())) / others if model.exclusive and others else 0.0
    values = np.array([probabilities.get(label, rest) for label in model.labels], np.float32)
    first = round(at_s * sample_rate)
    end = first + round(model.window_s * sample_rate)
    return Posterior(stream, model.name, model.labels, read_only(values), first, end, sample_rate, level_dbfs)


def make_levels(
    at_s: float = 0.0,
    seconds: float = 0.5,
    *,
    stream: str = "test",
    sample_rate: int = 22_050,
    channels: int = 1,
    peak_dbfs: float = -12.0,
    rms_dbfs: float = -20.0,
) -> Levels:
    """Return the levels of a stretch of audio, the same in every channel."""
    first = round(at_s * sample_rate)
    end = round((at_s + seconds) * sample_rate)
    return Levels(stream, first, end, sample_rate, (peak_dbfs,) * channels, (rms_dbfs,) * channels)


def make_window(bundle: Bundle, seed: int = 1, *, stream: str = "test") -> FeatureWindow:
    """Return a window of the shape that a bundle's model takes, with normally distributed features; a seed always gives the same."""
    n_frames, spec = bundle.manifest.window.n_frames, bundle.spec
    scale = 0.1 if spec.kind == "waveform" else 1.0
    features = scale * np.random.default_rng(seed).standard_normal((n_frames, spec.n_features))
    end = (n_frames - 1) * spec.hop_length + spec.frame_length
    return FeatureWindow(stream, read_only(features.astype(np.float32)), 0, end, spec.sample_rate, -20.0)

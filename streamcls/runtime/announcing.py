"""The ``stream.status`` events of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamcls.runtime.consumer import Consumer

__all__ = ["gap", "running", "status"]


def status(stream: str, state: str, reason: str, facts: Mapping[str, Any], sample: int | None = None) -> Event:
    """Say what has become of a stream; a source's facts replace neither the state nor the reason."""
    first = {"state": state, "reason": reason}
    return Event("stream.status", stream, {**first, **facts, **first}, sample=sample)


def gap(stream: str, first_sample: int, end_sample: int, sample_rate: int, when: str = "") -> Event:
    """Say which samples are missing."""
    facts = {"first_sample": first_sample, "end_sample": end_sample, "sample_rate": sample_rate}
    return status(stream, "gap", f"{end_sample - first_sample} samples are missing{when}", facts, first_sample)


def running(  # noqa: PLR0917 - called from one place
    stream: str,
    audio_format: tuple[int, int],
    first_sample: int,
    consumers: Iterable[Consumer],
    tags: Mapping[str, str],
    reason: str,
) -> Event:
    """Say in which format audio arrives, sample rate and channels, and what is done with it."""
    rate, channels = audio_format
    models = [
        {"name": one.model.name, "version": one.model.info.version, "sha256": one.model.bundle.digest}
        for one in consumers
    ]
    facts = {
        "sample_rate": rate,
        "channels": channels,
        "first_sample": first_sample,
        "models": models,
        "tags": dict(tags),
    }
    reason = reason or f"{rate} Hz, {channels} channel{'s' if channels > 1 else ''}"
    return status(stream, "running", reason, facts, first_sample)

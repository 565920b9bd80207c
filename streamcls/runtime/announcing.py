"""The ``stream.status`` events of a pipeline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamcls.runtime.consumer import Consumer

__all__ = ["gap", "in_state", "running", "status"]

_RUNNING: Final = "running"
_OUTLASTS: Final = frozenset({"shed", "stalled"})
"""States that a change of what is done with a stream does not end."""


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
    return status(stream, _RUNNING, reason, facts, first_sample)


def in_state(event: Event, state: str) -> Event:
    """Return what is said of a change of plan; of a stream that is given up or silent, that it still is."""
    if state not in _OUTLASTS or event.kind != "stream.status" or event.data["state"] != _RUNNING:
        return event
    return replace(event, data={**event.data, "state": state})

"""Wall-clock time of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamcls.bus.wire import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.types import Event

__all__ = ["Anchor"]


class Anchor:
    """Knows when a sample was captured, from the newest chunk that had a wall clock, and stamps events.

    A finding keeps the time of its beginning from the event that opened it, however the source's clock drifts afterwards.
    """

    def __init__(self) -> None:
        self._sample = 0
        self._time: float | None = None
        self._rate = 1
        self._begun: dict[str, str | None] = {}

    @property
    def begun(self) -> dict[str, str | None]:
        """By id of an open finding: the time of its beginning (RFC 3339), or None."""
        return dict(self._begun)

    def restore(self, begun: Mapping[str, str | None]) -> None:
        """Take over what ``begun`` was."""
        self._begun = dict(begun)

    def set(self, first_sample: int, captured_at: float | None, sample_rate: int) -> None:
        """Learn when a sample was captured; None where the audio has no wall clock."""
        self._sample, self._time, self._rate = first_sample, captured_at, sample_rate

    def time_of(self, sample: int | None) -> float | None:
        """Return the Unix time of a sample in seconds, or None."""
        if self._time is None or sample is None:
            return None
        return self._time + (sample - self._sample) / self._rate

    def stamp(self, event: Event) -> tuple[dict[str, Any], float | None]:
        """Return an event's data with ``started_at`` and ``ended_at`` (RFC 3339, or null) beside its samples, and its own time."""
        data = dict(event.data)
        if "first_sample" in data:
            data["started_at"] = self._started(data)
            ended = self.time_of(data.get("end_sample"))
            data["ended_at"] = rfc3339(ended) if ended is not None else None
        return data, self.time_of(event.sample)

    def _started(self, data: dict[str, Any]) -> str | None:
        identifier, phase = data.get("id"), data.get("phase")
        if isinstance(identifier, str) and phase != "opened" and identifier in self._begun:
            return self._begun.pop(identifier) if phase == "closed" else self._begun[identifier]
        time = self.time_of(data["first_sample"])
        text = rfc3339(time) if time is not None else None
        if isinstance(identifier, str) and phase == "opened":
            self._begun[identifier] = text
        return text

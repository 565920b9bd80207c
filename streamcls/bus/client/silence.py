"""When a publisher has been silent for too long. Without a clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streamcls.bus.wire import Envelope

__all__ = ["Silence"]

_INTERVALS: Final = 3.0
_LEAST_S: Final = 10.0
_USUAL_INTERVAL_S: Final = 5.0


class Silence:
    """Learns from heartbeats how long a silence can be. Before the first one it can be of any length.

    Parameters
    ----------
    limit_s
        Seconds; None: three intervals between heartbeats, at least ten seconds.
    """

    def __init__(self, limit_s: float | None) -> None:
        self.heard_at = 0.0
        self._limit_s = limit_s
        self._interval_s: float | None = None
        self._last: tuple[str, int, float] | None = None

    @property
    def deadline(self) -> float | None:
        """When the silence will have been too long."""
        if self._interval_s is None:
            return None
        limit_s = self._limit_s if self._limit_s is not None else max(_LEAST_S, _INTERVALS * self._interval_s)
        return self.heard_at + limit_s

    def heard(self, now: float) -> None:
        """Something arrived, or the connection was made."""
        self.heard_at = now

    def observe(self, heartbeat: Envelope) -> None:
        """Learn from two heartbeats of one start of the publisher how far they lie apart, by the publisher's own clock."""
        uptime_s, number = heartbeat["data"].get("uptime_s"), int(heartbeat["sequence"])
        if self._interval_s is None:
            self._interval_s = _USUAL_INTERVAL_S
        if not isinstance(uptime_s, int | float):
            return
        if self._last is not None and self._last[0] == heartbeat["epoch"] and self._last[1] < number:
            self._interval_s = max(0.0, (uptime_s - self._last[2]) / (number - self._last[1]))
        self._last = (heartbeat["epoch"], number, float(uptime_s))

    def over(self, now: float) -> bool:
        """Whether the silence has been too long."""
        return self.deadline is not None and now >= self.deadline

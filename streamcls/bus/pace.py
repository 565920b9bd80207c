"""How fast something may be done: so often in a minute, and not at all before a given time."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Pace"]

_MINUTE_S: Final = 60.0


class Pace:
    """Knows when the next step is allowed. Times are seconds on any clock that does not go back.

    Parameters
    ----------
    per_minute
        Most steps in any 60 seconds, 0: no limit.
    """

    def __init__(self, per_minute: int = 0) -> None:
        self._steps: deque[float] = deque(maxlen=per_minute or None)
        self._limited = per_minute > 0
        self._until = float("-inf")

    def wait_s(self, now: float) -> float:
        """Return how long to wait for the next step; 0: it may be made."""
        until = self._until
        if self._limited and len(self._steps) == self._steps.maxlen:
            until = max(until, self._steps[0] + _MINUTE_S)
        return max(0.0, until - now)

    def note(self, now: float) -> None:
        """Learn that a step was made."""
        if self._limited:
            self._steps.append(now)

    def hold(self, until: float) -> None:
        """Allow no step before then."""
        self._until = max(self._until, until)

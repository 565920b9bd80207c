"""Delivery at the speed at which audio is heard."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import threading

__all__ = ["Pacer"]

_LATE_S: Final = 1.0
"""Lateness beyond which the clock is set anew; less is caught up."""


class Pacer:
    """Holds samples back until their time has come, counted from the first one. Used by one thread."""

    def __init__(self) -> None:
        self._origin_s = 0.0
        self._index = 0
        self._rate = 0

    def wait(self, index: int, sample_rate: int, stop: threading.Event) -> bool:
        """Wait for the time of the sample ``index``; return False where ``stop`` was set first."""
        now = time.monotonic()
        due = self._origin_s + (index - self._index) / sample_rate
        if self._rate != sample_rate or now - due > _LATE_S or index < self._index:
            self._origin_s, self._index, self._rate = now, index, sample_rate
            due = now
        return not stop.wait(due - now) if due > now else not stop.is_set()

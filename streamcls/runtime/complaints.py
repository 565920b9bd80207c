"""Saying again and again that something is wrong, without flooding the log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Complaints"]

_PAUSE_S: Final = 10.0


class Complaints:
    """Passes the first sentence on at once, then at most one in ten seconds, with the number of those kept back since.

    Used by one thread. ``recovered`` tells of the end, so that a reader of the log knows of it too.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._next = 0.0
        self._kept_back = 0
        self._open = False

    def complain(self, sentence: str) -> None:
        """Say it now, or count it."""
        self._open = True
        if self._clock() < self._next:
            self._kept_back += 1
            return
        more = f" (and {self._kept_back} more like it since the last line)" if self._kept_back else ""
        self._say(sentence + more)
        self._kept_back = 0
        self._next = self._clock() + _PAUSE_S

    def recovered(self, sentence: str) -> None:
        """Say that it works again, where a complaint was the last word."""
        if self._open:
            more = f" ({self._kept_back} more had failed)" if self._kept_back else ""
            self._say(sentence + more)
            self._open, self._kept_back, self._next = False, 0, 0.0

"""Notices that the wall clock was set, or that the machine slept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ClockJump", "ClockWatch"]

_JUMP_S: Final = 2.0
"""A smaller step is none: NTP slews, and leap seconds are one."""
_TORN_S: Final = 0.1
"""Clocks that were read further apart than this say nothing about each other."""


def _since_boot() -> float:
    """Return seconds since the boot, those asleep included; where the system has no such clock, those awake."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@dataclass(frozen=True, slots=True)
class ClockJump:
    """What has become of the clocks.

    Attributes
    ----------
    kind
        ``clock set``: the wall clock was set; ``suspended``: the machine slept.
    jump_s
        Seconds: how far the clock was set (negative: back), or for how long it slept.
    """

    kind: Literal["clock set", "suspended"]
    jump_s: float

    def __str__(self) -> str:
        if self.kind == "suspended":
            return f"the machine was suspended for {self.jump_s:.1f} s"
        where = "forward" if self.jump_s > 0 else "back"
        return f"the wall clock was set {where} by {abs(self.jump_s):.1f} s"


class ClockWatch:
    """Compares the wall clock with the steady ones; to be asked about once a second.

    Parameters
    ----------
    wall, monotonic, boottime
        Seconds: of the day; that nobody sets, without those asleep; and with those asleep.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        boottime: Callable[[], float] = _since_boot,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._boottime = boottime
        self._last = self._read()

    def look(self) -> list[ClockJump]:
        """Return what has happened since the last look; a clock that was set while the machine slept gives both."""
        now = self._read()
        if now is None:
            return []
        last, self._last = self._last, now
        if last is None:
            return []
        slept_s = now[1] - last[1]
        set_s = now[0] - last[0] - slept_s
        found = []
        if slept_s > _JUMP_S:
            found.append(ClockJump("suspended", slept_s))
        if abs(set_s) > _JUMP_S:
            found.append(ClockJump("clock set", set_s))
        return found

    def _read(self) -> tuple[float, float] | None:
        """Return how far the wall clock and the one that counts sleep are ahead of the steady one; None where it was interrupted."""
        before = self._monotonic()
        wall, boottime = self._wall(), self._boottime()
        after = self._monotonic()
        return None if after - before > _TORN_S else (wall - after, boottime - after)

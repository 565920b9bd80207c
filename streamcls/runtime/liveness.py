"""Which of the daemon's threads make progress, and what the one that does not is doing."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from streamcls.runtime.stacks import call_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

__all__ = ["BEAT_S", "Beat", "Liveness", "Stuck"]

_log = logging.getLogger("streamcls.watch")

BEAT_S: Final = 0.5
"""The longest that a thread of the daemon waits before it shows that it is there, in seconds."""
_LOOKED_AWAY_S: Final = 5.0
"""Who looks so rarely was itself held up (SIGSTOP, a machine that swaps), and so were those that it looks at."""


class Beat:
    """A thread's sign of life. Called by the thread itself; read by anybody.

    Parameters
    ----------
    name
        Of what the thread is for.
    limit_s
        Without a sign for longer than this it is stuck.
    clock
        Monotonic seconds.
    """

    __slots__ = ("_at", "_clock", "_doing", "_resting", "_thread", "limit_s", "name")

    def __init__(self, name: str, limit_s: float, clock: Callable[[], float]) -> None:
        self.name = name
        self.limit_s = limit_s
        self._clock = clock
        self._at = clock()
        self._doing = ""
        self._resting = True
        self._thread: int | None = None

    def __call__(self, doing: str = "") -> None:
        """Show progress, and say what is begun: e.g. ``stream radio-1``."""
        self._at = self._clock()
        self._doing = doing
        self._resting = False
        self._thread = threading.get_ident()

    def rest(self) -> None:
        """Show that nothing is to be expected for now: the thread has ended, or waits in a stranger's code for the world."""
        self._at = self._clock()
        self._doing = ""
        self._resting = True

    def silent_s(self, now: float) -> float:
        """Return the seconds without a sign of life where one was due, else 0."""
        return 0.0 if self._resting else max(0.0, now - self._at)

    def forgive(self, now: float) -> None:
        """Begin to count anew."""
        self._at = max(self._at, now)

    @property
    def doing(self) -> str:
        """What it said last that it does."""
        return self._doing

    @property
    def thread(self) -> int | None:
        """Identifier of the thread that called last."""
        return self._thread


@dataclass(frozen=True, slots=True)
class Stuck:
    """A thread without a sign of life.

    Attributes
    ----------
    name
        Of the thread's beat, e.g. ``worker-0``.
    silent_s
        Seconds since its last sign of life.
    doing
        What it began then, e.g. ``stream radio-1``; may be empty.
    call
        Where it is: the outermost function that is not the daemon's own, else the innermost that is; may be empty.
    """

    name: str
    silent_s: float
    doing: str = ""
    call: str = ""

    def facts(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {"name": self.name, "silent_s": round(self.silent_s, 1), "doing": self.doing, "call": self.call}

    def __str__(self) -> str:
        text = f"{self.name} has made no progress for {self.silent_s:.0f} s"
        text += f" with {self.doing}" if self.doing else ""
        return text + (f", in {self.call}" if self.call else "")


class Liveness:
    """Knows every beat.

    Parameters
    ----------
    clock
        Monotonic seconds.
    frames
        Returns each thread's innermost frame by the thread's identifier, as ``sys._current_frames`` does.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        frames: Callable[[], Mapping[int, FrameType]] = dict,
    ) -> None:
        self._clock = clock
        self._frames = frames
        self._lock = threading.Lock()
        self._beats: list[Beat] = []
        self._looked_at: float | None = None

    def register(self, name: str, limit_s: float) -> Beat:
        """Return a beat; it counts from its first call on."""
        beat = Beat(name, limit_s, self._clock)
        with self._lock:
            self._beats.append(beat)
        return beat

    def forget(self, beat: Beat) -> None:
        """Leave a beat out from now on."""
        with self._lock:
            self._beats = [other for other in self._beats if other is not beat]

    def stuck(self, now: float | None = None) -> list[tuple[str, float]]:
        """Return the name of each thread that is beyond its limit, and the seconds without a sign of it; from any thread."""
        now = self._clock() if now is None else now
        return [(beat.name, beat.silent_s(now)) for beat in self._late(now)]

    def look(self, now: float | None = None) -> list[Stuck]:
        """Return what is stuck, and where; to be called by one thread, every second or so.

        Where that thread was itself held up for seconds, so was the whole process: that is logged, and everybody's time begins anew.
        """
        now = self._clock() if now is None else now
        before, self._looked_at = self._looked_at, now
        if before is not None and now - before > _LOOKED_AWAY_S:
            _log.warning(
                "the whole process stood still for about %.0f s: it was stopped, or the machine is far too busy; "
                "of live audio more than [daemon] buffer_s may be missing",
                now - before,
            )
            with self._lock:
                for beat in self._beats:
                    beat.forgive(now)
        late = self._late(now)
        frames = self._frames() if late else {}
        return [
            Stuck(beat.name, beat.silent_s(now), beat.doing, call_of(frames.get(beat.thread or 0))) for beat in late
        ]

    def _late(self, now: float) -> list[Beat]:
        with self._lock:
            return [beat for beat in self._beats if beat.silent_s(now) > beat.limit_s]

"""Looks after the daemon while it runs: whether its threads make progress, what the clocks do, and what systemd is told."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from streamcls.runtime.clocks import ClockWatch
from streamcls.runtime.liveness import Liveness
from streamcls.runtime.stacks import all_stacks, current_frames
from streamcls.service.notify import Notifier
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamcls.runtime.liveness import Beat, Stuck

__all__ = ["Watch"]

_log = logging.getLogger("streamcls.watch")

_LOOK_S: Final = 1.0
_FEEDS: Final = 3
"""Signs of life within the time that the manager allows for one."""
_ONLY_READ: Final = 2
"""The bus and replay wait for disks, which may take their time: their limit is so many times the others'."""


class Watch:
    """What the main loop does besides: :meth:`tick`.

    Parameters
    ----------
    limit_s
        A thread that makes no progress for so long is stuck.
    offer
        Takes an event to publish without waiting for long; returns whether it was taken.
    name
        The daemon's, for its events.
    wall
        Unix time in seconds.
    """

    def __init__(
        self,
        limit_s: float,
        offer: Callable[[Event], object],
        name: str,
        *,
        notifier: Notifier | None = None,
        clocks: ClockWatch | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.notifier = notifier if notifier is not None else Notifier.from_environment()
        self.liveness = Liveness(monotonic, current_frames)
        self.stuck: list[Stuck] = []
        self._limit_s = limit_s
        self._offer = offer
        self._name = name
        self._wall = wall
        self._monotonic = monotonic
        self._clocks = clocks if clocks is not None else ClockWatch(wall, monotonic)
        self._stacks_wanted = False  # no Event: a signal's handler may come while the lock of one is held
        self._look_at = self._feed_at = monotonic()
        self._main = self.beat("main")

    def beat(self, name: str, *, waits_for_disks: bool = False) -> Beat:
        """Return what a thread shows its progress with."""
        return self.liveness.register(name, self._limit_s * (_ONLY_READ if waits_for_disks else 1))

    def want_stacks(self) -> None:
        """Have the stacks of all threads written to the log with the next :meth:`tick`; may be called by a signal's handler."""
        self._stacks_wanted = True

    def facts(self) -> list[dict[str, object]]:
        """Return what a heartbeat says of threads that are stuck."""
        return [stuck.facts() for stuck in self.stuck]

    def tick(self) -> None:
        """Do what is due; to be called several times a second by the main thread."""
        self._main("the main loop")
        now = self._monotonic()
        if self._stacks_wanted:
            self._stacks_wanted = False
            _log.info("the threads, as was asked for:\n%s", all_stacks())
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._look(now)
            self._look_at_clocks()
        if not self.stuck and now >= self._feed_at:
            self._feed_at = now + min(_LOOK_S, (self.notifier.watchdog_s or _LOOK_S) / _FEEDS)
            self.notifier.watchdog()

    def rest(self) -> None:
        """Leave off: the main thread has other things to do from now on."""
        self._main.rest()

    def _look(self, now: float) -> None:
        known = {stuck.name for stuck in self.stuck}
        self.stuck = self.liveness.look(now)
        names = {stuck.name for stuck in self.stuck}
        for name in sorted(known - names):
            _log.warning("%s makes progress again", name)
        if names - known:
            what = "; ".join(str(stuck) for stuck in self.stuck)
            fed = self.notifier.watchdog_s is not None
            end = "; the watchdog is fed no more, so that systemd starts the daemon anew" if fed else ""
            _log.critical("%s%s\n%s", what, end, all_stacks())
            self.notifier.status(what)

    def _look_at_clocks(self) -> None:
        for jump in self._clocks.look():
            _log.warning("%s", jump)
            data: dict[str, Any] = {"kind": jump.kind, "jump_s": round(jump.jump_s, 3)}
            self._offer(Event("daemon.clock", self._name, data, time=self._wall()))

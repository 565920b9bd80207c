"""The thread that reloads: it is asked, reads and applies the configuration anew, and tells how that went."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.wire import rfc3339
from streamcls.errors import StreamclsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamcls.runtime.liveness import Beat

__all__ = ["GivenUpError", "Reloader", "outcome"]

_log = logging.getLogger("streamcls.reload")

_REMEMBERED: Final = 64
"""Outcomes that can still be asked for."""


class GivenUpError(StreamclsError):
    """The daemon stops, and the reload at hand goes no further."""


def outcome(state: str, reason: str, **more: Any) -> dict[str, Any]:
    """Return what a reload has come to, with every member of the event ``daemon.reload`` but ``took_s``."""
    nothing: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
    return {
        "state": state,
        "reason": reason,
        "problems": [],
        "sources": nothing,
        "streams": {"changed": [], "ended": []},
        "subscribers": nothing,
        "models": nothing,
        "policies": nothing,
        "settings": [],
        "waiting": [],
        **more,
    }


class Reloader(threading.Thread):
    """Reloads one after the other; those that are asked for while one waits are that one. Any thread may ask.

    Parameters
    ----------
    work
        Reloads, and returns the :func:`outcome`. It calls :meth:`step` before all that may take time.
    began, ended
        Called in the thread: before a reload, and with its outcome; not where the reload was given up.
    beat
        Where it shows that it makes progress.
    clock
        Unix time in seconds.
    """

    def __init__(
        self,
        work: Callable[[], dict[str, Any]],
        began: Callable[[], None],
        ended: Callable[[Mapping[str, Any]], None],
        beat: Beat,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(name="reload", daemon=True)
        self._work = work
        self._began, self._ended = began, ended
        self._beat = beat
        self._clock = clock
        self._changed = threading.Condition()
        self._given = 0
        self._waiting: int | None = None
        self._running: int | None = None
        self._outcomes: OrderedDict[int, Mapping[str, Any]] = OrderedDict()
        self._closing = False
        self._count = self._refused = 0
        self._last: Mapping[str, Any] | None = None

    def request(self) -> int:
        """Ask for a reload; return the number to ask for its outcome with."""
        with self._changed:
            if self._waiting is None:
                self._given += 1
                self._waiting = self._given
                self._changed.notify_all()
            return self._waiting

    @property
    def busy(self) -> bool:
        """Whether one runs or waits."""
        with self._changed:
            return self._waiting is not None or self._running is not None

    def look(self, ticket: int) -> Mapping[str, Any] | None:
        """Return the outcome of a reload, or None where it has not ended yet.

        Raises
        ------
        StreamclsError
            No reload has this number, or it is too long ago.
        """
        with self._changed:
            found = self._outcomes.get(ticket)
            if found is None and ticket not in {self._waiting, self._running}:
                raise StreamclsError(
                    f"no reload {ticket} is known; the daemon may have been restarted: reload once more"
                )
            return found

    def facts(self) -> dict[str, Any]:
        """Return what a heartbeat says of reloads."""
        with self._changed:
            return {"count": self._count, "refused": self._refused, "last": self._last}

    def step(self, doing: str) -> None:
        """Show progress; raises GivenUpError where the daemon stops."""
        self._beat(doing)
        if self._closing:
            raise GivenUpError("given up, since the daemon stops")

    def finish(self, timeout_s: float) -> bool:
        """Have the thread end with its next step; return False where it has not within so many seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self.ident is not None:
            self.join(timeout_s)
        return not self.is_alive()

    def run(self) -> None:
        """Reload whenever asked, until finished."""
        try:
            while self._next():
                self._one()
        finally:
            self._beat.rest()

    def _next(self) -> bool:
        with self._changed:
            self._beat.rest()
            self._changed.wait_for(lambda: self._closing or self._waiting is not None)
            if self._closing:
                return False
            self._running, self._waiting = self._waiting, None
            return True

    def _one(self) -> None:
        began = time.monotonic()
        given_up = False
        try:
            self.step("the beginning of a reload")
            self._began()
            found = self._work()
        except GivenUpError as error:
            found, given_up = outcome("refused", str(error)), True
        except Exception as error:  # noqa: BLE001 - the daemon goes on, and can be asked to reload once more
            _log.exception("the reload raised")
            found = outcome("refused", f"an error of streamcls itself, {type(error).__name__}: {error}; see its log")
        data = {**found, "took_s": round(time.monotonic() - began, 3)}
        if not given_up:
            self._say(data)
            self._ended(data)
        with self._changed:
            if self._running is not None:
                self._outcomes[self._running] = data
            while len(self._outcomes) > _REMEMBERED:
                self._outcomes.popitem(last=False)
            self._running = None
            self._count += 1
            self._refused += data["state"] == "refused"
            self._last = {**data, "time": rfc3339(self._clock())}

    @staticmethod
    def _say(data: Mapping[str, Any]) -> None:
        level = logging.ERROR if data["state"] == "refused" else logging.INFO
        problems = "".join(f"\n  {problem}" for problem in data["problems"])
        _log.log(level, "reload: %s: %s%s", data["state"], data["reason"], problems)
        if data["waiting"]:
            _log.warning("these keys wait for a restart: %s", ", ".join(data["waiting"]))

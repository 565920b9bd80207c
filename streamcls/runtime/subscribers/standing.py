"""How a subscriber is doing, and telling of it when that changes."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Literal

from streamcls.errors import BusError
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["KIND", "OUTPUT_GONE", "Standing", "State", "Supervised"]

_log = logging.getLogger("streamcls.subscriber")

KIND: Final = "daemon.subscriber"
OUTPUT_GONE: Final = "nobody reads standard output any more"
"""The one trouble that passes for nobody: the subscriber ends."""
State = Literal["starting", "running", "restarting", "hung", "open", "ended"]
"""``open``: it failed so often in a row that it is only tried once a minute, or not any more."""


class Standing:
    """A subscriber's state and its reason. Changed by one thread, read by any.

    Parameters
    ----------
    publish
        Takes an event ``daemon.subscriber`` for each change, except for the one from ``starting`` to ``running``.
    daemon
        Name of the daemon, the stream of these events.
    """

    def __init__(self, name: str, publish: Callable[[Event], None] | None, daemon: str) -> None:
        self.state: State = "starting"
        self.reason = ""
        self.restarts = 0
        self.name = name
        self._publish = publish
        self._daemon = daemon

    def become(self, state: State, reason: str = "") -> None:
        """Take a state, and tell of it where it is another one, in the log and as an event."""
        before, self.state, self.reason = self.state, state, reason
        if state == before and reason:
            _log.info("subscriber %s: %s: %s", self.name, state, reason)
        if state == before or (before == "starting" and state == "running"):
            return
        if state == "running":
            _log.warning("subscriber %s: running again", self.name)
        elif state == "ended":
            _log.warning("subscriber %s: %s; it has ended", self.name, reason)
        else:
            _log.error("subscriber %s: %s: %s", self.name, state, reason)
        if self._publish is None:
            return
        try:
            self._publish(Event(KIND, self._daemon, {"name": self.name, "state": state, "reason": reason}))
        except BusError as error:
            _log.debug("subscriber %s: %s is not published: %s", self.name, state, error)

    def finish(self, reason: str) -> None:
        """End because that was asked for."""
        if self.state != "ended":
            self.state, self.reason = "ended", reason
            if reason:
                _log.warning("subscriber %s: %s", self.name, reason)


class Supervised(threading.Thread, ABC):
    """What the daemon knows of a subscriber, whether its code runs here or in a process of its own.

    ``ready`` is set once no event can be missed any more, or where it is in trouble. ``finish`` lets it take everything published so
    far and ends it.

    Attributes
    ----------
    handled, failed
        Events that it took, and that were given up since it raised or hung.
    """

    def __init__(self, standing: Standing, position: Callable[[], int]) -> None:
        super().__init__(name=f"subscriber-{standing.name}", daemon=True)
        self.subscriber_name = standing.name
        self.ready = threading.Event()
        self.handled = 0
        self.failed = 0
        self._standing = standing
        self._position = position
        self._finishing = threading.Event()
        self._drain_s = 0.0
        self._deadline = float("inf")

    @property
    @abstractmethod
    def missed(self) -> int:
        """Events that it lost because it did not keep up."""

    @property
    @abstractmethod
    def at(self) -> int | None:
        """How far in the journal it has handled all; None where it keeps no place there."""

    @property
    @abstractmethod
    def told(self) -> Mapping[str, Any]:
        """What it tells of itself: see :func:`~streamcls.runtime.subscribers.telling.own_facts`."""

    @property
    def state(self) -> State:
        """How it is doing."""
        return self._standing.state

    @property
    def reason(self) -> str:
        """Why it is doing so, where that needs a reason."""
        return self._standing.reason

    @property
    def restarts(self) -> int:
        """How often it was made anew."""
        return self._standing.restarts

    @property
    def behind(self) -> int:
        """Places in the journal that it has not come to yet; 0 where it keeps no place there."""
        at = self.at
        return 0 if at is None else max(0, self._position() - at)

    def facts(self) -> dict[str, Any]:
        """Return what a heartbeat says of it."""
        return {
            "alive": self.is_alive(),
            "state": self.state,
            "handled": self.handled,
            "failed": self.failed,
            "missed": self.missed,
            "behind": self.behind,
            "restarts": self.restarts,
            "reason": self.reason,
            **self.told,
        }

    def finish(self, drain_s: float) -> None:
        """Ask it to take what was published so far, for at most ``drain_s`` seconds, and to end."""
        self._drain_s = drain_s
        self._deadline = time.monotonic() + drain_s
        self._finishing.set()

"""A clock for pauses that takes no time: whoever would wait for a while finds that it has gone by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamcls.bus.delivery import Timing

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

__all__ = ["Leaping", "settled"]

PATIENCE_S = 30.0


class Leaping:
    """Seconds that are only counted. ``pauses`` are those that were asked for; ``on_pause`` is told how many there were."""

    def __init__(self, jitter: float = 1.0) -> None:
        self.seconds = 1000.0
        self.pauses: list[float] = []
        self.jitter = jitter
        self.on_pause: Callable[[int], None] = lambda _: None

    @property
    def timing(self) -> Timing:
        return Timing(now=lambda: self.seconds, wait=self.wait, jitter=lambda: self.jitter)

    def wait(self, condition: threading.Condition, seconds: float | None) -> object:
        if seconds is None:
            return condition.wait()
        self.pauses.append(seconds)
        self.on_pause(len(self.pauses))
        self.seconds += seconds
        return True


def settled(subscriber: Any) -> None:
    """Wait until everything that it accepted is delivered or dead."""
    delivery = getattr(subscriber, "_delivery", subscriber)
    with delivery._changed:
        assert delivery._changed.wait_for(lambda: not delivery._lanes, PATIENCE_S), f"{delivery.waiting} events wait"

"""The thread that runs a subscriber's code, and nothing else: it can be left behind where that code hangs."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from streamcls.runtime.subscribers.handing import offer
from streamcls.runtime.subscribers.telling import own_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamcls.bus import Envelope
    from streamcls.interfaces import Subscriber

__all__ = ["Hand", "Progress"]

_log = logging.getLogger("streamcls.subscriber")

Stage = Literal["making", "idle", "handling", "closing", "over"]
_MAKING: Final = "the constructor"
_ASK_S: Final = 1.0
"""How often a subscriber is asked what it tells of itself, also while there is no event."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What has become of a batch.

    Attributes
    ----------
    done
        Events of the batch that were handled.
    error
        What the event after these raised, after all attempts; None: none did.
    waiting
        Whether it waits for the next batch, or has ended.
    busy_s
        Seconds since the call that runs now began; 0 where none does.
    """

    done: int
    error: BaseException | None
    waiting: bool
    busy_s: float


class Hand(threading.Thread):
    """Makes a subscriber, hands it batches of events and closes it, all in this thread.

    Its owner gives a batch, waits for it, and gives the next one. An event that raises at each attempt ends its batch. A hand that
    was abandoned touches nothing any more: should the call that hangs return after all, it closes its subscriber and ends.
    """

    def __init__(
        self, name: str, make: Callable[[], Subscriber], pause: Callable[[float], object] = time.sleep
    ) -> None:
        super().__init__(name=f"subscriber-{name}-hand", daemon=True)
        self._subscriber_name = name
        self._make = make
        self._pause = pause
        self._changed = threading.Condition()
        self._stage: Stage = "making"
        self._batch: Sequence[Envelope] = ()
        self._done = 0
        self._error: BaseException | None = None
        self._since: float = time.monotonic()
        self._closing = False
        self._abandoned = False
        self.gone: BrokenPipeError | None = None
        """Set where it writes to standard output, which nobody reads any more."""
        self.told: Mapping[str, Any] = {}
        """What the subscriber told of itself last. It is asked here and nowhere else, since a stranger's attribute may hang."""
        self._asked_at = float("-inf")
        self._silent = False

    def give(self, batch: Sequence[Envelope]) -> None:
        """Hand over the next events, once the last ones are done with."""
        with self._changed:
            self._batch, self._done, self._error, self._stage = batch, 0, None, "handling"
            self._since = time.monotonic()
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> Progress:
        """Wait until the batch, or what went before it, is done with, but not for longer than so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._stage in {"idle", "over"}, timeout_s)
            waiting = self._stage in {"idle", "over"}
            return Progress(
                self._done, self._error, waiting, 0.0 if waiting else max(0.0, time.monotonic() - self._since)
            )

    @property
    def doing(self) -> str:
        """What it is doing, for people."""
        with self._changed:
            if self._stage == "making":
                return _MAKING
            if self._stage == "handling" and self._done < len(self._batch):
                return f"the event {self._batch[self._done]['id']}"
            return self._stage

    def close(self) -> None:
        """Ask it to close its subscriber and to end, after the event at hand."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Leave it behind."""
        with self._changed:
            self._abandoned = self._closing = True
            self.name = f"{self.name}-abandoned"
            self._changed.notify_all()

    def run(self) -> None:
        """Work until closed."""
        subscriber: Subscriber | None = None
        try:
            subscriber = self._make()
        except BaseException as error:  # noqa: BLE001 - a stranger's code, which may even call sys.exit(): its owner reports it
            self._end(error)
            return
        try:
            while self._next(subscriber):
                self._work(subscriber)
        except BrokenPipeError as error:
            self.gone = error
        finally:
            with self._changed:
                self._stage, self._since = "closing", time.monotonic()
            try:
                subscriber.close()
            except BaseException:  # noqa: BLE001 - as above
                _log.exception("subscriber %s: close raised", self._subscriber_name)
            self._end(None)

    def _next(self, subscriber: Subscriber) -> bool:
        """Wait for a batch; return whether there is one."""
        with self._changed:
            if self._stage == "making":
                self._stage = "idle"
                self._changed.notify_all()
        while True:
            self._ask(subscriber)
            with self._changed:
                if self._changed.wait_for(lambda: self._closing or self._stage == "handling", _ASK_S):
                    return not self._closing

    def _ask(self, subscriber: Subscriber) -> None:
        """Have the subscriber tell of itself, where that is due."""
        now = time.monotonic()
        if self._silent or now - self._asked_at < _ASK_S:
            return
        self._asked_at = now
        try:
            self.told = own_facts(subscriber)
        except BaseException:  # noqa: BLE001 - as above
            self._silent = True
            _log.exception(
                "subscriber %s: what it tells of itself cannot be read, and is left out", self._subscriber_name
            )

    def _work(self, subscriber: Subscriber) -> None:
        for event in self._batch:
            error = self._offer(subscriber, event)
            self._ask(subscriber)
            with self._changed:
                if self._abandoned:
                    return
                self._error = error
                self._done += error is None
                if error is not None or self._closing:
                    break
        with self._changed:
            if not self._abandoned:
                self._stage = "idle"
                self._changed.notify_all()

    def _offer(self, subscriber: Subscriber, event: Envelope) -> BaseException | None:
        try:
            return offer(subscriber, event, self._pause, self._attempt)
        except BrokenPipeError:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            return error

    def _attempt(self) -> None:
        self._since = time.monotonic()

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._stage = "over"
            if error is not None:
                self._error = error
            self._changed.notify_all()

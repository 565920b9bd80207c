"""What waits to be published, and the means to wake the thread that publishes it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcls.errors import BusError

if TYPE_CHECKING:
    from streamcls.types import Checkpoint, Event

__all__ = ["Delivery", "Outgoing"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Events, and the checkpoint behind them: kept as a whole or not at all."""

    events: tuple[Event, ...]
    checkpoint: Checkpoint | None = None


class Outgoing:
    """A bounded queue of deliveries with a file descriptor that a poller can wait for.

    Attributes
    ----------
    descriptor
        Readable when something was put in, or the queue was closed.
    failure
        Why nobody takes anything any more; set by ``fail``.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._queue: deque[Delivery] = deque()
        self._changed = threading.Condition()
        self._released = False
        self.closing = False
        self.failure: BaseException | None = None
        self.descriptor, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, delivery: Delivery, timeout_s: float | None = None) -> bool:
        """Add a delivery; blocks while the queue is full. Raises BusError once nobody takes them any more.

        Returns
        -------
        bool
            False where there was no room for ``timeout_s`` seconds; without a time-out it waits for ever.
        """
        with self._changed:
            if not self._changed.wait_for(self._is_open, timeout_s):
                return False
            if self.closing or self.failure is not None:
                raise BusError(f"the bus has stopped{f': {self.failure}' if self.failure else ''}")
            self._queue.append(delivery)
            if len(self._queue) == 1:
                self._wake()
            return True

    def take(self, most: int) -> list[Delivery]:
        """Take up to ``most`` deliveries off the front."""
        with self._changed:
            taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            self._changed.notify_all()
        return taken

    def wake(self) -> None:
        """Make ``descriptor`` readable; from any thread."""
        with self._changed:
            self._wake()

    def heard(self) -> None:
        """Make ``descriptor`` unreadable until the next occasion."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 4096)

    def close(self) -> None:
        """Refuse further deliveries; those that wait can still be taken."""
        with self._changed:
            self.closing = True
            self._changed.notify_all()
            self._wake()

    def fail(self, error: BaseException | None) -> None:
        """Release everybody who waits for room: nothing is taken any more."""
        with self._changed:
            self.failure = self.failure or error
            self._changed.notify_all()

    def release(self) -> bool:
        """Close the pipe, once: a descriptor's number is soon another file's. Returns False where that was done before."""
        with self._changed:
            if self._released:
                return False
            self._released = True
            os.close(self.descriptor)
            os.close(self._write_end)
        return True

    def _is_open(self) -> bool:
        """Whether nobody has to wait, be it because there is room, or because there will never be any."""
        return len(self._queue) < self._size or self.closing or self.failure is not None

    def _wake(self) -> None:
        if not self._released:
            with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
                os.write(self._write_end, b"\0")

"""Delivering events one by one and in order per stream, with patience: for subscribers that speak to something that may fail.

Events wait in an :class:`~streamcls.bus.outbox.Outbox`. A few threads take them out: of each stream only the oldest one is under
way, so that a stream keeps its order and one that fails holds up no other.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.outbox import Parcel
from streamcls.bus.pace import Pace
from streamcls.errors import BusError, SubscriberBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamcls.bus.deadletters import DeadLetters
    from streamcls.bus.outbox import Outbox

__all__ = ["Delivery", "Outcome", "Patience", "Timing"]

_PATIENCE_S: Final = 2.0
"""How long an event is held back by a full outbox before its sender is told to come again."""
_REMIND_S: Final = 60.0
"""While deliveries fail, the log says so this often."""
_STEEPEST: Final = 40
"""Doublings after which a pause has certainly reached its maximum."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt: delivered (no reason), failed, or failed for good.

    Attributes
    ----------
    reason
        Why not; empty: it was delivered.
    permanent
        Trying again would not help.
    after_s
        The receiver wants to be left alone for so long, by all streams.
    """

    reason: str = ""
    permanent: bool = False
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on: pauses from ``first_s`` that double up to ``max_s``, each shortened by up to a half at random.

    An event is given up after ``attempts`` attempts or once ``give_up_s`` seconds have gone by since the first; 0: never.
    """

    first_s: float = 1.0
    max_s: float = 300.0
    attempts: int = 0
    give_up_s: float = 0.0

    def pause_s(self, attempt: int, jitter: float) -> float:
        """Return the pause after attempt 1, 2, …; ``jitter`` is from 0 to 1."""
        return float(min(self.max_s, self.first_s * 2 ** min(attempt - 1, _STEEPEST)) * (0.5 + 0.5 * jitter))

    def is_over(self, attempts: int, waited_s: float) -> bool:
        """Whether to give up after that many attempts over so many seconds."""
        return bool(self.attempts and attempts >= self.attempts) or bool(self.give_up_s and waited_s >= self.give_up_s)


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock, the way to wait and the source of chance, for tests to replace."""

    now: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Condition, float | None], object] = threading.Condition.wait
    jitter: Callable[[], float] = random.random


class Delivery:
    """Takes events, delivers each at least once, and puts those that cannot be delivered among the dead letters.

    Parameters
    ----------
    name
        Of the subscriber, for the log.
    send
        Makes one attempt; called on several threads at once, for different streams. What it raises counts as a failed attempt.
    outbox
        Belongs to the delivery from now on; what an earlier process left in it comes first.
    workers
        Attempts at the same time.
    per_minute
        Most attempts in a minute, 0: no limit. What is beyond waits.

    Attributes
    ----------
    counters
        ``delivered``, ``retried`` (failed attempts that another one follows), ``dead``, ``repeated`` (handed over again and known already).
    trouble
        Why the last attempt failed; empty once one has succeeded.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[Mapping[str, Any]], Outcome],
        outbox: Outbox,
        dead_letters: DeadLetters,
        *,
        workers: int,
        patience: Patience,
        per_minute: int = 0,
        timing: Timing | None = None,
    ) -> None:
        self.counters = {"delivered": 0, "retried": 0, "dead": 0, "repeated": 0}
        self.trouble = ""
        self._send, self._outbox, self._dead_letters = send, outbox, dead_letters
        self._patience = patience
        self._timing = timing or Timing()
        self._log = logging.getLogger(f"streamcls.subscriber.{name}")
        self._changed = threading.Condition()
        self._lanes: dict[str, deque[Parcel]] = {}
        self._ready: deque[str] = deque()
        self._delayed: list[tuple[float, int, str]] = []
        self._delays = 0
        self._pace = Pace(per_minute)
        self._failing: set[str] = set()
        self._reminded = self._mourned = self._held_back = float("-inf")
        self._closing = False
        self._close_at = float("inf")
        for parcel in outbox.parcels:
            self._enqueue(parcel)
        if len(outbox):
            self._log.info("%d events of an earlier run are still to be delivered", len(outbox))
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Events that are not delivered yet."""
        return len(self._outbox)

    @property
    def waited_s(self) -> float:
        """Seconds for which the oldest of them has waited, as far as this process knows; 0 where none waits."""
        with self._changed:
            oldest = min(
                (lane[0].taken_at for lane in self._lanes.values() if lane[0].taken_at is not None), default=None
            )
            return 0.0 if oldest is None else max(0.0, self._timing.now() - oldest)

    def put(self, event: Mapping[str, Any]) -> None:
        """Accept an event: once this returns, it will be delivered even if the process is killed.

        Where the outbox cannot be written, this blocks until the event is delivered or dead.

        Raises
        ------
        BusError
            It was closed before the event could be accepted.
        SubscriberBusyError
            The outbox is full, and was for two seconds; the event is to be offered again.
        """
        self._wait_for_room()
        try:
            parcel = self._outbox.add(event)
        except OSError as error:
            self._log.error(
                "the event %s cannot be kept on disk (%s); it is waited for instead", event["id"], error.strerror
            )
            self._deliver_now(Parcel(0, event))
            return
        with self._changed:
            if parcel is None:
                self.counters["repeated"] += 1
            else:
                self._enqueue(parcel)
                self._changed.notify_all()

    def close(self, grace_s: float, abort: Callable[[], None] | None = None) -> None:
        """Deliver what can be delivered at once, for at most ``grace_s`` seconds; the rest stays in the outbox.

        ``abort`` is called where attempts are under way even then, and is to make them fail.
        """
        with self._changed:
            self._closing = True
            self._close_at = time.monotonic() + grace_s
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, self._close_at - time.monotonic()))
        if abort is not None:
            abort()
        for thread in self._threads:
            thread.join(1.0 if abort else 0.0)
        if len(self._outbox):
            self._log.info("%d events are not delivered yet; they are kept for the next start", len(self._outbox))
        self._outbox.close()

    def _wait_for_room(self) -> None:
        with self._changed:
            while not self._closing and self._outbox.full:
                now = self._timing.now()
                if now - self._held_back >= _REMIND_S:
                    self._held_back = now
                    self._log.warning("%d events wait, which is the limit; others are held back", len(self._outbox))
                if not self._changed.wait_for(lambda: self._closing or not self._outbox.full, _PATIENCE_S):
                    raise SubscriberBusyError(f"{len(self._outbox)} events wait to be delivered, which is the limit")
            if self._closing:
                raise BusError("it is closed, and takes no further event")

    def _deliver_now(self, parcel: Parcel) -> None:
        with self._changed:
            self._enqueue(parcel)
            self._changed.notify_all()
            while not parcel.settled and not self._closing:
                self._changed.wait()
            if not parcel.settled:
                raise BusError(f"the event {parcel.event['id']} was neither delivered nor kept before the end")

    def _enqueue(self, parcel: Parcel) -> None:
        parcel.taken_at = self._timing.now()
        lane = self._lanes.get(parcel.stream)
        if lane is not None:
            lane.append(parcel)
            return
        self._lanes[parcel.stream] = deque([parcel])
        self._ready.append(parcel.stream)

    def _work(self) -> None:
        while (parcel := self._take()) is not None:
            try:
                outcome = self._send(parcel.event)
            except Exception as error:  # noqa: BLE001 - it is logged, counted and tried again
                self._log.exception("the event %s", parcel.event["id"])
                outcome = Outcome(f"{type(error).__name__}: {error}")
            self._judge(parcel, outcome)

    def _take(self) -> Parcel | None:
        """Wait for the next event whose turn it is; None: it is over."""
        with self._changed:
            while True:
                now = self._timing.now()
                while self._delayed and self._delayed[0][0] <= now:
                    self._ready.append(heapq.heappop(self._delayed)[2])
                wait_s: float | None = self._pace.wait_s(now)
                if self._closing and (not self._ready or wait_s or time.monotonic() >= self._close_at):
                    return None
                if self._ready and not wait_s:
                    self._pace.note(now)
                    parcel = self._lanes[self._ready.popleft()][0]
                    parcel.attempts += 1
                    parcel.tried_at = now if parcel.tried_at is None else parcel.tried_at
                    return parcel
                if not self._ready:
                    wait_s = self._delayed[0][0] - now if self._delayed else None
                self._timing.wait(self._changed, wait_s)

    def _judge(self, parcel: Parcel, outcome: Outcome) -> None:
        """Settle a parcel, or put its stream off."""
        now = self._timing.now()
        began = now if parcel.tried_at is None else parcel.tried_at
        reason = outcome.reason
        # At the end attempts are made to fail, which says nothing about the event.
        over = outcome.permanent or (not self._closing and self._patience.is_over(parcel.attempts, now - began))
        if reason and over:
            try:
                self._dead_letters.write(parcel.event, reason, parcel.attempts)
            except OSError as error:
                reason, over = f"{reason}; the dead letter cannot be written: {error.strerror}", False
        if not reason or over:
            self._outbox.settle(parcel)
        with self._changed:
            if outcome.after_s:
                self._pace.hold(now + outcome.after_s)
            if reason and not over:
                self._put_off(parcel, reason, now)
            else:
                self._finish(parcel, reason)
            self._changed.notify_all()

    def _put_off(self, parcel: Parcel, reason: str, now: float) -> None:
        self.counters["retried"] += 1
        self.trouble = reason
        self._delays += 1
        due = now + self._patience.pause_s(parcel.attempts, self._timing.jitter())
        heapq.heappush(self._delayed, (due, self._delays, parcel.stream))
        self._failing.add(parcel.stream)
        if now - self._reminded >= _REMIND_S:
            self._reminded = now
            self._log.warning(
                "the event %s is not delivered: %s; attempt %d of it, %d events of %d streams wait",
                *(parcel.event["id"], reason, parcel.attempts, len(self._outbox), len(self._lanes)),
            )

    def _finish(self, parcel: Parcel, reason: str) -> None:
        self.counters["dead" if reason else "delivered"] += 1
        self.trouble = reason
        now = self._timing.now()
        if reason and now - self._mourned >= _REMIND_S:
            self._mourned = now
            self._log.error(
                "the event %s is a dead letter, %d by now: %s", parcel.event["id"], self.counters["dead"], reason
            )
        if parcel.stream in self._failing:
            self._failing.discard(parcel.stream)
            if not self._failing:
                self._reminded = float("-inf")
                self._log.info("events are delivered again" if not reason else "no delivery is put off any more")
        lane = self._lanes[parcel.stream]
        with contextlib.suppress(ValueError):
            lane.remove(parcel)
        parcel.settled = True
        if lane:
            self._ready.append(parcel.stream)
        else:
            del self._lanes[parcel.stream]

"""A subscriber in a thread of the daemon: supervised, so that whatever its code does is its own trouble."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import BusError, SubscriberBusyError
from streamcls.runtime.complaints import Complaints
from streamcls.runtime.subscribers.circuit import Circuit
from streamcls.runtime.subscribers.feed import Feed
from streamcls.runtime.subscribers.hand import Hand
from streamcls.runtime.subscribers.handing import BUSY_PAUSE_S
from streamcls.runtime.subscribers.standing import OUTPUT_GONE, Standing, Supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from streamcls.bus.keys import ClientKeys
    from streamcls.interfaces import Subscriber
    from streamcls.runtime.subscribers.standing import State
    from streamcls.types import Event

__all__ = ["SubscriberThread"]

_log = logging.getLogger("streamcls.subscriber")

_POLL_S: Final = 0.2
_SYNCHRONISE_S: Final = 5.0
_CLOSE_S: Final = 5.0
"""How long a subscriber may take to close before it is left behind."""
_SET_ASIDE: Final = 3
"""Events in a row that are given up; beyond that the subscriber is broken, not the events, and it is offered the next one on and on."""
_HANGS: Final = 2
"""An event in which it hung so often is given up."""
_BUSY_S: Final = 60.0
"""A subscriber that was busy for so long is told of as one that hangs."""
_MOST_ABANDONED: Final = 3
"""Threads that may hang at once."""


class _OverError(Exception):
    """It has ended, in good order where there is no text, else for the reason that it says."""


class _LeaveError(Exception):
    """The circuit is open: the connection is given up until the next probe."""


class SubscriberThread(Supervised):
    """Receives for one subscriber, and hands over to the thread in which its code runs.

    An event that it raises on three times is set aside, counted in ``failed`` and named in the log. One that goes on raising, cannot
    be made or hangs is made anew after a pause, and offered the event at which it stopped.

    Parameters
    ----------
    cursors
        Folder of its durable place in the journal; None: it begins with what is published now.
    hang_s
        Seconds after which a call that has not returned is taken for hung.
    busy_s
        Seconds after which one that is busy is told of as ``hung``, though nothing is done about it.
    publish, daemon
        Where its changes of state are told, and the daemon's name for that.
    position
        Says where the journal is, for ``behind``.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Subscriber],
        endpoint: str,
        context: Any,
        *,
        kinds: Sequence[str] = (),
        streams: Sequence[str] = (),
        cursors: Path | None = None,
        curve: ClientKeys | None = None,
        hang_s: float = 60.0,
        publish: Callable[[Event], None] | None = None,
        daemon: str = "streamcls",
        position: Callable[[], int] = lambda: 0,
        circuit: Circuit | None = None,
        busy_s: float = _BUSY_S,
    ) -> None:
        super().__init__(Standing(name, publish, daemon), position)
        self._make = make
        self._feed = Feed(name, endpoint, context, kinds=kinds, streams=streams, cursors=cursors, curve=curve)
        self._hang_s = hang_s
        self._circuit = circuit or Circuit()
        self._hand: Hand | None = None
        self._abandoned: list[Hand] = []
        self._busy_s = busy_s
        self._busy_since: float | None = None
        self._in_a_row = 0
        self._hung_in: tuple[str, int] = ("", 0)
        self._complaints = Complaints(_log.error)

    @property
    def missed(self) -> int:
        """Events that it lost because it did not keep up."""
        return self._feed.missed

    @property
    def at(self) -> int | None:
        """Its place in the journal."""
        return self._feed.position

    @property
    def told(self) -> Mapping[str, Any]:
        """What its code told of itself last; nothing while there is none that runs."""
        hand = self._hand
        return {} if hand is None else hand.told

    def run(self) -> None:
        """Receive and hand over until finished."""
        try:
            while True:
                try:
                    self._connect()
                    self._receive()
                except _LeaveError:
                    continue
        except _OverError as over:
            self._standing.finish(str(over))
        except BusError as error:
            self._standing.become("ended", str(error))
        except Exception as error:  # noqa: BLE001 - a supervisor that ends says so
            _log.exception("subscriber %s: it is not supervised any more", self.subscriber_name)
            self._standing.become("ended", f"{type(error).__name__}: {error}")
        finally:
            self.ready.set()
            self._retire()
            self._feed.close()
            if self.failed:
                _log.error("subscriber %s did not take %d events in all", self.subscriber_name, self.failed)

    def _connect(self) -> None:
        try:
            self._feed.open()
        except BusError as error:
            self._trouble("restarting", str(error))
            raise _LeaveError from error

    def _receive(self) -> None:
        """Deliver what comes; raises _OverError once all is delivered that was published before the end was asked for."""
        try:
            for _ in self._feed.synchronise(_SYNCHRONISE_S):
                self._deliver()
        except BusError as error:
            _log.info("subscriber %s has more to catch up with: %s", self.subscriber_name, error)
        self._deliver()
        self._feed.save()  # so that one that cannot be made yet, or dies early, goes on from where it began
        self._ensure_hand()
        self.ready.set()
        while not self._finishing.is_set():
            self._feed.receive(_POLL_S)
            self._deliver()
        try:
            for _ in self._feed.synchronise(max(0.0, self._deadline - time.monotonic())):
                self._deliver()
        except BusError as error:
            raise self._late() from error
        self._deliver()
        raise _OverError

    def _late(self) -> _OverError:
        return _OverError(f"it did not take all that was published within {self._drain_s:g} s of the stop")

    def _deliver(self) -> None:
        """Hand over what waits; raises _OverError where there is no time left for it."""
        while self._feed.pending:
            if time.monotonic() > self._deadline:
                raise self._late()
            hand = self._ensure_hand()
            hand.give(self._feed.batch())
            self._watch(hand)

    def _watch(self, hand: Hand) -> None:
        """Wait until a batch is done with, or has turned out badly."""
        done = 0
        while True:
            progress = hand.wait(_POLL_S)
            if progress.done > done:
                self._took(progress.done - done)
                done = progress.done
            if progress.waiting:
                break
            if progress.busy_s > self._hang_s:
                self._hung(hand, in_event=True)
                return
            if time.monotonic() > self._deadline:
                self._retire()
                if (more := hand.wait(0.0).done - done) > 0:
                    self._took(more)
                raise self._late()
        if hand.gone:
            self._standing.become("ended", OUTPUT_GONE)
            raise _OverError(self.reason)
        if progress.error is not None:
            self._refused(progress.error)

    def _took(self, count: int) -> None:
        self.handled += count
        self._feed.done(count)
        self._in_a_row, self._busy_since = 0, None
        self._complaints.recovered(f"subscriber {self.subscriber_name} takes events again")
        self._well()

    def _well(self) -> None:
        self._circuit.succeeded()
        self._standing.become("running")

    def _refused(self, error: BaseException) -> None:
        if isinstance(error, SubscriberBusyError):
            # It works, and is behind: the event stays the next one, and the journal keeps what comes after it.
            self._complaints.complain(f"subscriber {self.subscriber_name} is behind: {error}")
            self._busy(error)
            self._finishing.wait(BUSY_PAUSE_S)
            return
        self._in_a_row += 1
        text = f"{type(error).__name__}: {error}"
        _log.debug("subscriber %s", self.subscriber_name, exc_info=error)
        if self._in_a_row <= _SET_ASIDE:
            self._set_aside(text)
        else:
            self._trouble("restarting", f"it raises on every event: {text}")

    def _busy(self, error: SubscriberBusyError) -> None:
        """Tell of one that is busy for long."""
        now = time.monotonic()
        self._busy_since = now if self._busy_since is None else self._busy_since
        if now - self._busy_since >= self._busy_s and self.state != "hung":
            self._standing.become("hung", f"it has taken nothing for {self._busy_s:g} s: {error}")

    def _set_aside(self, text: str) -> None:
        name, event = self.subscriber_name, self._feed.pending[0]
        self._complaints.complain(f"subscriber {name} did not take the event {event['id']}: {text}")
        self.failed += 1
        self._feed.done(1)

    def _hung(self, hand: Hand, *, in_event: bool) -> None:
        """Leave a thread behind."""
        doing = hand.doing
        self._abandon(hand)
        if in_event:
            identifier = self._feed.pending[0]["id"]
            times = self._hung_in[1] + 1 if self._hung_in[0] == identifier else 1
            self._hung_in = (identifier, times)
            if times >= _HANGS:
                self._set_aside(f"it hung in it {times} times")
        self._trouble("hung", f"{doing} has not returned for {self._hang_s:g} s")

    def _abandon(self, hand: Hand) -> None:
        hand.abandon()
        self._hand = None
        self._abandoned = [*(other for other in self._abandoned if other.is_alive()), hand]
        _log.error("subscriber %s: the thread %s is left behind", self.subscriber_name, hand.name)

    def _ensure_hand(self) -> Hand:
        """Return the thread that runs its code, made anew where there is none; tries until it succeeds."""
        while self._hand is None:
            if sum(hand.is_alive() for hand in self._abandoned) >= _MOST_ABANDONED:
                self._give_up()
            hand = Hand(self.subscriber_name, self._make, self._finishing.wait)
            hand.start()
            progress = hand.wait(_POLL_S)
            while not progress.waiting and progress.busy_s <= self._hang_s:
                if time.monotonic() > self._deadline:
                    hand.abandon()
                    raise self._late()
                progress = hand.wait(_POLL_S)
            if not progress.waiting:
                self._hung(hand, in_event=False)
            elif progress.error is not None:
                error = progress.error
                _log.debug("subscriber %s", self.subscriber_name, exc_info=error)
                self._trouble("restarting", f"it cannot be made: {type(error).__name__}: {error}")
            else:
                self._hand = hand
                if not self._feed.pending:
                    self._well()
        return self._hand

    def _trouble(self, state: State, reason: str) -> None:
        """Wait before it is made anew; raises _LeaveError where the connection was given up, _OverError where it is to end."""
        self._retire()
        pause = self._circuit.failed()
        self._standing.become("open" if self._circuit.open else state, reason)
        self.ready.set()
        leave = self._circuit.open and self._feed.durable
        if leave:
            self._feed.close()
        if self._finishing.wait(pause):
            raise _OverError(reason)
        self._standing.restarts += 1
        if leave:
            raise _LeaveError

    def _give_up(self) -> None:
        """Do nothing more until the end."""
        self._standing.become(
            "open", f"{_MOST_ABANDONED} of its threads hang; it is not made anew until the daemon is restarted"
        )
        self._feed.close()
        self.ready.set()
        self._finishing.wait()
        raise _OverError(self.reason)

    def _retire(self) -> None:
        """Close the subscriber, and leave it behind where that takes too long."""
        hand, self._hand = self._hand, None
        if hand is None:
            return
        hand.close()
        hand.join(_CLOSE_S)
        if hand.is_alive():
            self._abandon(hand)

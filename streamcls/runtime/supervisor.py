"""Sources under supervision: a thread each, opened again with back-off, routed to workers."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from streamcls.config.schema import NAME_PATTERN
from streamcls.errors import RetryableSourceError, SourceError
from streamcls.runtime.inbox import Departure, Replan
from streamcls.runtime.liveness import Beat
from streamcls.types import Chunk, EndOfStream, Event, StreamStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamcls.interfaces import Source
    from streamcls.runtime.models import StreamPlan
    from streamcls.runtime.slot import StreamSlot
    from streamcls.runtime.workers import Worker
    from streamcls.types import StreamItem, StreamState

__all__ = ["Replanned", "Router", "SourceThread"]

_log = logging.getLogger("streamcls.source")

_MAX_REFUSED: Final = 1_000
_LONGEST_SHOWN: Final = 80
_GOES_ON: Final = frozenset({"running", "gap"})
_STOOD_STILL_S: Final = 5.0
_UNMATCHED: Final = "no [[stream]] entry matches it, so nothing is done with it"


@dataclass(slots=True)
class _Route:
    owner: str
    worker: Worker
    slot: StreamSlot
    plan: StreamPlan
    departures: int
    live: bool = False
    heard_at: float | None = None
    silent: bool = False


class Replanned(NamedTuple):
    """Names of streams: what was done with them."""

    changed: list[str]
    ended: list[str]


class Router:
    """Knows which worker has which stream. Used by every source's thread.

    Parameters
    ----------
    stall_s
        A stream of a live source that delivered audio and then nothing for so many seconds is said to be ``stalled``, and
        ``running`` with the next audio; 0: that is never said.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        plan: Callable[[str], StreamPlan | None],
        publish: Callable[[Event], None],
        epoch: str,
        *,
        stall_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = workers
        self._stall_s = stall_s
        self._clock = clock
        self._plan = plan
        self._publish = publish
        self._epoch = epoch
        self._routes: dict[str, _Route] = {}
        self._ticked_at = clock()
        self._refused: set[str] = set()
        self._opened_live = 0
        self._lock = threading.Lock()
        self._at_once = threading.Event()  # a stop that is set: who hands it over waits for nothing
        self._at_once.set()

    def route(
        self, owner: str, item: StreamItem, *, live: bool, stop: threading.Event, beat: Beat | None = None
    ) -> bool:
        """Hand an item to its stream's worker, opening the stream where it is new; False where it was not taken."""
        with self._lock:
            route = self._routes.get(item.stream)
            if route is None:
                route = self._open(owner, item, live=live)
            elif route.owner != owner:
                self._refuse(
                    item.stream, f"source {owner!r} offers it too, but source {route.owner!r} delivers it already"
                )
                route = None
            if route is not None and isinstance(item, EndOfStream):
                del self._routes[item.stream]
            again = self._heard(route, item) if route is not None else None
        if route is None:
            return False
        if again is not None:
            self._deliver(route, again, live=live, stop=stop, waiting=beat)
        return self._deliver(route, item, live=live, stop=stop, waiting=beat)

    @staticmethod
    def _deliver(route: _Route, item: StreamItem, **how: Any) -> bool:
        return route.worker.deliver(route.slot, item, departures=route.departures, **how)

    def stall_after(self, stall_s: float) -> None:
        """Say of streams that they stall after so many seconds from now on; 0: never."""
        self._stall_s = stall_s

    def tick(self) -> None:
        """Say of every stream that has fallen silent that it stalls; to be called about once a second, from any thread.

        Where nobody called for seconds the whole process stood still, and so did its sources: their time begins anew.
        """
        now = self._clock()
        before, self._ticked_at = self._ticked_at, now
        if not self._stall_s:
            return
        with self._lock:  # also while it is handed over, or the next audio's "running" could overtake it
            if now - before > _STOOD_STILL_S:
                for route in self._routes.values():
                    route.heard_at = None if route.heard_at is None else now
            for name, route in self._routes.items():
                if not route.live or route.heard_at is None or now - route.heard_at <= self._stall_s:
                    continue
                reason = f"nothing has come from source {route.owner} for {self._stall_s:g} s"
                status = StreamStatus(name, "stalled", reason)
                if route.worker.deliver(route.slot, status, live=False, stop=self._at_once):
                    route.silent, route.heard_at = True, None
                    _log.warning("stream %s: %s", name, reason)

    @staticmethod
    def _stalls(item: StreamItem) -> bool:
        """Whether a source says itself that nothing comes, so that nobody else need say it."""
        return not isinstance(item, Chunk) and not (isinstance(item, StreamStatus) and item.state in _GOES_ON)

    def _heard(self, route: _Route, item: StreamItem) -> StreamStatus | None:
        """Note that something came; return what is to be said before it of a stream that was silent."""
        if self._stalls(item):
            route.heard_at, route.silent = None, False
            return None
        if not isinstance(item, Chunk):
            return None
        route.heard_at, was_silent, route.silent = self._clock(), route.silent, False
        return StreamStatus(item.stream, "running", "audio comes again") if was_silent else None

    def announce(self, name: str, state: StreamState, reason: str) -> None:
        """Publish a state under a name that is no open stream's: a source that has none yet."""
        self._publish(Event("stream.status", name, {"state": state, "reason": reason}))

    def replan(self, plan: Callable[[str], StreamPlan | None], reason: str) -> Replanned:
        """Go over to other plans; streams whose plan stays the same notice nothing.

        Each of the others takes its new plan between two pieces of its audio, or ends where no ``[[stream]]`` matches it any more.
        """
        done = Replanned([], [])
        with self._lock:
            self._plan = plan
            self._refused.clear()
            for name, route in list(self._routes.items()):
                new = plan(name)
                if new is None:
                    route.worker.put(route.slot, Departure(reason))
                    del self._routes[name]
                    done.ended.append(name)
                elif new != route.plan:
                    route.worker.put(route.slot, Replan(new, reason))
                    route.plan = new
                    done.changed.append(name)
        return done

    def leave(self, owner: str, reason: str, timeout_s: float) -> bool:
        """End the streams of a source that has stopped, so that another of its name can go on with them; whether that was done in time.

        What they have open is closed. Those that can resume leave a checkpoint with the resumption.
        """
        marks = []
        with self._lock:
            for name, route in [(n, r) for n, r in self._routes.items() if r.owner == owner]:
                del self._routes[name]
                marks.append(Departure(reason))
                route.worker.put(route.slot, marks[-1])
        deadline = self._clock() + timeout_s
        return all(mark.done.wait(max(0.0, deadline - self._clock())) for mark in marks)

    def streams_of(self, owner: str) -> list[str]:
        """Return the names of a source's open streams."""
        with self._lock:
            return [name for name, route in self._routes.items() if route.owner == owner]

    def _open(self, owner: str, item: StreamItem, *, live: bool) -> _Route | None:
        if isinstance(item, EndOfStream):
            return None
        if not re.fullmatch(NAME_PATTERN, item.stream):
            self._refuse(
                owner,
                f"a stream may not be called {item.stream[:_LONGEST_SHOWN]!r}: letters, digits and . _ : @ + - only",
            )
            return None
        plan = self._plan(item.stream)
        if plan is None:
            self._refuse(item.stream, _UNMATCHED)
            return None
        worker = next((worker for worker in self._workers if worker.has(item.stream)), None)
        if worker is None:
            worker = min(self._workers, key=len)
        # What is live may count from 0 each time that it begins: its findings are not to bear the ids of those before.
        origin = f"{self._epoch}.{self._opened_live}" if live and self._opened_live else self._epoch if live else ""
        self._opened_live += live
        slot = worker.open(item.stream, plan, origin, owner)
        route = self._routes[item.stream] = _Route(owner, worker, slot, plan, slot.departures, live)
        self._refused.discard(item.stream)
        return route

    def _refuse(self, stream: str, reason: str) -> None:
        if stream in self._refused or len(self._refused) >= _MAX_REFUSED:
            return
        self._refused.add(stream)
        _log.warning("stream %s: %s", stream, reason)
        self._publish(Event("stream.status", stream, {"state": "failed", "reason": reason}))


class SourceThread(threading.Thread):
    """Runs one source until it ends, fails for good, or is stopped.

    Attributes
    ----------
    state
        ``connecting``, ``running``, ``retrying``, ``ended`` or ``failed``.
    reason
        Why it is retrying or failed.
    declared
        Whether it has said anything yet: an item, that it is lost, or that it has ended.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        router: Router,
        *,
        retry_s: float,
        retry_max_s: float,
        beat: Beat | None = None,
    ) -> None:
        super().__init__(name=f"source-{name}", daemon=True)
        self._beat = beat or Beat(self.name, math.inf, time.monotonic)
        self.declared = False
        self._abandoned = False
        self.source_name = name
        self.source = source
        self.stop_event = threading.Event()
        self.state: StreamState = "connecting"
        self.reason = ""
        self._router = router
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s

    def abandon(self, reason: str, *, end_streams: bool = True) -> None:
        """Leave it behind: it has failed, and what it may still deliver is not taken. From any thread.

        Parameters
        ----------
        end_streams
            Its streams end now; else that is left to the workers, which are about to end too.
        """
        self._abandoned = True
        self.stop_event.set()
        self.state, self.reason = "failed", reason
        for stream in self._router.streams_of(self.source_name) if end_streams else ():
            for item in (StreamStatus(stream, "failed", reason), EndOfStream(stream)):
                self._router.route(self.source_name, item, live=False, stop=self.stop_event)

    def run(self) -> None:
        """Deliver items; open again with a doubling pause after a retryable error."""
        try:
            self._run()
        finally:
            self.declared = True
            self._beat.rest()

    def _run(self) -> None:
        pause = self._retry_s
        while not self.stop_event.is_set():
            try:
                delivered = self._deliver_all()
            except RetryableSourceError as error:
                reason = str(error)
            except SourceError as error:
                self._lost("failed", str(error))
                self._end_streams()  # others may deliver streams of these names now
                return
            except Exception as error:  # noqa: BLE001 - a stranger's code: the others go on
                _log.exception("source %s: it raised", self.source_name)
                reason = f"{type(error).__name__}: {error}"
            else:
                if not self.stop_event.is_set():
                    self.state = "ended"
                    _log.info("source %s: ended after %d items", self.source_name, delivered)
                    self._end_streams()
                return
            if self.stop_event.is_set():
                return
            if self.state == "running":
                pause = self._retry_s
            self._lost("retrying", f"{reason}; next attempt in {pause:g} s")
            self.stop_event.wait(pause)
            pause = min(pause * 2, self._retry_max_s)

    def _deliver_all(self) -> int:
        delivered = 0
        live = self.source.live
        items = self.source.items(self.stop_event)
        try:
            for item in items:
                if self._abandoned:
                    break
                self.declared = True
                self._beat(f"an item of stream {item.stream}")
                self._note(item)
                self._router.route(self.source_name, item, live=live, stop=self.stop_event, beat=self._beat)
                self._beat.rest()  # in its own code it may wait for the world as long as it likes
                delivered += 1
                if self.stop_event.is_set():
                    break
        finally:
            self._beat.rest()
            close: Any = getattr(items, "close", None)
            if close is not None:
                close()
        return delivered

    def _note(self, item: StreamItem) -> None:
        """Learn from what it delivers how it fares: audio, or what it waits for before the first of it."""
        if isinstance(item, Chunk):
            self.state, self.reason = "running", ""
        elif isinstance(item, StreamStatus) and item.state == self.state == "connecting":
            self.reason = item.reason

    def _lost(self, state: StreamState, reason: str) -> None:
        """Say on each of its streams that the source is lost, or under its own name where it has none."""
        if self._abandoned:
            return
        self.state, self.reason, self.declared = state, reason, True
        _log.warning("source %s: %s: %s", self.source_name, state, reason)
        streams = self._router.streams_of(self.source_name)
        for stream in streams:
            status = StreamStatus(stream, state, reason)
            self._router.route(self.source_name, status, live=False, stop=self.stop_event)
        if not streams:
            self._router.announce(self.source_name, state, reason)

    def _end_streams(self) -> None:
        for stream in () if self._abandoned else self._router.streams_of(self.source_name):
            self._router.route(self.source_name, EndOfStream(stream), live=False, stop=self.stop_event)

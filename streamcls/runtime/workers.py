"""Workers: each owns some streams, their pipelines, and one classifier per model."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from streamcls.runtime.inbox import Inbox
from streamcls.runtime.pipeline import StreamPipeline
from streamcls.types import Chunk, EndOfStream, Event, StreamStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamcls.interfaces import Classifier
    from streamcls.runtime.inbox import Piece
    from streamcls.runtime.models import LoadedModel, StreamPlan
    from streamcls.types import StreamItem

__all__ = ["StreamSlot", "Worker"]

_log = logging.getLogger("streamcls.worker")

_PIECE_S: Final = 0.5
"""Audio taken from one stream before the next has its turn."""
_MOST_FAILURES: Final = 5
_WELL_AGAIN: Final = 1_000
_LOST_STATES: Final = frozenset({"retrying", "failed"})


@dataclass(slots=True)
class StreamSlot:
    """A stream in a worker's hands.

    Attributes
    ----------
    origin
        See :class:`~streamcls.interfaces.PolicyContext`.
    dropped_samples
        Samples of a live source for which there was no room.
    failures
        Times its pipeline raised lately; after five the stream is given up.
    claims
        Times it was opened and has not ended yet: 2 where it was opened again while its former end still waits in the inbox.
    """

    name: str
    plan: StreamPlan
    origin: str
    inbox: Inbox
    pipeline: StreamPipeline | None = None
    dropped_samples: int = 0
    failures: int = 0
    good_pieces: int = 0
    given_up: bool = False
    queued: bool = False
    state: str = "connecting"
    claims: int = 0

    def renew(self) -> None:
        """Forget the stream that ended, for the one of the same name that follows it in the inbox."""
        self.pipeline = None
        self.dropped_samples = self.failures = self.good_pieces = 0
        self.given_up = False
        self.state = "connecting"


class Worker(threading.Thread):
    """Classifies its streams in turn. What a stream's models or policies raise costs that stream only."""

    def __init__(self, number: int, publish: Callable[[Event], None], buffer_s: float) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self._publish = publish
        self._buffer_s = buffer_s
        self._changed = threading.Condition()
        self._slots: dict[str, StreamSlot] = {}
        self._ready: deque[StreamSlot] = deque()
        self._classifiers: dict[str, Classifier] = {}
        self._closing: str | None = None
        self._drain_until = 0.0
        self.failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._slots)

    def classifier(self, model: LoadedModel) -> Classifier:
        """Return this worker's classifier for a model, made when first asked for."""
        if model.name not in self._classifiers:
            self._classifiers[model.name] = model.classifier()
        return self._classifiers[model.name]

    def open(self, name: str, plan: StreamPlan, origin: str) -> StreamSlot:
        """Take a stream on. One whose end still waits goes on in its slot, so that its events stay in order."""
        with self._changed:
            slot = self._slots.get(name)
            if slot is None:
                slot = self._slots[name] = StreamSlot(name, plan, origin, Inbox(self._buffer_s))
            slot.claims += 1
        return slot

    def has(self, name: str) -> bool:
        """Whether it has a stream, be it one whose end still waits."""
        return name in self._slots

    def slots(self) -> list[StreamSlot]:
        """Return the streams it has now."""
        with self._changed:
            return list(self._slots.values())

    def deliver(self, slot: StreamSlot, item: StreamItem, *, live: bool, stop: threading.Event) -> bool:
        """Put an item into a stream's inbox.

        Where there is no room, a live source's chunk is dropped and counted: it shows as a gap. Anything else waits until there
        is room or ``stop`` is set. Returns False where the item was not taken.
        """
        with self._changed:
            while not slot.inbox.offer(item):
                if live and isinstance(item, Chunk):
                    slot.dropped_samples += len(item.samples)
                    return False
                if stop.is_set() or self._closing is not None:
                    return False
                self._changed.wait(0.1)
            if not slot.queued:
                slot.queued = True
                self._ready.append(slot)
                self._changed.notify_all()
        return True

    def finish(self, reason: str, drain_s: float) -> None:
        """Classify what waits, for at most ``drain_s`` seconds, then close every stream and end the thread."""
        with self._changed:
            self._closing = reason
            self._drain_until = time.monotonic() + drain_s
            self._changed.notify_all()

    def run(self) -> None:
        """Work until finished."""
        try:
            while (turn := self._next()) is not None:
                slot, piece = turn
                self._work(slot, piece)
            self._close_all()
        except BaseException as error:
            self.failure = error
            _log.critical("%s stopped", self.name, exc_info=True)
            raise
        finally:
            for classifier in self._classifiers.values():
                classifier.close()

    def _next(self) -> tuple[StreamSlot, Piece] | None:
        """Wait for work; None when the worker is to end."""
        with self._changed:
            while True:
                if self._closing is not None and time.monotonic() >= self._drain_until:
                    return None
                while self._ready:
                    slot = self._ready.popleft()
                    piece = slot.inbox.take(_PIECE_S)
                    slot.queued = bool(slot.inbox)
                    if slot.queued:
                        self._ready.append(slot)
                    if piece is not None:
                        self._changed.notify_all()  # there is room again
                        return slot, piece
                if self._closing is not None:
                    return None
                self._changed.wait()

    def _work(self, slot: StreamSlot, piece: Piece) -> None:
        if slot.given_up:
            if isinstance(piece, EndOfStream):
                self._forget(slot)
            return
        try:
            events = self._events(slot, piece)
        except Exception as error:  # noqa: BLE001 - it costs this stream, not the others
            _log.exception("stream %s: its pipeline raised", slot.name)
            self._failed(slot, error)
            events = []
        else:
            slot.good_pieces += 1
            if slot.good_pieces >= _WELL_AGAIN:
                slot.failures = 0
        for event in events:
            self._publish(event)
        if isinstance(piece, EndOfStream):
            self._forget(slot)

    def _events(self, slot: StreamSlot, piece: Piece) -> list[Event]:
        if slot.pipeline is None:
            slot.pipeline = StreamPipeline(slot.name, slot.plan, self, origin=slot.origin)
        pipeline = slot.pipeline
        if isinstance(piece, EndOfStream):
            slot.state = "ended"
            return pipeline.close("end of stream", flush=True)
        if isinstance(piece, StreamStatus):
            slot.state = piece.state
            lost = pipeline.close("source lost") if piece.state in _LOST_STATES else []
            return [*lost, *pipeline.status(piece)]
        slot.state = "running"
        return pipeline.push(piece)

    def _failed(self, slot: StreamSlot, error: Exception) -> None:
        """Begin the stream anew with its next piece, or give it up where that keeps failing."""
        slot.pipeline = None
        slot.good_pieces = 0
        slot.failures += 1
        slot.given_up = slot.failures >= _MOST_FAILURES
        slot.state = "failed" if slot.given_up else "retrying"
        what = "it is given up" if slot.given_up else "it begins anew"
        data: dict[str, Any] = {"state": slot.state, "reason": f"{type(error).__name__}: {error}; {what}"}
        self._publish(Event("stream.status", slot.name, data))

    def _close_all(self) -> None:
        reason = self._closing or "shutdown"
        for slot in self.slots():
            if slot.inbox.waiting_s:
                lost = f"{slot.inbox.waiting_s:.2f} s of audio that had arrived were not classified before the stop"
                self._publish(Event("stream.status", slot.name, {"state": "gap", "reason": lost}))
            if slot.pipeline is not None:
                try:
                    events = slot.pipeline.close(reason)
                except Exception:  # noqa: BLE001 - as above
                    _log.exception("stream %s: closing it raised", slot.name)
                    continue
                for event in events:
                    self._publish(event)

    def _forget(self, slot: StreamSlot) -> None:
        with self._changed:
            slot.claims -= 1
            if slot.claims:
                slot.renew()
            else:
                del self._slots[slot.name]

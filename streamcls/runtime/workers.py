"""Workers: each owns some streams, their pipelines, and one classifier per model."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from streamcls.audio import Run
from streamcls.runtime.announcing import in_state
from streamcls.runtime.inbox import Departure, Inbox, Replan
from streamcls.runtime.keeping import Keeper
from streamcls.runtime.liveness import BEAT_S, Beat
from streamcls.runtime.pace import PaceMeter
from streamcls.runtime.pipeline import StreamPipeline
from streamcls.runtime.pool import Classifiers
from streamcls.runtime.resume import publish_each
from streamcls.runtime.slot import SHED, SHED_S, StreamSlot, recorded
from streamcls.types import Chunk, EndOfStream, Event, StreamStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from streamcls.runtime.evidence import EvidenceRecorder
    from streamcls.runtime.inbox import Mark, Piece
    from streamcls.runtime.models import StreamPlan
    from streamcls.runtime.pace import Pace
    from streamcls.runtime.resume import PublishAll, Resumption
    from streamcls.runtime.tally import ModelTally
    from streamcls.types import StreamItem

__all__ = ["Worker"]

_log = logging.getLogger("streamcls.worker")

_PIECE_S: Final = 0.5
"""Audio taken from one stream before the next has its turn."""
_MOST_FAILURES: Final = 5
_WELL_AGAIN: Final = 1_000
_LOST_STATES: Final = frozenset({"retrying", "failed"})
_SILENT_STATES: Final = frozenset({"connecting", "stalled", *_LOST_STATES})
_OVERLOAD: Final = "overload"


class Worker(threading.Thread):
    """Classifies its streams in turn. What a stream's models or policies raise costs that stream only.

    Parameters
    ----------
    publish_all
        Takes the events of a piece of audio and the checkpoint behind them as one unit; None: ``publish`` takes each event, and
        nothing can be resumed.
    resumption
        What the daemon before this one left behind.
    checkpoint_s
        Longest time between two checkpoints of a stream that can resume, in seconds.
    history_s
        A stream with clips that resumes begins so much earlier than classification needs, as far back as its audio has no gap.
    recorder
        Makes what cuts the clips of a stream; None where it has none.
    clock
        Monotonic seconds.
    beat
        Where it shows that it makes progress, and with which stream.
    """

    def __init__(
        self,
        number: int,
        publish: Callable[[Event], None],
        buffer_s: float,
        *,
        publish_all: PublishAll | None = None,
        resumption: Resumption | None = None,
        checkpoint_s: float = 2.0,
        history_s: float = 0.0,
        recorder: Callable[[str], EvidenceRecorder | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        beat: Beat | None = None,
    ) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self._beat = beat or Beat(self.name, math.inf, clock)
        self._publish = publish
        self._keeper = Keeper(
            publish_all or publish_each(publish),
            resumption,
            checkpoint_s=checkpoint_s,
            history_s=history_s,
            clock=clock,
        )
        self._recorder = recorder
        self._buffer_s = buffer_s
        self._changed = threading.Condition()
        self._slots: dict[str, StreamSlot] = {}
        self._ready: deque[StreamSlot] = deque()
        self._classifiers = Classifiers()
        self._opened = 0
        self._meter = PaceMeter()
        self._stretch, self._stretch_reason = 1, ""
        self._closing: str | None = None
        self._drain_until = 0.0
        self.failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def models(self) -> dict[str, ModelTally]:
        """What each model cost, by its name."""
        return self._classifiers.tallies

    def open(self, name: str, plan: StreamPlan, origin: str, source: str = "") -> StreamSlot:
        """Take a stream of a source on. One whose end still waits goes on in its slot, so that its events stay in order."""
        with self._changed:
            slot = self._slots.get(name)
            if slot is not None:
                slot.inbox.put(Replan(plan, "it began anew"))
            else:
                self._opened += 1
                slot = self._slots[name] = StreamSlot(name, plan, origin, Inbox(self._buffer_s), opened=self._opened)
            slot.claim(source, origin)
        return slot

    def has(self, name: str) -> bool:
        """Whether it has a stream, be it one whose end still waits."""
        return name in self._slots

    def slots(self) -> list[StreamSlot]:
        """Return the streams it has now."""
        with self._changed:
            return list(self._slots.values())

    def deliver(
        self,
        slot: StreamSlot,
        item: StreamItem,
        *,
        live: bool,
        stop: threading.Event,
        waiting: Beat | None = None,
        departures: int | None = None,
    ) -> bool:
        """Put an item into a stream's inbox.

        Where there is no room, a live source's chunk is dropped and counted: it shows as a gap. Anything else waits until there
        is room or ``stop`` is set, and says so to ``waiting``. Returns False where the item was not taken, as where the stream
        has had more ``departures`` by now.
        """
        with self._changed:
            if isinstance(item, Chunk):
                slot.live = live
                if live:
                    self._meter.arrived(slot, item)
                    if slot.refuses():
                        if slot.inbox:
                            self._queue(slot)
                        return False
            while departures in {None, slot.departures}:
                if slot.inbox.offer(item):
                    self._queue(slot)
                    return True
                if live and isinstance(item, Chunk):
                    slot.drop(item, self.name)
                    return False
                if stop.is_set() or self._closing is not None:
                    return False
                self._changed.wait(0.1)
                if waiting is not None:
                    waiting(f"stream {slot.name}: no room at {self.name}")
        return False

    def put(self, slot: StreamSlot, mark: Mark) -> None:
        """Put a word of the daemon's behind what waits of a stream; there is always room for it."""
        with self._changed:
            slot.inbox.put(mark)
            slot.departures += isinstance(mark, Departure)
            self._queue(slot)

    def stretch(self, every: int, reason: str) -> None:
        """Classify only each how many-th window of the live streams from now on (1: all); each of them says so."""
        self._stretch, self._stretch_reason = every, reason

    def shed(self, names: Collection[str], reason: str) -> None:
        """Give live streams up until they are restored: their audio is thrown away and counted, what they have open is closed."""
        with self._changed:
            for slot in [self._slots[name] for name in names if name in self._slots]:
                if slot.live and not slot.shed:
                    slot.give_up(reason)
                    self._queue(slot)

    def restore(self, names: Collection[str], reason: str) -> None:
        """Take streams up again that were shed."""
        with self._changed:
            for slot in [self._slots[name] for name in names if name in self._slots]:
                if slot.shed:
                    slot.take_up(reason)
                    self._queue(slot)

    def pace(self) -> Pace:
        """Say how it fares; from any thread."""
        with self._changed:
            return self._meter.pace(self._slots.values(), self._classifiers, self._stretch)

    def _queue(self, slot: StreamSlot) -> None:
        if not slot.queued:
            slot.queued = True
            self._ready.append(slot)
            self._changed.notify_all()

    def finish(self, reason: str, drain_s: float) -> None:
        """Classify what waits, for at most ``drain_s`` seconds, then close every stream and end the thread."""
        with self._changed:
            self._closing = reason
            self._drain_until = time.monotonic() + drain_s
            self._changed.notify_all()

    def run(self) -> None:
        """Work until finished."""
        self._meter.begin()
        try:
            while (turn := self._next()) is not None:
                slot, piece = turn
                self._beat(f"stream {slot.name}")
                if piece is None:
                    self._keeper.publish(slot, (), at_once=True)
                else:
                    self._work(slot, piece)
            self._close_all()
        except BaseException as error:
            self.failure = error
            _log.critical("%s stopped", self.name, exc_info=True)
            raise
        finally:
            self._classifiers.close(lambda name: self._beat(f"the end of model {name}"))
            self._beat.rest()

    def _next(self) -> tuple[StreamSlot, Piece | None] | None:
        """Wait for work; None when the worker is to end. Without a piece: nothing comes, and a checkpoint is due."""
        quiet_s = 0.0
        with self._changed:
            while True:
                self._beat()
                if self._closing is not None and time.monotonic() >= self._drain_until:
                    return None
                if (overdue := self._keeper.overdue()) is not None:
                    return overdue, None
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
                unsaved, limit_s = self._keeper.next_unsaved(), self._keeper.checkpoint_s
                wait_s = min(BEAT_S, limit_s - quiet_s) if unsaved is not None else BEAT_S
                with self._meter.idle():
                    woken = self._changed.wait(wait_s)
                quiet_s = 0.0 if woken else quiet_s + wait_s
                if unsaved is not None and quiet_s >= limit_s:
                    return unsaved, None

    def _work(self, slot: StreamSlot, piece: Piece) -> None:
        if isinstance(piece, Replan):
            slot.replanned(piece.plan)
        if slot.given_up:
            if isinstance(piece, (EndOfStream, Departure)):
                self._forget(slot, piece)
            return
        began, first = time.monotonic(), slot.pipeline is None
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
        audio_s = len(piece.samples) / piece.sample_rate if isinstance(piece, Run) else 0.0
        windows = 0 if slot.pipeline is None else slot.pipeline.windows
        slot.tally.note(audio_s, windows, began, time.monotonic())
        self._keeper.tell(slot, piece, events)
        self._meter.worked(slot, audio_s, time.monotonic() - began if first else 0.0)
        if isinstance(piece, Replan):  # not sooner: what a model that leaves had to come is classified before
            self._classifiers.keep(model for one in self.slots() for model, _ in one.plan.models)
        elif isinstance(piece, (EndOfStream, Departure)):
            self._forget(slot, piece)

    def _events(self, slot: StreamSlot, piece: Piece) -> list[Event]:
        if slot.pipeline is None:
            slot.pipeline = StreamPipeline(slot.name, slot.plan, self._classifiers, origin=slot.origin)
        if not isinstance(piece, Replan) and slot.plan.evidence != (slot.recorder is not None):
            slot.recorder = self._recorder(slot.name) if slot.plan.evidence else None
        pipeline = slot.pipeline
        match piece:
            case EndOfStream():
                slot.state = "ended"
                return recorded(slot, pipeline.close("end of stream", flush=True), "end of stream")
            case Departure(reason=reason):
                slot.state = "ended"
                resumes = bool(slot.marks)
                return recorded(slot, pipeline.close(reason, flush=not resumes, resumes=resumes), reason)
            case Replan(plan=plan, reason=reason):
                events = [in_state(event, slot.state) for event in pipeline.replan(plan, reason)]
                return recorded(slot, events, "" if plan.evidence else reason)
            case StreamStatus():
                return self._status(slot, pipeline, piece)
        slot.state = "running"
        slot.marks.add(piece)
        resumed = self._keeper.resumed(slot, pipeline, piece)
        if slot.recorder is not None:
            slot.recorder.push(piece)
        stretched: list[Event] = []
        if slot.live and slot.every != self._stretch:
            slot.every = self._stretch
            stretched = pipeline.stretch(self._stretch, self._stretch_reason)
        return recorded(slot, [*resumed, *stretched, *pipeline.push(piece)])

    @staticmethod
    def _status(slot: StreamSlot, pipeline: StreamPipeline, status: StreamStatus) -> list[Event]:
        if slot.shed and status.state == "running":
            status = replace(status, state=SHED, reason=f"{status.reason}; it is still given up because of overload")
        elif slot.state in _SILENT_STATES and (status.state == SHED or SHED_S in status.metadata):
            # Nothing comes anyway, which matters more; if audio comes while it is given up, that is said then.
            slot.shed_told = False
            return recorded(slot, pipeline.pause(_OVERLOAD), _OVERLOAD)
        slot.state, closed = status.state, []
        if status.state in _LOST_STATES:
            slot.shed_told = False
            closed = recorded(slot, pipeline.close("source lost"), "source lost")
        elif status.state == SHED:
            closed = recorded(slot, pipeline.pause(_OVERLOAD), _OVERLOAD)
        return [*closed, *pipeline.status(status)]

    def _failed(self, slot: StreamSlot, error: Exception) -> None:
        """Begin the stream anew with its next piece, or give it up where that keeps failing."""
        self._give_up(slot)
        if slot.recorder is not None:
            slot.recorder.finish("failed")
        slot.good_pieces, slot.every, slot.shed_told = 0, 1, False
        slot.failures += 1
        slot.given_up = slot.failures >= _MOST_FAILURES
        slot.state = "failed" if slot.given_up else "retrying"
        what = "it is given up" if slot.given_up else "it begins anew"
        data: dict[str, Any] = {"state": slot.state, "reason": f"{type(error).__name__}: {error}; {what}"}
        self._publish(Event("stream.status", slot.name, data))

    def _give_up(self, slot: StreamSlot) -> None:
        """Close what a pipeline that raised has open, as far as its policies still can."""
        pipeline, slot.pipeline = slot.pipeline, None
        if pipeline is None:
            return
        try:
            events = pipeline.abandon("failed")
        except Exception:  # noqa: BLE001 - as above
            _log.exception("stream %s: what it had open cannot be closed", slot.name)
        else:
            for event in events:
                self._publish(event)

    def _close_all(self) -> None:
        reason = self._closing or "shutdown"
        for slot in self.slots():
            self._beat(f"the end of stream {slot.name}")
            if slot.inbox.waiting_s and not slot.marks:
                lost = f"{slot.inbox.waiting_s:.2f} s of audio that had arrived were not classified before the stop"
                self._publish(Event("stream.status", slot.name, {"state": "gap", "reason": lost}))
            if slot.pipeline is not None:
                try:
                    events = slot.pipeline.close(reason, resumes=bool(slot.marks))
                except Exception:  # noqa: BLE001 - as above
                    _log.exception("stream %s: closing it raised", slot.name)
                    continue
                self._keeper.publish(slot, recorded(slot, events, reason), at_once=True)
            if slot.recorder is not None:
                slot.recorder.hand_over()

    def _forget(self, slot: StreamSlot, piece: EndOfStream | Departure) -> None:
        with self._changed:
            slot.claims -= 1
            if slot.claims:
                slot.renew()
            else:
                del self._slots[slot.name]
                self._keeper.forget(slot)
        if isinstance(piece, Departure):
            piece.done.set()

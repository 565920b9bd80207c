"""Workers: each owns some streams, their pipelines, and one classifier per model."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from streamcls.runtime.inbox import Inbox
from streamcls.runtime.liveness import BEAT_S, Beat
from streamcls.runtime.memory import PipelineMemory
from streamcls.runtime.pipeline import StreamPipeline
from streamcls.runtime.resume import STATE_VERSION, publish_each
from streamcls.runtime.slot import StreamSlot, recorded, resume_clips
from streamcls.runtime.tally import ModelTally, TalliedClassifier
from streamcls.types import Checkpoint, Chunk, EndOfStream, Event, StreamStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamcls.audio import Run
    from streamcls.interfaces import Classifier
    from streamcls.runtime.evidence import EvidenceRecorder
    from streamcls.runtime.inbox import Piece
    from streamcls.runtime.models import LoadedModel, StreamPlan
    from streamcls.runtime.resume import PublishAll, Resumption
    from streamcls.types import StreamItem

__all__ = ["Worker"]

_log = logging.getLogger("streamcls.worker")

_PIECE_S: Final = 0.5
"""Audio taken from one stream before the next has its turn."""
_MOST_FAILURES: Final = 5
_WELL_AGAIN: Final = 1_000
_LOST_STATES: Final = frozenset({"retrying", "failed"})


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
        self._publish_all = publish_all or publish_each(publish)
        self._resumption = resumption
        self._checkpoint_s = checkpoint_s
        self._history_s = history_s
        self._recorder = recorder
        self._clock = clock
        self._buffer_s = buffer_s
        self._changed = threading.Condition()
        self._slots: dict[str, StreamSlot] = {}
        self._ready: deque[StreamSlot] = deque()
        self._unsaved: dict[str, StreamSlot] = {}
        self._classifiers: dict[str, Classifier] = {}
        self.models: dict[str, ModelTally] = {}
        self._closing: str | None = None
        self._drain_until = 0.0
        self.failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._slots)

    def classifier(self, model: LoadedModel) -> Classifier:
        """Return this worker's classifier for a model, made when first asked for."""
        if model.name not in self._classifiers:
            tally = self.models.setdefault(model.name, ModelTally())
            self._classifiers[model.name] = TalliedClassifier(model.classifier(), tally)
        return self._classifiers[model.name]

    def open(self, name: str, plan: StreamPlan, origin: str, source: str = "") -> StreamSlot:
        """Take a stream of a source on. One whose end still waits goes on in its slot, so that its events stay in order."""
        with self._changed:
            slot = self._slots.get(name)
            if slot is None:
                slot = self._slots[name] = StreamSlot(name, plan, origin, Inbox(self._buffer_s))
            slot.claims += 1
            slot.sources.append(source)
        return slot

    def has(self, name: str) -> bool:
        """Whether it has a stream, be it one whose end still waits."""
        return name in self._slots

    def slots(self) -> list[StreamSlot]:
        """Return the streams it has now."""
        with self._changed:
            return list(self._slots.values())

    def deliver(
        self, slot: StreamSlot, item: StreamItem, *, live: bool, stop: threading.Event, waiting: Beat | None = None
    ) -> bool:
        """Put an item into a stream's inbox.

        Where there is no room, a live source's chunk is dropped and counted: it shows as a gap. Anything else waits until there
        is room or ``stop`` is set, and says so to ``waiting``. Returns False where the item was not taken.
        """
        with self._changed:
            while not slot.inbox.offer(item):
                if live and isinstance(item, Chunk):
                    slot.dropped_samples += len(item.samples)
                    return False
                if stop.is_set() or self._closing is not None:
                    return False
                self._changed.wait(0.1)
                if waiting is not None:
                    waiting(f"stream {slot.name}: no room at {self.name}")
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
                self._beat(f"stream {slot.name}")
                if piece is None:
                    self._publish_all_of(slot, (), at_once=True)
                else:
                    self._work(slot, piece)
            self._close_all()
        except BaseException as error:
            self.failure = error
            _log.critical("%s stopped", self.name, exc_info=True)
            raise
        finally:
            for name, classifier in self._classifiers.items():
                self._beat(f"the end of model {name}")
                classifier.close()
            self._beat.rest()

    def _next(self) -> tuple[StreamSlot, Piece | None] | None:
        """Wait for work; None when the worker is to end. Without a piece: nothing comes, and a checkpoint is due."""
        quiet_s = 0.0
        with self._changed:
            while True:
                self._beat()
                if self._closing is not None and time.monotonic() >= self._drain_until:
                    return None
                if (overdue := self._overdue()) is not None:
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
                wait_s = min(BEAT_S, self._checkpoint_s - quiet_s) if self._unsaved else BEAT_S
                quiet_s = 0.0 if self._changed.wait(wait_s) else quiet_s + wait_s
                if self._unsaved and quiet_s >= self._checkpoint_s:
                    return next(iter(self._unsaved.values())), None

    def _overdue(self) -> StreamSlot | None:
        """Return the stream that waits longest for a checkpoint, once that is due: nothing of it comes, and others leave no pause."""
        slot = next(iter(self._unsaved.values()), None)
        if slot is None or slot.checkpointed_at is None:
            return None
        return slot if self._clock() - slot.checkpointed_at >= self._checkpoint_s else None

    def _work(self, slot: StreamSlot, piece: Piece) -> None:
        if slot.given_up:
            if isinstance(piece, EndOfStream):
                self._forget(slot)
            return
        began = time.monotonic()
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
        audio_s = 0.0 if isinstance(piece, (EndOfStream, StreamStatus)) else len(piece.samples) / piece.sample_rate
        windows = 0 if slot.pipeline is None else slot.pipeline.windows
        slot.tally.note(audio_s, windows, began, time.monotonic())
        self._publish_all_of(slot, events)
        if slot.recorder is not None:
            slot.recorder.hand_over()
        if isinstance(piece, EndOfStream):
            self._forget(slot)

    def _publish_all_of(self, slot: StreamSlot, events: Sequence[Event], *, at_once: bool = False) -> None:
        """Publish what a piece gave, with a checkpoint where one is due: the journal has both or neither."""
        journaled = any(not event.kind.endswith(".window") for event in events)
        now = self._clock()
        due = slot.checkpointed_at is None or now - slot.checkpointed_at >= self._checkpoint_s
        resumes = bool(slot.marks) or slot.known_to_resume
        checkpoint = self._checkpoint(slot) if resumes and (journaled or due or at_once) else None
        if checkpoint is not None:
            slot.checkpointed_at = now
        if resumes and checkpoint is None and not at_once:
            self._unsaved[slot.name] = slot
        else:
            self._unsaved.pop(slot.name, None)
        if events or checkpoint is not None:
            self._publish_all(events, checkpoint)

    def _checkpoint(self, slot: StreamSlot) -> Checkpoint | None:
        memory = slot.pipeline.remember() if slot.pipeline is not None else None
        if memory is None:
            return None
        history_s = self._history_s if slot.recorder is not None else 0.0
        wanted = max(memory.since, memory.needed - round(history_s * memory.sample_rate))
        if slot.recorder is not None and slot.recorder.needs_from is not None:
            wanted = min(wanted, slot.recorder.needs_from)
        mark = slot.marks.newest(memory.needed, wanted)
        state = {"version": STATE_VERSION, "mark": dict(mark), "pipeline": memory.model_dump()} if mark else None
        if state is not None and slot.recorder is not None:
            state["evidence"] = slot.recorder.state()
        if state is None and not slot.known_to_resume:
            return None
        slot.known_to_resume = state is not None
        return Checkpoint(slot.name, slot.sources[0], state)

    def _resumed(self, slot: StreamSlot, pipeline: StreamPipeline, run: Run) -> list[Event]:
        """Go on where the daemon before this one was, if it was anywhere, or say why not."""
        resumption = self._resumption
        state = resumption.take(slot.name, slot.sources[0]) if resumption is not None else None
        if resumption is None or state is None:
            return []
        slot.known_to_resume = True
        try:
            memory = PipelineMemory.model_validate(state)
            events, kept = pipeline.resume(memory, run)
        except ValueError as error:
            reason = f"it cannot go on where it was: {error}"
            _log.warning("stream %s: %s", slot.name, reason)
            return [*resumption.lost(slot.name), *pipeline.status(StreamStatus(slot.name, "gap", reason))]
        if slot.recorder is not None:
            resume_clips(slot.recorder, resumption.evidence(slot.name))
        return [*resumption.lost(slot.name, kept, memory.begun), *events]

    def _events(self, slot: StreamSlot, piece: Piece) -> list[Event]:
        if slot.pipeline is None:
            slot.pipeline = StreamPipeline(slot.name, slot.plan, self, origin=slot.origin)
            slot.recorder = slot.recorder or self._recorder(slot.name)
        pipeline = slot.pipeline
        if isinstance(piece, EndOfStream):
            slot.state = "ended"
            return recorded(slot, pipeline.close("end of stream", flush=True), "end of stream")
        if isinstance(piece, StreamStatus):
            slot.state = piece.state
            lost = piece.state in _LOST_STATES
            closed = recorded(slot, pipeline.close("source lost"), "source lost") if lost else []
            return [*closed, *pipeline.status(piece)]
        slot.state = "running"
        slot.marks.add(piece)
        resumed = self._resumed(slot, pipeline, piece)
        if slot.recorder is not None:
            slot.recorder.push(piece)
        return recorded(slot, [*resumed, *pipeline.push(piece)])

    def _failed(self, slot: StreamSlot, error: Exception) -> None:
        """Begin the stream anew with its next piece, or give it up where that keeps failing."""
        self._give_up(slot)
        if slot.recorder is not None:
            slot.recorder.finish("failed")
        slot.good_pieces = 0
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
                self._publish_all_of(slot, recorded(slot, events, reason), at_once=True)
            if slot.recorder is not None:
                slot.recorder.hand_over()

    def _forget(self, slot: StreamSlot) -> None:
        with self._changed:
            slot.claims -= 1
            if slot.claims:
                slot.renew()
            else:
                del self._slots[slot.name]
                self._unsaved.pop(slot.name, None)

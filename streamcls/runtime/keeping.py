"""Publishing what a stream gave together with a note of where it is, and going on there after a restart."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streamcls.runtime.inbox import Departure
from streamcls.runtime.memory import PipelineMemory
from streamcls.runtime.resume import STATE_VERSION
from streamcls.runtime.slot import resume_clips
from streamcls.types import Checkpoint, EndOfStream, StreamStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamcls.audio import Run
    from streamcls.runtime.inbox import Piece
    from streamcls.runtime.pipeline import StreamPipeline
    from streamcls.runtime.resume import PublishAll, Resumption
    from streamcls.runtime.slot import StreamSlot
    from streamcls.types import Event

__all__ = ["Keeper"]

_log = logging.getLogger("streamcls.worker")


class Keeper:
    """Writes the checkpoints of a worker's streams, no more often than each ``checkpoint_s`` unless something is to be remembered.

    Parameters
    ----------
    publish_all
        Takes the events of a piece of audio and the checkpoint behind them as one unit.
    resumption
        What came before: of the daemon before this one, or of sources that were changed.
    checkpoint_s
        Longest time between two checkpoints of a stream that can resume, in seconds.
    history_s
        A stream with clips that resumes begins so much earlier than classification needs, as far back as its audio has no gap.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        publish_all: PublishAll,
        resumption: Resumption | None,
        *,
        checkpoint_s: float,
        history_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._publish_all = publish_all
        self._resumption = resumption
        self.checkpoint_s = checkpoint_s
        self._history_s = history_s
        self._clock = clock
        self._unsaved: dict[str, StreamSlot] = {}

    def next_unsaved(self) -> StreamSlot | None:
        """Return the stream that waits longest for a checkpoint; None where none does."""
        return next(iter(self._unsaved.values()), None)

    def overdue(self) -> StreamSlot | None:
        """Return the stream that waits longest, once that is due: nothing of it comes, and others leave no pause."""
        slot = self.next_unsaved()
        if slot is None or slot.checkpointed_at is None:
            return None
        return slot if self._clock() - slot.checkpointed_at >= self.checkpoint_s else None

    def forget(self, slot: StreamSlot) -> None:
        """Leave a stream out that is over."""
        self._unsaved.pop(slot.name, None)

    def tell(self, slot: StreamSlot, piece: Piece, events: Sequence[Event]) -> None:
        """Publish what a piece gave, and hand over the clips that are whole."""
        over = isinstance(piece, (EndOfStream, Departure))
        checkpoint = self.publish(slot, events, at_once=over)
        if checkpoint is not None and self._resumption is not None and over:
            # A successor of its source goes on with it: at once, or where it ended by itself, once there is one.
            self._resumption.put(checkpoint, at_once=isinstance(piece, Departure))
        if slot.recorder is not None:
            slot.recorder.hand_over()

    def publish(self, slot: StreamSlot, events: Sequence[Event], *, at_once: bool = False) -> Checkpoint | None:
        """Publish what a piece gave, with a checkpoint where one is due, which is returned: the journal has both or neither."""
        journaled = any(not event.kind.endswith(".window") for event in events)
        now = self._clock()
        due = slot.checkpointed_at is None or now - slot.checkpointed_at >= self.checkpoint_s
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
        return checkpoint

    def resumed(self, slot: StreamSlot, pipeline: StreamPipeline, run: Run) -> list[Event]:
        """Go on where the stream was before, if it was anywhere, or say why not."""
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

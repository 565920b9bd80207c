"""A stream in a worker's hands, with what cuts its clips."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamcls.runtime.marks import Marks
from streamcls.runtime.tally import StreamTally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.runtime.evidence import EvidenceRecorder
    from streamcls.runtime.inbox import Inbox
    from streamcls.runtime.models import StreamPlan
    from streamcls.runtime.pipeline import StreamPipeline
    from streamcls.types import Event

__all__ = ["StreamSlot", "recorded", "resume_clips"]

_log = logging.getLogger("streamcls.worker")


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
    sources
        Names of the sources that deliver it, one for each claim.
    marks
        From where the source can deliver again; empty where it cannot.
    opened
        Its number among the streams that its worker took on.
    live
        Whether its audio is lost where there is no room.
    arrived_s, shed_s
        Live audio that was offered, and of it what was thrown away because of overload, in seconds.
    shed
        Whether it is given up for now because of overload.
    every
        Each how many-th window is classified.
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
    sources: deque[str] = field(default_factory=deque)
    marks: Marks = field(default_factory=Marks)
    checkpointed_at: float | None = None
    known_to_resume: bool = False
    recorder: EvidenceRecorder | None = None
    tally: StreamTally = field(default_factory=StreamTally)
    opened: int = 0
    live: bool = False
    arrived_s: float = 0.0
    shed_s: float = 0.0
    shed: bool = False
    drop_told_at: float = float("-inf")
    every: int = 1

    def renew(self) -> None:
        """Forget the stream that ended, for the one of the same name that follows it in the inbox."""
        if self.sources[0] != self.sources[1]:
            self.marks.clear()
        self.sources.popleft()
        self.pipeline = None
        self.recorder = None
        self.tally = StreamTally()
        self.dropped_samples = self.failures = self.good_pieces = 0
        self.given_up = False
        self.every = 1
        self.state = "connecting"


def recorded(slot: StreamSlot, events: list[Event], over: str = "") -> list[Event]:
    """Show events to the stream's recorder; with a reason its audio is over."""
    if slot.recorder is not None:
        slot.recorder.observe(events)
        if over:
            slot.recorder.finish(over)
    return events


def resume_clips(recorder: EvidenceRecorder, state: Mapping[str, Any] | None) -> None:
    """Go on with the clips that were not on the disk when the daemon before this one ended."""
    try:
        if state is not None:
            recorder.restore(state)
    except ValueError as error:
        _log.warning("stream %s: the clips begun before the restart are lost: %s", recorder.stream, error)

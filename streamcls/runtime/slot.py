"""A stream in a worker's hands, with what cuts its clips."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamcls.runtime.marks import Marks
from streamcls.runtime.tally import StreamTally
from streamcls.types import StreamStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.runtime.evidence import EvidenceRecorder
    from streamcls.runtime.inbox import Inbox
    from streamcls.runtime.models import StreamPlan
    from streamcls.runtime.pipeline import StreamPipeline
    from streamcls.types import Chunk, Event

__all__ = ["SHED", "SHED_S", "StreamSlot", "recorded", "resume_clips"]

_log = logging.getLogger("streamcls.worker")

SHED: Final = "shed"
"""State of a stream that is given up for now."""
SHED_S: Final = "shed_s"
"""What is told of one that is taken up again: how many seconds of it were thrown away."""
_TELL_S: Final = 60.0
"""Between two lines of the log that say that a stream's audio is dropped."""


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
    sources, origins
        Names of the sources that deliver it, one for each claim; and the origins of those behind the first.
    departures
        Times the daemon ended it: what its source had at hand for it then is not taken any more.
    marks
        From where the source can deliver again; empty where it cannot.
    opened
        Its number among the streams that its worker took on.
    live
        Whether its audio is lost where there is no room.
    arrived_s, shed_s
        Live audio that was offered, and of it what was thrown away because of overload, in seconds.
    shed, shed_told
        Whether it is given up for now because of overload, and whether that is, or waits to be, its last announced state.
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
    origins: deque[str] = field(default_factory=deque)
    departures: int = 0
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
    shed_told: bool = False
    drop_told_at: float = float("-inf")
    every: int = 1

    def renew(self) -> None:
        """Forget the stream that ended, for the one of the same name that follows it in the inbox."""
        if self.sources[0] != self.sources[1]:
            self.marks.clear()
        self.sources.popleft()
        self.origin = self.origins.popleft()
        self.pipeline = None
        self.recorder = None
        self.tally = StreamTally()
        self.dropped_samples = self.failures = self.good_pieces = 0
        self.given_up = False
        self.every = 1
        self.state = "connecting"

    def claim(self, source: str, origin: str) -> None:
        """Take it on for a source; where its former end still waits, what follows that is another stream, which is not given up."""
        if self.claims:
            self.origins.append(origin)
            self.shed, self.shed_s = False, 0.0
        self.claims += 1
        self.sources.append(source)

    def replanned(self, plan: StreamPlan) -> None:
        """Begin with another plan: a stream that failed for good gets another chance."""
        if self.given_up:
            self.given_up, self.shed_told = False, False
        self.plan, self.failures = plan, 0

    def give_up(self, reason: str) -> None:
        """Throw its audio away from now on, and what waits of it."""
        self.shed = self.shed_told = True
        self.shed_s += self.inbox.discard()
        self.inbox.put(StreamStatus(self.name, SHED, reason))

    def take_up(self, reason: str) -> None:
        """Take its audio again."""
        self.shed = False
        self.inbox.put(StreamStatus(self.name, "running", reason, {SHED_S: round(self.shed_s, 3)}))

    def refuses(self) -> bool:
        """Whether its audio is thrown away; where it comes again after its source was lost, that is said once more."""
        if self.shed and not self.shed_told:
            self.shed_told = True
            self.inbox.put(StreamStatus(self.name, "running", "audio comes again"))
        return self.shed

    def drop(self, chunk: Chunk, worker: str) -> None:
        """Count live audio for which there is no room, and say so now and then."""
        self.dropped_samples += len(chunk.samples)
        now = time.monotonic()
        if now >= self.drop_told_at + _TELL_S:
            self.drop_told_at = now
            what = "stream %s: %s is behind by %.1f s, and live audio is dropped: %d samples so far; the gaps say where"
            _log.warning(what, self.name, worker, self.inbox.waiting_s, self.dropped_samples)


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

"""What a start of the daemon does with what the one before left behind: streams that go on, and findings that nobody continues."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamcls.bus.wire import TYPE_PREFIX
from streamcls.types import Checkpoint, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

__all__ = ["STATE_VERSION", "PublishAll", "Resumption", "publish_each"]

_log = logging.getLogger("streamcls.resume")

STATE_VERSION: Final = 1
"""Of a checkpoint's state; another one is not understood and not resumed."""
DAEMON_LOST: Final = "daemon_lost"
_OVER: Final = frozenset({"ended", "failed"})

PublishAll: TypeAlias = "Callable[[Sequence[Event], Checkpoint | None], None]"
"""Takes events and the checkpoint behind them as one unit, never split."""


def publish_each(publish: Callable[[Event], None]) -> PublishAll:
    """Make a ``publish_all`` of a ``publish`` where there is no journal: checkpoints are dropped."""

    def publish_all(events: Sequence[Event], _: Checkpoint | None) -> None:
        for event in events:
            publish(event)

    return publish_all


class Resumption:
    """Hands checkpoints to the streams that go on, and closes what was open on those that do not. Thread-safe.

    Parameters
    ----------
    checkpoints
        By stream, as the journal has them.
    open_findings
        The envelopes of the last events of segments and alerts that the journal shows open.
    stream_states
        The envelopes of each stream's last ``stream.status``.
    publish_all
        Takes events and a checkpoint as one unit.
    resume_s
        A stream that has not gone on so many seconds after :meth:`close_lost` is not waited for: what it had open is closed.
        It may still go on later, with fresh policies.
    clock
        Monotonic seconds, those of :meth:`tick`.
    """

    def __init__(
        self,
        checkpoints: Mapping[str, Checkpoint],
        open_findings: Iterable[Mapping[str, Any]],
        stream_states: Iterable[Mapping[str, Any]],
        publish_all: PublishAll,
        *,
        resume_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.Lock()
        self._publish_all = publish_all
        self._resume_s = resume_s
        self._clock = clock
        self._deadline = clock() + resume_s
        self._checkpoints = {name: kept for name, kept in checkpoints.items() if kept.state is not None}
        self._findings: dict[str, list[Mapping[str, Any]]] = {}
        for envelope in open_findings:
            self._findings.setdefault(envelope["subject"], []).append(envelope)
        self._states = {envelope["subject"]: envelope for envelope in stream_states}
        self._waiting = {name: kept for name, kept in self._checkpoints.items() if _understood(kept)}
        """Not yet taken by their streams."""
        self._ended: dict[str, Checkpoint] = {}
        """Of streams that ended by themselves; for successors of their sources."""

    def close_lost(self, resuming_sources: Collection[str]) -> None:
        """Close what is open on streams that will not go on, and say that those have ended.

        Parameters
        ----------
        resuming_sources
            Names of the configured sources whose ``resumes`` is true. Checkpoints of all others are forgotten.
        """
        with self._lock:
            self._deadline = self._clock() + self._resume_s
            for stream, kept in list(self._waiting.items()):
                if kept.source not in resuming_sources:
                    del self._waiting[stream]
            streams = sorted({*self._findings, *self._states, *self._checkpoints} - set(self._waiting))
            for stream in streams:
                events = [_closing(envelope) for envelope in self._findings.pop(stream, [])]
                state = self._states.get(stream)
                if state is not None and state["data"].get("state") not in _OVER and _is_stream(state):
                    events.append(Event("stream.status", stream, {"state": "ended", "reason": DAEMON_LOST}))
                kept_source = self._checkpoints[stream].source if stream in self._checkpoints else ""
                forget = Checkpoint(stream, kept_source, None) if kept_source else None
                if events or forget is not None:
                    self._publish_all(events, forget)
            if self._waiting:
                _log.info("streams that go on: %s", ", ".join(sorted(self._waiting)))

    def put(self, checkpoint: Checkpoint, *, at_once: bool = True) -> None:
        """Take the last checkpoint of a stream that is over and has nothing left open.

        Parameters
        ----------
        at_once
            Whoever of its source delivers the stream next goes on with it; else it begins anew, until :meth:`succeed`.
        """
        with self._lock:
            self._findings.pop(checkpoint.stream, None)
            for kept in (self._checkpoints, self._waiting, self._ended):
                kept.pop(checkpoint.stream, None)
            if checkpoint.state is not None and at_once:
                self._checkpoints[checkpoint.stream] = self._waiting[checkpoint.stream] = checkpoint
            elif checkpoint.state is not None:
                self._ended[checkpoint.stream] = checkpoint

    def succeed(self, source: str) -> None:
        """Have the next of a source's name go on also with streams that ended by themselves, as a start of the daemon would."""
        with self._lock:
            for stream in [name for name, kept in self._ended.items() if kept.source == source]:
                self._checkpoints[stream] = self._waiting[stream] = self._ended.pop(stream)

    def forget(self, source: str) -> None:
        """Forget what is kept of a source's streams: none of that name goes on with them."""
        self.succeed(source)
        with self._lock:
            for stream in [name for name, kept in self._waiting.items() if kept.source == source]:
                del self._waiting[stream]
                del self._checkpoints[stream]
                closings = [_closing(envelope) for envelope in self._findings.pop(stream, [])]
                self._publish_all(closings, Checkpoint(stream, source, None))

    def marks(self, source: str) -> dict[str, Mapping[str, Any]]:
        """Return, by stream, from where a source is to deliver again: for ``SourceContext.marks``."""
        with self._lock:
            return {n: k.state["mark"] for n, k in self._waiting.items() if k.source == source and k.state is not None}

    def reached(self, source: str) -> dict[str, int]:
        """Return, by stream, the index at which a source's new audio begins: for ``SourceContext.reached``."""
        with self._lock:
            return {
                n: int(k.state["pipeline"]["furthest"])
                for n, k in self._waiting.items()
                if k.source == source and k.state is not None
            }

    def take(self, stream: str, source: str) -> Mapping[str, Any] | None:
        """Return what the pipeline of a stream remembers, once; None where there is nothing to go on with.

        Where another source delivers the stream now, what it had open is closed.
        """
        with self._lock:
            self._ended.pop(stream, None)
            kept = self._waiting.pop(stream, None)
        if kept is None or kept.state is None:
            return None
        if kept.source == source:
            pipeline: Mapping[str, Any] = kept.state["pipeline"]
            return pipeline
        self.refused(stream, f"source {source} delivers it now, and {kept.source} did")
        return None

    def evidence(self, stream: str) -> Mapping[str, Any] | None:
        """Return what the recorder of a stream's clips remembers; None where there was none."""
        kept = self._checkpoints.get(stream)
        found = kept.state.get("evidence") if kept is not None and kept.state is not None else None
        return found if isinstance(found, dict) else None

    def lost(self, stream: str, kept: Collection[tuple[Any, Any]] = (), begun: Collection[str] = ()) -> list[Event]:
        """Return, once, the events that close the findings of a stream that none of its policies remembers.

        Parameters
        ----------
        kept
            Policy and model of those that go on.
        begun
            Ids of the findings that they have open; of those that state no beginning none need be among them.
        """
        with self._lock:
            findings = self._findings.pop(stream, [])
        return [_closing(envelope) for envelope in findings if not _goes_on(envelope["data"], kept, begun)]

    def refused(self, stream: str, reason: str) -> None:
        """Close everything that a stream had open, and forget it: it cannot go on."""
        with self._lock:
            self._waiting.pop(stream, None)
        _log.warning("stream %s cannot go on where it was: %s", stream, reason)
        before = self._checkpoints.get(stream)
        forget = Checkpoint(stream, before.source, None) if before is not None else None
        self._publish_all(self.lost(stream), forget)

    def tick(self, now: float) -> None:
        """Give up waiting, once ``resume_s`` are over, for the findings of streams that have not gone on.

        Their checkpoints stay, without their policies: a source that comes later still repeats and loses nothing.
        """
        if now < self._deadline:
            return
        with self._lock:  # until it is published: a checkpoint of the stream itself must come later
            for stream, kept in list(self._waiting.items()):
                findings = self._findings.pop(stream, [])
                if not findings or kept.state is None:
                    continue
                _log.warning("stream %s has not gone on within %g s", stream, self._resume_s)
                pipeline = {**kept.state["pipeline"], "policies": []}
                without = Checkpoint(stream, kept.source, {**kept.state, "pipeline": pipeline})
                self._waiting[stream] = without
                self._publish_all([_closing(envelope) for envelope in findings], without)


def _understood(checkpoint: Checkpoint) -> bool:
    state = checkpoint.state or {}
    mark, pipeline = state.get("mark"), state.get("pipeline")
    if state.get("version") != STATE_VERSION or not isinstance(mark, dict) or not isinstance(pipeline, dict):
        _log.warning("stream %s: its checkpoint is of another version and is not used", checkpoint.stream)
        return False
    return isinstance(pipeline.get("furthest"), int)


def _is_stream(status: Mapping[str, Any]) -> bool:
    return bool(status.get("type") == TYPE_PREFIX + "stream.status")


def _goes_on(data: Mapping[str, Any], kept: Collection[tuple[Any, Any]], begun: Collection[str]) -> bool:
    known = "first_sample" not in data or data.get("id") in begun
    return known and (data.get("policy"), data.get("model")) in kept


def _closing(envelope: Mapping[str, Any]) -> Event:
    """Return the event that closes a finding whose daemon is gone: as it was last published, but closed."""
    data = {**envelope["data"], "phase": "closed", "reason": DAEMON_LOST}
    return Event(envelope["type"].removeprefix(TYPE_PREFIX), envelope["subject"], data)

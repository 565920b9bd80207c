"""What runs before and behind the bus, by name: made, started, and left behind where it does not stop."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.publisher import IN_PROCESS
from streamcls.config.resolve import expanded
from streamcls.daemon.reload import GivenUpError
from streamcls.interfaces import SourceContext
from streamcls.runtime.evidence import EvidenceRecorder
from streamcls.runtime.models import plan_stream
from streamcls.runtime.subscribers import Surroundings, supervise
from streamcls.runtime.supervisor import Router, SourceThread
from streamcls.runtime.workers import Worker
from streamcls.service.audit import AuditLog, configuration_digest
from streamcls.service.auditing import AuditThread
from streamcls.service.evidence import EvidenceWriter
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streamcls.config import Settings
    from streamcls.config.resolve import ResolvedComponent
    from streamcls.config.schema import SubscriberEntry
    from streamcls.daemon.busside import BusSide
    from streamcls.daemon.prepare import Prepared
    from streamcls.daemon.watch import Watch
    from streamcls.interfaces import Source
    from streamcls.runtime.liveness import Beat
    from streamcls.runtime.models import StreamPlan
    from streamcls.runtime.resume import Resumption
    from streamcls.runtime.subscribers import Supervised

__all__ = ["Parts", "ended"]

_log = logging.getLogger("streamcls.daemon")

_CURSORS: Final = "cursors"
_EVIDENCE: Final = "evidence"
_AUDIT: Final = "audit.jsonl"
_AUDIT_CURSOR: Final = "audit"
_READY_S: Final = 6.0
_LOOK_S: Final = 0.2
"""Between two signs of progress while something is waited for."""


class Parts:
    """Sources, workers, subscribers, the keeper of clips and the audit log.

    Changed by one thread at a time: the daemon's own at the start, the one that reloads afterwards. The lists are replaced as a whole,
    so that any thread may read them.

    Attributes
    ----------
    prepared
        The configuration in force.
    unmade
        Names of configured sources that could not be made.
    left_behind
        Threads of sources that did not heed the stop, and may still run.
    wedged
        Name of the source that was left behind last; empty: none was.
    """

    def __init__(self, prepared: Prepared, side: BusSide, watch: Watch, clock: Callable[[], float]) -> None:
        self.prepared = prepared
        self._side = side
        self._watch = watch
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        self._beats: dict[SourceThread, Beat] = {}
        self.router: Router | None = None
        self.resumption: Resumption | None = None
        self.workers: list[Worker] = []
        self.sources: list[SourceThread] = []
        self.subscribers: list[Supervised] = []
        self.unmade: frozenset[str] = frozenset()
        self.left_behind: frozenset[SourceThread] = frozenset()
        self.wedged = ""
        self.evidence: EvidenceWriter | None = self._make_evidence()
        self.audit: AuditThread | None = self._make_audit()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.prepared.resolved.settings

    def close(self) -> None:
        """Start nothing any more."""
        with self._lock:
            self._closed = True

    def publish(self, event: Event) -> None:
        """Hand an event to the bus."""
        self._side.publisher.publish(event)

    def plan(self, stream: str) -> StreamPlan | None:
        """Return what is to be done with a stream, as the configuration in force says."""
        return plan_stream(self.prepared.resolved, self.prepared.models, stream)

    # --- clips and audit

    def start_keepers(self) -> None:
        """Start the audit log and the keeper of clips, where there are to be any."""
        if self.audit is not None:
            self.start_audit(self.audit)
        if self.evidence is not None:
            self._begin(self.evidence)

    def start_audit(self, audit: AuditThread) -> None:
        """Start an audit log, and wait until it misses nothing."""
        self._begin(audit)
        if not audit.ready.wait(_READY_S):
            _log.error("the audit log is not ready after %.0f s", _READY_S)

    def renew_audit(self) -> None:
        """Start an audit log as the configuration in force says, or none, in place of one that has ended."""
        self.audit = self._make_audit()
        if self.audit is not None:
            self.start_audit(self.audit)

    def ensure_evidence(self) -> None:
        """Start the keeper of clips where a stream has clips now, and none had before; else give it the limits in force."""
        if self.evidence is not None:
            self.evidence.configure(self.settings.evidence)
            return
        self.evidence = self._make_evidence()
        if self.evidence is not None:
            self._begin(self.evidence)

    def _make_evidence(self) -> EvidenceWriter | None:
        settings = self.settings
        if not any(stream.evidence for stream in settings.stream):
            return None
        configured = settings.evidence.path
        folder = expanded(configured) if configured else self.prepared.resolved.state_dir / _EVIDENCE
        return EvidenceWriter(
            folder, settings.evidence, self.publish, daemon_name=settings.daemon.name, clock=self._clock
        )

    def _make_audit(self) -> AuditThread | None:
        settings, state_dir = self.settings, self.prepared.resolved.state_dir
        if not settings.audit.enabled:
            return None
        log = AuditLog(
            expanded(settings.audit.path) if settings.audit.path else state_dir / _AUDIT,
            configuration=configuration_digest(settings),
            sync=settings.audit.sync,
            rotate_mb=settings.audit.rotate_mb,
            clock=self._clock,
        )
        cursors = state_dir / _AUDIT_CURSOR if self._side.journal is not None else None
        return AuditThread(log, IN_PROCESS, self._side.publisher.context, cursors=cursors)

    def _recorder(self, stream: str) -> EvidenceRecorder | None:
        """Make what cuts the clips of a stream, where it is to have any."""
        settings = self.prepared.resolved.settings_of(stream)
        if self.evidence is None or settings is None or not settings.evidence:
            return None
        return EvidenceRecorder(stream, self.settings.evidence, self.evidence)

    # --- subscribers

    def start_subscribers(self, wanted: Iterable[tuple[SubscriberEntry, ResolvedComponent]]) -> None:
        """Start subscribers, and wait until they miss nothing."""
        around = self._surroundings()
        threads = [supervise(entry, resolved, around) for entry, resolved in wanted]
        for thread in threads:
            self.subscribers = [*self.subscribers, thread]  # before, so that a stop of the daemon meets it
            self._begin(thread)
        deadline = time.monotonic() + _READY_S
        for thread in threads:
            if not thread.ready.wait(max(0.0, deadline - time.monotonic())):
                _log.error(
                    "subscriber %s is not ready after %.0f s; it may miss events", thread.subscriber_name, _READY_S
                )

    def forget_subscriber(self, thread: Supervised) -> None:
        """Leave one out that has ended."""
        self.subscribers = [other for other in self.subscribers if other is not thread]

    def _surroundings(self) -> Surroundings:
        journal = self._side.journal
        daemon = self.settings.daemon
        return Surroundings(
            daemon.name,
            self._side.publisher.context,
            IN_PROCESS,
            self._side.private_endpoint,
            self.prepared.resolved.state_dir / _CURSORS if journal is not None else None,
            self.publish,
            lambda: journal.position if journal is not None else 0,
            daemon.log_level,
            daemon.log_format,
        )

    # --- workers and sources

    def start_workers(self, resumption: Resumption) -> None:
        """Start the threads that classify, and the router before them."""
        self.resumption = resumption
        settings = self.settings
        for number in range(settings.daemon.workers or os.cpu_count() or 1):
            worker = Worker(
                number,
                self.publish,
                settings.daemon.buffer_s,
                publish_all=self._side.publisher.publish_all,
                resumption=resumption,
                checkpoint_s=settings.journal.checkpoint_s,
                history_s=settings.evidence.capture_s,
                recorder=self._recorder,
                beat=self._watch.beat(f"worker-{number}"),
            )
            self.workers = [*self.workers, worker]
            self._begin(worker)
        self.router = Router(
            self.workers, self.plan, self.publish, self._side.publisher.epoch, stall_s=settings.daemon.stall_s
        )

    def make_sources(self, wanted: Iterable[ResolvedComponent], resumption: Resumption) -> list[tuple[str, Source]]:
        """Make sources, each to go on where its streams were; what cannot be made is announced and noted."""
        made = []
        for component in wanted:
            name = component.name
            context = SourceContext(
                name,
                self.prepared.resolved.state_dir,
                resumption.marks(name),
                resumption.reached(name),
                self._side.security,
            )
            try:
                made.append((name, component.component(component.config, context)))
            except Exception as error:  # noqa: BLE001 - a stranger's code: the others go on
                _log.exception("source %s cannot be made", name)
                reason = f"{type(error).__name__}: {error}"
                self.publish(Event("stream.status", name, {"state": "failed", "reason": reason}))
                self.unmade |= {name}
            else:
                self.unmade -= {name}
        return made

    def start_sources(self, sources: Iterable[tuple[str, Source]]) -> None:
        """Start sources; the workers run."""
        daemon, router = self.settings.daemon, self.router
        if router is None:
            raise RuntimeError("the workers are started before the sources")
        for name, source in sources:
            beat = self._watch.beat(f"source-{name}")
            thread = SourceThread(
                name, source, router, retry_s=daemon.retry_s, retry_max_s=daemon.retry_max_s, beat=beat
            )
            self._beats[thread] = beat
            self.sources = [*self.sources, thread]
            self._begin(thread)

    def forget_source(self, thread: SourceThread) -> None:
        """Leave one out that has ended."""
        self.sources = [other for other in self.sources if other is not thread]
        self.left_behind -= {thread}
        self._forget_beat(thread)

    def leave_behind(self, thread: SourceThread, reason: str) -> None:
        """Take nothing any more from one that does not heed the stop; it stays in the list as ``failed``, so that it is named."""
        _log.error("source %s: %s; it is left behind", thread.source_name, reason)
        self.left_behind |= {thread}
        thread.abandon(reason)
        self._forget_beat(thread)

    def _forget_beat(self, thread: SourceThread) -> None:
        beat = self._beats.pop(thread, None)
        if beat is not None:
            self._watch.liveness.forget(beat)

    # --- threads

    def _begin(self, thread: threading.Thread) -> None:
        with self._lock:
            if self._closed:
                raise GivenUpError("given up, since the daemon stops")
            thread.start()


def ended(threads: Sequence[threading.Thread], timeout_s: float, step: Callable[[], Any]) -> list[bool]:
    """Wait for threads, all together for at most so many seconds, with ``step`` now and then; return which have ended."""
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        while thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            thread.join(min(left, _LOOK_S))
            step()
    return [not thread.is_alive() for thread in threads]

"""The daemon: what is started in which order, and stopped in the reverse."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from streamcls import __version__
from streamcls.bus.publisher import IN_PROCESS
from streamcls.config.resolve import expanded
from streamcls.daemon.busside import BusSide
from streamcls.daemon.introspection import Introspection
from streamcls.daemon.watch import Watch
from streamcls.errors import BusError, StreamclsError
from streamcls.interfaces import SourceContext
from streamcls.runtime.evidence import EvidenceRecorder
from streamcls.runtime.models import plan_stream
from streamcls.runtime.stats import heartbeat
from streamcls.runtime.subscribers import Supervised, Surroundings, supervise
from streamcls.runtime.supervisor import Router, SourceThread
from streamcls.runtime.workers import Worker
from streamcls.service.audit import AuditLog, configuration_digest
from streamcls.service.auditing import AuditThread
from streamcls.service.evidence import EvidenceWriter
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from streamcls.bus import Publisher
    from streamcls.daemon.prepare import Prepared
    from streamcls.interfaces import Source
    from streamcls.runtime.resume import Resumption

__all__ = ["Daemon"]

_log = logging.getLogger("streamcls.daemon")

_SOURCE_STOP_S: Final = 0.6
_WORKER_STOP_S: Final = 0.5
_SUBSCRIBER_STOP_S: Final = 0.5
_CURSORS: Final = "cursors"
_EVIDENCE: Final = "evidence"
_AUDIT: Final = "audit.jsonl"
_AUDIT_CURSOR: Final = "audit"
_EVIDENCE_STOP_S: Final = 2.0
_READY_S: Final = 6.0
_LOOK_S: Final = 0.1
_ONE_REQUEST_S: Final = 0.3
"""Signals that come closer together than this are one request to stop."""
_OFFER_S: Final = 0.5
"""How long a heartbeat waits for the bus to have room."""
_SETTLE_S: Final = 5.0
"""A source that says nothing for so long is taken for well: it waits for others, as zmq does for senders."""
_STALL_LOOK_S: Final = 1.0


class Daemon:
    """Everything that runs, until :meth:`request_stop`."""

    def __init__(self, prepared: Prepared, clock: Callable[[], float] = time.time) -> None:
        self._prepared = prepared
        self._settings = prepared.resolved.settings
        self._clock = clock
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._asked_to_stop: float | None = None
        self.exit_code = 0
        self._side = BusSide(self._settings, prepared.resolved.state_dir, clock)
        self._watch = Watch(self._settings.daemon.stuck_s, self._offer, self._settings.daemon.name, wall=clock)
        self._ready = False
        self._router: Router | None = None
        self._resumption: Resumption | None = None
        self.workers: list[Worker] = []
        self.sources: list[SourceThread] = []
        self.subscribers: list[Supervised] = []
        self._evidence = self._make_evidence()
        self._audit = self._make_audit()
        self._introspection = Introspection(prepared, self._side, self._facts, clock)

    @property
    def bus(self) -> Publisher:
        """Where its events go."""
        return self._side.publisher

    def run(self) -> int:
        """Start, wait for a signal or a failure, stop; return the exit status (0 stopped, 1 failure)."""
        previous: dict[int, Any] = {
            number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)
        }
        previous[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda *_: self._watch.want_stacks())
        try:
            self.start()
            self._wait()
        except StreamclsError as error:
            _log.critical("%s", error)
            self.exit_code = 1
        finally:
            self.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)
        return self.exit_code

    def start(self) -> None:
        """Start in the order of the data's end to its beginning: bus, subscribers, workers, sources."""
        self._side.publisher.beat = self._watch.beat("bus", waits_for_disks=True)
        self._side.replay.beat = self._watch.beat("replay", waits_for_disks=True)
        self._side.start()
        _log.info("streamcls %s publishes on %s", __version__, ", ".join(self.bus.endpoints))
        if self._side.replay.endpoints:
            _log.info("and answers for the past on %s", ", ".join(self._side.replay.endpoints))
        self._introspection.start()
        if self._audit is not None:
            self._audit.start()
            if not self._audit.ready.wait(_READY_S):
                _log.error("the audit log is not ready after %.0f s", _READY_S)
        if self._evidence is not None:
            self._evidence.start()
        self._start_subscribers()
        self._resumption = self._side.resumption()
        sources = self._make_sources(self._resumption)
        self._resumption.close_lost({name for name, source in sources if getattr(source, "resumes", False)})
        self._start_workers(self._resumption)
        self._start_sources(sources)

    def request_stop(self) -> None:
        """Ask it to stop; may be called from any thread."""
        self._stop.set()

    def stop(self) -> None:
        """Stop in the order of the data: sources, workers, subscribers, bus; each has its deadline and is named where it misses it."""
        drain_s = self._settings.daemon.drain_s
        self._watch.rest()
        self._watch.notifier.stopping("stopping: what is open is closed")
        for thread in self.sources:
            thread.stop_event.set()
        self._join(self.sources, _SOURCE_STOP_S)
        for thread in self.sources:
            if thread.is_alive():
                thread.abandon(f"it did not heed the stop within {_SOURCE_STOP_S:g} s", end_streams=False)
        for worker in self.workers:
            worker.finish("shutdown", drain_s)
        self._join(self.workers, drain_s + _WORKER_STOP_S)
        if self._evidence is not None:
            self._evidence.finish()
            self._join([self._evidence], _EVIDENCE_STOP_S)
        with contextlib.suppress(BusError):  # where the bus failed, that is said already
            self._publish_heartbeat()
        for subscriber in self.subscribers:
            subscriber.finish(_SUBSCRIBER_STOP_S)
        self._join(self.subscribers, 2 * _SUBSCRIBER_STOP_S)
        if self._audit is not None:
            self._audit.finish(_SUBSCRIBER_STOP_S)
            self._join([self._audit], 2 * _SUBSCRIBER_STOP_S)
        if not self._introspection.stop():
            _log.error("the control socket did not stop in time")
        for late in self._side.stop():
            _log.error("%s did not stop in time", late)
        self._watch.notifier.close()
        _log.info("stopped")

    def _start_subscribers(self) -> None:
        journal = self._side.journal
        cursors = self._prepared.resolved.state_dir / _CURSORS if journal is not None else None

        def position() -> int:
            return journal.position if journal is not None else 0

        around = Surroundings(
            self._settings.daemon.name,
            self.bus.context,
            IN_PROCESS,
            self._side.private_endpoint,
            cursors,
            self._publish,
            position,
            self._settings.daemon.log_level,
            self._settings.daemon.log_format,
        )
        for entry, resolved in self._prepared.resolved.subscribers:
            thread = supervise(entry, resolved, around)
            self.subscribers.append(thread)
            thread.start()
        deadline = time.monotonic() + _READY_S
        for thread in self.subscribers:
            if not thread.ready.wait(max(0.0, deadline - time.monotonic())):
                _log.error(
                    "subscriber %s is not ready after %.0f s; it may miss events", thread.subscriber_name, _READY_S
                )

    def _make_evidence(self) -> EvidenceWriter | None:
        """Make the keeper of clips, where any stream has some."""
        settings = self._settings
        if not any(stream.evidence for stream in settings.stream):
            return None
        configured = settings.evidence.path
        folder = expanded(configured) if configured else self._prepared.resolved.state_dir / _EVIDENCE
        return EvidenceWriter(
            folder, settings.evidence, self._publish, daemon_name=settings.daemon.name, clock=self._clock
        )

    def _make_audit(self) -> AuditThread | None:
        settings, state_dir = self._settings, self._prepared.resolved.state_dir
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
        return AuditThread(log, IN_PROCESS, self.bus.context, cursors=cursors)

    def _recorder(self, stream: str) -> EvidenceRecorder | None:
        """Make what cuts the clips of a stream, where it is to have any."""
        settings = self._prepared.resolved.settings_of(stream)
        if self._evidence is None or settings is None or not settings.evidence:
            return None
        return EvidenceRecorder(stream, self._settings.evidence, self._evidence)

    def _start_workers(self, resumption: Resumption) -> None:
        daemon = self._settings.daemon
        for number in range(daemon.workers or os.cpu_count() or 1):
            worker = Worker(
                number,
                self._publish,
                daemon.buffer_s,
                publish_all=self.bus.publish_all,
                resumption=resumption,
                checkpoint_s=self._settings.journal.checkpoint_s,
                history_s=self._settings.evidence.capture_s if self._evidence is not None else 0.0,
                recorder=self._recorder,
                beat=self._watch.beat(f"worker-{number}"),
            )
            self.workers.append(worker)
            worker.start()

    def _make_sources(self, resumption: Resumption) -> list[tuple[str, Source]]:
        resolved = self._prepared.resolved
        made = []
        for component in resolved.sources:
            name = component.name
            context = SourceContext(
                name, resolved.state_dir, resumption.marks(name), resumption.reached(name), self._side.security
            )
            try:
                made.append((name, component.component(component.config, context)))
            except Exception as error:  # noqa: BLE001 - a stranger's code: the others go on
                _log.exception("source %s cannot be made", name)
                self._publish(
                    Event("stream.status", name, {"state": "failed", "reason": f"{type(error).__name__}: {error}"})
                )
                self.exit_code = 1
        return made

    def _start_sources(self, sources: Iterable[tuple[str, Source]]) -> None:
        daemon = self._settings.daemon
        router = Router(self.workers, self._plan, self._publish, self.bus.epoch, stall_s=daemon.stall_s)
        self._router = router
        for name, source in sources:
            thread = SourceThread(
                name,
                source,
                router,
                retry_s=daemon.retry_s,
                retry_max_s=daemon.retry_max_s,
                beat=self._watch.beat(f"source-{name}"),
            )
            self.sources.append(thread)
            thread.start()

    def _plan(self, stream: str) -> Any:
        return plan_stream(self._prepared.resolved, self._prepared.models, stream)

    def _wait(self) -> None:
        """Publish heartbeats until asked to stop, or until there is nothing left to run."""
        next_beat = next_look = 0.0
        while not self._stop.wait(_LOOK_S):
            self._watch.tick()
            if not self._ready and self._settled():
                self._ready = True
                self._watch.notifier.ready(self._words())
            if self._router is not None and time.monotonic() >= next_look:
                next_look = time.monotonic() + _STALL_LOOK_S
                self._router.tick()
            stopped = [worker.name for worker in self.workers if not worker.is_alive()] + self._side.stopped()
            if stopped:
                _log.critical("%s stopped by itself", stopped[0])
                self.exit_code = 1
                return
            if time.monotonic() >= next_beat:
                self._publish_heartbeat()
                if self._ready and not self._watch.stuck:
                    self._watch.notifier.status(self._words())
                next_beat = time.monotonic() + self._settings.daemon.heartbeat_s
            self._side.tick()
            if self._resumption is not None:
                self._resumption.tick(time.monotonic())
            if self._sources_are_over():
                failed = [thread.source_name for thread in self.sources if thread.state == "failed"]
                if failed or self.exit_code:
                    _log.critical("no source is left: %s failed", ", ".join(failed) or "all")
                    self.exit_code = 1
                else:
                    _log.info("every source has ended")
                return

    def _sources_are_over(self) -> bool:
        """Whether no source runs, and the workers have taken up all that was delivered."""
        if any(thread.is_alive() for thread in self.sources):
            return False
        return not any(slot.inbox for worker in self.workers for slot in worker.slots())

    def _settled(self) -> bool:
        """Whether each source has delivered, has said what it waits for, or has had its time for either."""
        late = time.monotonic() - self._started > _SETTLE_S
        return late or all(thread.declared for thread in self.sources)

    def _words(self) -> str:
        """Return one line on how the daemon fares."""
        states = Counter(slot.state for worker in self.workers for slot in worker.slots())
        streams = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none yet"
        lost = [thread.source_name for thread in self.sources if thread.state in {"retrying", "failed"}]
        return f"streams: {streams}" + (f"; sources in trouble: {', '.join(lost)}" if lost else "")

    def _publish(self, event: Event) -> None:
        self.bus.publish(event)

    def _offer(self, event: Event) -> bool:
        return self.bus.offer(event, _OFFER_S)

    def _facts(self) -> dict[str, Any]:
        """Gather every figure; from any thread."""
        facts = heartbeat(time.monotonic() - self._started, self.bus, self.workers, self.sources, self.subscribers)
        data = {"version": __version__, **facts, "stuck": self._watch.facts(), **self._side.facts()}
        if self._evidence is not None:
            data["evidence"] = self._evidence.facts()
        if self._audit is not None:
            data["audit"] = self._audit.facts()
        return data

    def _publish_heartbeat(self) -> None:
        data = self._facts()
        beat = Event("daemon.heartbeat", self._settings.daemon.name, data, time=self._clock())
        if not self._offer(beat):  # to wait for ever would keep this thread from heeding a signal
            _log.error("the bus takes nothing: %d deliveries wait; does the journal's disk answer?", self.bus.waiting)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_to_stop is not None:
            if now - self._asked_to_stop < _ONE_REQUEST_S:
                return  # a terminal, or a program such as timeout, signals a process and its group in one go
            os._exit(128 + number)
        self._asked_to_stop = now
        _log.info("%s: stopping; once more to stop at once", signal.Signals(number).name)
        self._stop.set()

    @staticmethod
    def _join(threads: Iterable[threading.Thread], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                _log.error("%s did not stop within %.1f s and is abandoned", thread.name, timeout_s)

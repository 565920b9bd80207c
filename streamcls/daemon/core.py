"""The daemon: what is started in which order, and stopped in the reverse."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from streamcls import __version__
from streamcls.daemon.applying import Applier
from streamcls.daemon.busside import BusSide
from streamcls.daemon.introspection import Introspection
from streamcls.daemon.parts import Parts
from streamcls.daemon.reload import Reloader
from streamcls.daemon.watch import Watch
from streamcls.errors import BusError, StreamclsError
from streamcls.runtime.overload import Overload
from streamcls.runtime.stats import heartbeat
from streamcls.types import Event

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import FrameType

    from streamcls.bus import Publisher
    from streamcls.config import Settings
    from streamcls.daemon.prepare import Prepared
    from streamcls.runtime.models import LoadedModel
    from streamcls.runtime.subscribers import Supervised
    from streamcls.runtime.supervisor import SourceThread
    from streamcls.runtime.workers import Worker

__all__ = ["Daemon"]

_log = logging.getLogger("streamcls.daemon")

_SOURCE_STOP_S: Final = 0.6
_WORKER_STOP_S: Final = 0.5
_SUBSCRIBER_STOP_S: Final = 0.5
_EVIDENCE_STOP_S: Final = 2.0
_RELOAD_STOP_S: Final = 1.0
_LOOK_S: Final = 0.1
_STANDARD_ERROR: Final = 2
_ONE_REQUEST_S: Final = 0.3
"""Signals that come closer together than this are one request to stop."""
_OFFER_S: Final = 0.5
"""How long a heartbeat waits for the bus to have room."""
_SETTLE_S: Final = 5.0
"""A source that says nothing for so long is taken for well: it waits for others, as zmq does for senders."""
_EACH_S: Final = 1.0
"""Between two looks at what falls silent, and at what is too much."""


class Daemon:
    """Everything that runs, until :meth:`request_stop`.

    Parameters
    ----------
    clock
        Unix time in seconds.
    reread
        Reads and prepares the configuration anew, for a reload; raises ConfigError. None: every reload is refused.
    log_level
        Whether a reload may change the level of the log.
    """

    def __init__(
        self,
        prepared: Prepared,
        clock: Callable[[], float] = time.time,
        reread: Callable[[], Prepared] | None = None,
        *,
        log_level: bool = True,
    ) -> None:
        settings = prepared.resolved.settings
        self._clock = clock
        self._name = settings.daemon.name
        # Signals' handlers set these two and wake the main loop; nothing in them waits for a lock that it may hold.
        self._stopping = self._reload_wanted = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._started = time.monotonic()
        self._asked_to_stop: float | None = None
        self._at_terminal = os.isatty(_STANDARD_ERROR)
        self.exit_code = 0
        self._side = BusSide(settings, prepared.resolved.state_dir, clock)
        self._watch = Watch(settings.daemon.stuck_s, self._offer, self._name, wall=clock)
        self._ready = False
        self._parts = Parts(prepared, self._side, self._watch, clock)
        self._overload: Overload | None = None
        self._overload_settings = settings.overload
        applier = Applier(self._parts, self._side, reread, step=self._step, log_level=log_level)
        beat = self._watch.beat("reload", waits_for_disks=True)
        self._reloader = Reloader(applier, self._watch.notifier.reloading, self._reloaded, beat, clock)
        more = {"reload": self._ask_for_reload, "reloaded": self._look_at_reload}
        self._introspection = Introspection(prepared, self._side, self._facts, clock, more)

    @property
    def bus(self) -> Publisher:
        """Where its events go."""
        return self._side.publisher

    @property
    def workers(self) -> Sequence[Worker]:
        """The threads that classify."""
        return self._parts.workers

    @property
    def sources(self) -> Sequence[SourceThread]:
        """The threads of the sources."""
        return self._parts.sources

    @property
    def subscribers(self) -> Sequence[Supervised]:
        """The threads that look after subscribers."""
        return self._parts.subscribers

    @property
    def models(self) -> Mapping[str, LoadedModel]:
        """The models in use, so that a reload need not make those anew that are the same."""
        return self._parts.prepared.models

    @property
    def _settings(self) -> Settings:
        return self._parts.settings

    def run(self) -> int:
        """Start, wait for a signal or a failure, stop; return the exit status (0 stopped, 1 failure)."""
        previous: dict[int, Any] = {
            number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)
        }
        previous[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda *_: self._watch.want_stacks())
        previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_hang_up)
        try:
            self.start()
            self._wait()
        except StreamclsError as error:
            _log.critical("%s", error)
            self.exit_code = 1
        finally:
            self.stop()
            if self._parts.unmade:
                self.exit_code = 1
            for number, handler in previous.items():
                signal.signal(number, handler)
        return self.exit_code

    def start(self) -> None:
        """Start in the order of the data's end to its beginning: bus, subscribers, workers, sources."""
        parts = self._parts
        self._side.publisher.beat = self._watch.beat("bus", waits_for_disks=True)
        self._side.replay.beat = self._watch.beat("replay", waits_for_disks=True)
        self._side.start()
        _log.info("streamcls %s publishes on %s", __version__, ", ".join(self.bus.endpoints))
        if self._side.replay.endpoints:
            _log.info("and answers for the past on %s", ", ".join(self._side.replay.endpoints))
        self._introspection.start()
        parts.start_keepers()
        parts.start_subscribers(parts.prepared.resolved.subscribers)
        resumption = self._side.resumption()
        sources = parts.make_sources(parts.prepared.resolved.sources, resumption)
        resumption.close_lost({name for name, source in sources if getattr(source, "resumes", False)})
        parts.start_workers(resumption)
        self._overload = Overload(self._overload_settings, parts.workers, self._settings.daemon.buffer_s)
        parts.start_sources(sources)

    def request_stop(self) -> None:
        """Ask it to stop; may be called from any thread."""
        self._stopping = True
        self._wake.put(None)

    def request_reload(self) -> None:
        """Ask it to read its configuration anew; may be called from any thread. Requests that come together are one."""
        self._reload_wanted = True
        self._wake.put(None)

    def stop(self) -> None:
        """Stop in the order of the data: sources, workers, subscribers, bus; each has its deadline and is named where it misses it."""
        parts, drain_s = self._parts, self._settings.daemon.drain_s
        self._watch.rest()
        self._watch.notifier.stopping("stopping: what is open is closed")
        parts.close()
        if not self._reloader.finish(_RELOAD_STOP_S):
            _log.error("the reload did not stop within %.1f s and is abandoned", _RELOAD_STOP_S)
        self._stop_sources()
        for worker in parts.workers:
            worker.finish("shutdown", drain_s)
        self._join(parts.workers, drain_s + _WORKER_STOP_S)
        if parts.evidence is not None:
            parts.evidence.finish()
            self._join([parts.evidence], _EVIDENCE_STOP_S)
        with contextlib.suppress(BusError):  # where the bus failed, that is said already
            self._publish_heartbeat()
        for subscriber in parts.subscribers:
            subscriber.finish(_SUBSCRIBER_STOP_S)
        self._join(parts.subscribers, 2 * _SUBSCRIBER_STOP_S)
        if parts.audit is not None:
            parts.audit.finish(_SUBSCRIBER_STOP_S)
            self._join([parts.audit], 2 * _SUBSCRIBER_STOP_S)
        if not self._introspection.stop():
            _log.error("the control socket did not stop in time")
        for late in self._side.stop():
            _log.error("%s did not stop in time", late)
        self._watch.notifier.close()
        _log.info("stopped")

    def _stop_sources(self) -> None:
        sources = [thread for thread in self.sources if thread not in self._parts.left_behind]
        for thread in sources:
            thread.stop_event.set()
        self._join(sources, _SOURCE_STOP_S)
        for thread in sources:
            if thread.is_alive():
                thread.abandon(f"it did not heed the stop within {_SOURCE_STOP_S:g} s", end_streams=False)

    def _wait(self) -> None:
        """Publish heartbeats until asked to stop, or until there is nothing left to run."""
        next_look, last_beat = 0.0, -math.inf
        while not self._asked(_LOOK_S):
            self._watch.tick()
            self._get_ready()
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _EACH_S
                self._look()
            stopped = [worker.name for worker in self.workers if not worker.is_alive()] + self._side.stopped()
            if stopped:
                _log.critical("%s stopped by itself", stopped[0])
                self.exit_code = 1
                return
            if time.monotonic() >= last_beat + self._settings.daemon.heartbeat_s:  # which a reload may have changed
                self._publish_heartbeat()
                if self._ready and not self._watch.stuck and not self._reloader.busy:
                    self._watch.notifier.status(self._words())
                last_beat = time.monotonic()
            self._side.tick()
            if self._parts.resumption is not None:
                self._parts.resumption.tick(time.monotonic())
            if self._sources_are_over():
                failed = [thread.source_name for thread in self.sources if thread.state == "failed"]
                if failed or self._parts.unmade:
                    _log.critical("no source is left: %s failed", ", ".join(failed) or "all")
                    self.exit_code = 1
                else:
                    _log.info("every source has ended")
                return

    def _get_ready(self) -> None:
        """Say that the start is over, once it is; from then on, see to reloads."""
        if not self._ready and self._settled():
            self._ready = True
            self._watch.notifier.ready(self._words())
            self._reloader.start()
        if self._ready and self._reload_wanted:
            self._reload_wanted = False
            self._reloader.request()

    def _asked(self, timeout_s: float) -> bool:
        """Wait so long for something to be asked for; return whether that is to stop."""
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=timeout_s)
            while True:
                self._wake.get_nowait()
        return self._stopping

    def _look(self) -> None:
        """Do what is due about once a second."""
        if self._parts.router is not None:
            self._parts.router.tick()
        if self._overload is not None:
            if self._settings.overload != self._overload_settings:
                self._overload_settings = self._settings.overload
                self._overload.renew(self._overload_settings)
            self._overload.tick()

    def _sources_are_over(self) -> bool:
        """Whether no source runs, and the workers have taken up all that was delivered; a reload may still bring sources."""
        if self._reloader.busy or self._reload_wanted:
            return False
        if any(thread.is_alive() for thread in self.sources if thread not in self._parts.left_behind):
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

    # --- reloads

    def _ask_for_reload(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Answer the request ``reload``."""
        return {"ticket": self._reloader.request()}

    def _look_at_reload(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer the request ``reloaded``."""
        ticket = request.get("ticket")
        if not isinstance(ticket, int):
            raise StreamclsError('"ticket" has to be the number that the request "reload" gave')
        found = self._reloader.look(ticket)
        return {"done": False} if found is None else {"done": True, **found}

    def _step(self, doing: str) -> None:
        self._reloader.step(doing)

    def _reloaded(self, data: Mapping[str, Any]) -> None:
        """Tell of a reload that has ended, in its thread."""
        parts, wedged = self._parts, self._parts.wedged
        with contextlib.suppress(BusError):  # where the bus has stopped, the main loop says so
            parts.publish(Event("daemon.reload", self._name, dict(data), time=self._clock()))
        self._watch.notifier.ready("" if self._watch.stuck else self._words())
        parts.wedged = ""
        if wedged and self._settings.daemon.on_wedged == "restart":
            _log.critical("source %s cannot be stopped; the daemon ends, to be started anew (on_wedged)", wedged)
            self.exit_code = 1
            self.request_stop()

    # --- figures

    def _offer(self, event: Event) -> bool:
        return self.bus.offer(event, _OFFER_S)

    def _facts(self) -> dict[str, Any]:
        """Gather every figure; from any thread."""
        parts = self._parts
        facts = heartbeat(time.monotonic() - self._started, self.bus, parts.workers, parts.sources, parts.subscribers)
        data = {"version": __version__, **facts, "stuck": self._watch.facts(), **self._side.facts()}
        data["reload"] = self._reloader.facts()
        if self._overload is not None:
            data["workers"] = self._overload.facts()
        if parts.evidence is not None:
            data["evidence"] = parts.evidence.facts()
        if parts.audit is not None:
            data["audit"] = parts.audit.facts()
        return data

    def _publish_heartbeat(self) -> None:
        beat = Event("daemon.heartbeat", self._name, self._facts(), time=self._clock())
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
        self.request_stop()

    def _on_hang_up(self, *_: object) -> None:
        if self._at_terminal and not os.isatty(_STANDARD_ERROR):
            self.request_stop()  # somebody has closed the window that it ran in
        else:
            self.request_reload()

    @staticmethod
    def _join(threads: Iterable[threading.Thread], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                _log.error("%s did not stop within %.1f s and is abandoned", thread.name, timeout_s)

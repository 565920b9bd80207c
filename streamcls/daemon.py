"""The composition root: what is started in which order, and stopped in the reverse."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamcls import __version__
from streamcls.bus.publisher import IN_PROCESS, Publisher
from streamcls.config import Resolved, name_of, read_config, resolve
from streamcls.config.resolve import expanded
from streamcls.errors import BusError, ConfigError, Problem, StreamclsError
from streamcls.inference import bundled_model_paths, find_bundles
from streamcls.interfaces import PolicyContext, SourceContext
from streamcls.runtime.models import LoadedModel, load_models, plan_stream
from streamcls.runtime.stats import heartbeat
from streamcls.runtime.subscribers import SubscriberThread
from streamcls.runtime.supervisor import Router, SourceThread
from streamcls.runtime.workers import Worker
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import FrameType

    from streamcls.config import Settings
    from streamcls.plugins import Registry

__all__ = ["Daemon", "Prepared", "model_paths", "prepare", "prepare_file"]

_log = logging.getLogger("streamcls.daemon")

_SOURCE_STOP_S: Final = 0.6
_WORKER_STOP_S: Final = 0.5
_SUBSCRIBER_STOP_S: Final = 0.5
_BUS_STOP_S: Final = 0.5
_READY_S: Final = 6.0
_LOOK_S: Final = 0.1


@dataclass(slots=True)
class Prepared:
    """A configuration whose plugins and models are loaded, and nothing opened."""

    resolved: Resolved
    registry: Registry
    models: dict[str, LoadedModel] = field(default_factory=dict)


def model_paths(registry: Registry, extra: Iterable[str] = ()) -> list[Path]:
    """Folders of bundles in order of precedence: configured, of plugins, our own."""
    return [*(expanded(path) for path in extra), *registry.model_paths, *bundled_model_paths()]


def prepare(settings: Settings, registry: Registry, where: str = "") -> Prepared:
    """Check a configuration as far as that goes without opening a source or an endpoint.

    Raises
    ------
    ConfigError
        With every problem found, of the components, the bundles and the policies' labels.
    """
    return _prepare(settings, registry, where, [])


def prepare_file(path: Path | None, registry: Registry) -> Prepared:
    """Read a configuration (without a path the embedded one) and prepare it.

    Raises
    ------
    ConfigError
        With every problem found: those of the file's structure, and those of whatever can be told of the rest.
    """
    settings, problems = read_config(path)
    return _prepare(settings, registry, name_of(path), problems)


def _prepare(settings: Settings, registry: Registry, where: str, problems: list[Problem]) -> Prepared:
    bundles = find_bundles(model_paths(registry, settings.models.path))
    resolved = resolve(settings, components=registry.components, bundles=bundles)
    models = load_models(resolved, registry.backends)
    _check_policies(resolved, models)
    problems = [*problems, *resolved.problems]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)), where)
    return Prepared(resolved, registry, models)


def _check_policies(resolved: Resolved, models: dict[str, LoadedModel]) -> None:
    """Make every policy once for each model it would listen to, so that labels that do not exist are found now."""
    for name, policy in resolved.policies.items():
        wanted: tuple[str, ...] = getattr(policy.config, "models", ())
        unknown = [model for model in wanted if model not in models and model not in resolved.models]
        if unknown:
            resolved.problems.append(
                Problem(f"policy.{name}.models", f"no stream uses a model {', '.join(map(repr, unknown))}")
            )
        for model in models.values():
            try:
                if policy.component.accepts(policy.config, model.info):
                    policy.component(policy.config, PolicyContext(name, "check", model.info))
            except ValueError as error:
                resolved.problems.append(Problem(f"policy.{name}", str(error)))
            except Exception as error:  # noqa: BLE001 - a stranger's code: the other problems are reported as well
                resolved.problems.append(Problem(f"policy.{name}", f"it raised {type(error).__name__}: {error}"))


class Daemon:
    """Everything that runs, until :meth:`request_stop`."""

    def __init__(self, prepared: Prepared, clock: Callable[[], float] = time.time) -> None:
        self._prepared = prepared
        self._settings = prepared.resolved.settings
        self._clock = clock
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._signals = 0
        self.exit_code = 0
        settings = self._settings
        self.bus = Publisher(
            settings.bus.publish,
            source=f"/streamcls/{settings.daemon.name}",
            high_water_mark=settings.bus.high_water_mark,
        )
        count = settings.daemon.workers or os.cpu_count() or 1
        self.workers = [Worker(number, self._publish, settings.daemon.buffer_s) for number in range(count)]
        self.sources: list[SourceThread] = []
        self.subscribers: list[SubscriberThread] = []

    def run(self) -> int:
        """Start, wait for a signal or a failure, stop; return the exit status (0 stopped, 1 failure)."""
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
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
        self.bus.start()
        _log.info("streamcls %s publishes on %s", __version__, ", ".join(self.bus.endpoints))
        self._start_subscribers()
        for worker in self.workers:
            worker.start()
        self._start_sources()

    def request_stop(self) -> None:
        """Ask it to stop; may be called from any thread."""
        self._stop.set()

    def stop(self) -> None:
        """Stop in the order of the data: sources, workers, subscribers, bus; each has its deadline and is named where it misses it."""
        drain_s = self._settings.daemon.drain_s
        for thread in self.sources:
            thread.stop_event.set()
        self._join(self.sources, _SOURCE_STOP_S)
        for worker in self.workers:
            worker.finish("shutdown", drain_s)
        self._join(self.workers, drain_s + _WORKER_STOP_S)
        with contextlib.suppress(BusError):  # where the bus failed, that is said already
            self._publish_heartbeat()
        for subscriber in self.subscribers:
            subscriber.finish(_SUBSCRIBER_STOP_S)
        self._join(self.subscribers, 2 * _SUBSCRIBER_STOP_S)
        if not self.bus.close(_BUS_STOP_S):
            _log.error("the bus did not stop within %.1f s", _BUS_STOP_S)
        _log.info("stopped")

    def _start_subscribers(self) -> None:
        for entry, resolved in self._prepared.resolved.subscribers:
            component, config = resolved.component, resolved.config
            thread = SubscriberThread(
                resolved.name,
                lambda component=component, config=config: component(config),  # type: ignore[misc]
                IN_PROCESS,
                self.bus.context,
                kinds=entry.kinds,
                streams=entry.streams,
            )
            self.subscribers.append(thread)
            thread.start()
        for thread in self.subscribers:
            if not thread.ready.wait(_READY_S):
                _log.error(
                    "subscriber %s is not ready after %.0f s; it may miss events", thread.subscriber_name, _READY_S
                )

    def _start_sources(self) -> None:
        resolved, daemon = self._prepared.resolved, self._settings.daemon
        router = Router(self.workers, self._plan, self._publish, self.bus.epoch)
        for component in resolved.sources:
            try:
                source = component.component(component.config, SourceContext(component.name, resolved.state_dir))
            except Exception as error:  # noqa: BLE001 - a stranger's code: the others go on
                _log.exception("source %s cannot be made", component.name)
                data = {"state": "failed", "reason": f"{type(error).__name__}: {error}"}
                self._publish(Event("stream.status", component.name, data))
                self.exit_code = 1
                continue
            thread = SourceThread(
                component.name, source, router, retry_s=daemon.retry_s, retry_max_s=daemon.retry_max_s
            )
            self.sources.append(thread)
            thread.start()

    def _plan(self, stream: str) -> Any:
        return plan_stream(self._prepared.resolved, self._prepared.models, stream)

    def _wait(self) -> None:
        """Publish heartbeats until asked to stop, or until there is nothing left to run."""
        next_beat = 0.0
        while not self._stop.wait(_LOOK_S):
            dead = [worker for worker in self.workers if not worker.is_alive()]
            if dead or not self.bus.alive:
                _log.critical("%s stopped by itself", dead[0].name if dead else "the bus")
                self.exit_code = 1
                return
            if time.monotonic() >= next_beat:
                self._publish_heartbeat()
                next_beat = time.monotonic() + self._settings.daemon.heartbeat_s
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

    def _publish(self, event: Event) -> None:
        self.bus.publish(event)

    def _publish_heartbeat(self) -> None:
        facts = heartbeat(time.monotonic() - self._started, self.bus, self.workers, self.sources, self.subscribers)
        data = {"version": __version__, **facts}
        self._publish(Event("daemon.heartbeat", self._settings.daemon.name, data, time=self._clock()))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + number)
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

"""A subscriber in a process of its own, watched from here: limits, restarts, and an end with the daemon's."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamcls.runtime.subscribers.circuit import Circuit
from streamcls.runtime.subscribers.reports import Reports
from streamcls.runtime.subscribers.slate import Slate
from streamcls.runtime.subscribers.standing import OUTPUT_GONE, Standing, Supervised
from streamcls.runtime.subscribers.telling import sound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamcls.types import Event

__all__ = ["CHILD", "MAKING", "OUT_OF_MEMORY", "IsolatedSubscriber", "Task"]

_log = logging.getLogger("streamcls.subscriber")

CHILD: Final = "streamcls.service.isolated"
"""The module that the process runs."""
OUT_OF_MEMORY: Final = 71
"""Exit status of a process that has reached its limit of memory."""
MAKING: Final = "its constructor"
"""What stands on the slate while the subscriber is made."""
_LOOK_S: Final = 0.1
_START_S: Final = 30.0
"""How long a process may take to import its plugin and make the subscriber."""
_STEADY_S: Final = 5.0
"""After trouble, a process that has nothing to do counts as running again once it has been there for so long."""
_COUNTS: Final = ("handled", "failed", "missed")
_CLOSE_S: Final = 3.0
_DEATHS: Final = 2
"""An event at which the process died or hung so often is given up."""
_MOST_NOTED: Final = 100


@dataclass(frozen=True, slots=True)
class Task:
    """What the process is to do, as it is handed over through its standard input.

    Attributes
    ----------
    module, component
        Where the subscriber's class is, and its name there.
    options
        Its configuration, which may hold secrets.
    endpoint
        Where the daemon publishes, for other processes.
    cursors
        Folder of its place in the journal; empty: none.
    memory_mb
        Most memory that it may have in use.
    curve
        Keys of the connection: ``server_public``, ``public``, ``secret``; empty: none.
    """

    name: str
    module: str
    component: str
    options: Mapping[str, Any] = field(repr=False)
    endpoint: str
    kinds: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    cursors: str = ""
    memory_mb: int = 512
    log_level: str = "info"
    log_format: str = "auto"
    curve: Mapping[str, str] = field(default_factory=dict, repr=False)


class IsolatedSubscriber(Supervised):
    """Starts the process, listens to its reports, kills it where it hangs, and starts it again after a pause.

    An event at which it died or hung twice is given up, like one on which it raises.

    Parameters
    ----------
    hang_s
        Seconds after which a call that has not returned is taken for hung.
    silent_s
        Seconds after which a process that reports nothing is taken for hung outside of its subscriber, or stopped.
    publish, daemon, position
        As of :class:`SubscriberThread`.
    """

    def __init__(
        self,
        task: Task,
        *,
        hang_s: float = 60.0,
        silent_s: float = 30.0,
        publish: Callable[[Event], None] | None = None,
        daemon: str = "streamcls",
        position: Callable[[], int] = lambda: 0,
        circuit: Circuit | None = None,
    ) -> None:
        super().__init__(Standing(task.name, publish, daemon), position)
        self._task = task
        self._hang_s = hang_s
        self._silent_s = max(silent_s, hang_s)
        self._circuit = circuit or Circuit()
        self._process: subprocess.Popen[bytes] | None = None
        self._before: Counter[str] = Counter()
        self._now: Counter[str] = Counter()
        self._at: int | None = None
        self._told: Mapping[str, Any] = {}
        self._ready_since: float | None = None
        self._deaths: dict[str, int] = {}

    @property
    def missed(self) -> int:
        """Events that it lost because it did not keep up."""
        return self._before["missed"] + self._now["missed"]

    @property
    def at(self) -> int | None:
        """Its place in the journal."""
        return self._at

    @property
    def told(self) -> Mapping[str, Any]:
        """What its code told of itself last; nothing while there is no process."""
        return self._told

    @property
    def pid(self) -> int | None:
        """The process's number, or None where there is none."""
        process = self._process
        return None if process is None else process.pid

    def run(self) -> None:
        """Keep a process running until finished."""
        try:
            while not self._finishing.is_set():
                reason, hung = self._life()
                self.ready.set()
                if self._finishing.is_set() or self.state == "ended":
                    self._standing.finish(reason)
                    return
                pause = self._circuit.failed()
                self._standing.become("open" if self._circuit.open else "hung" if hung else "restarting", reason)
                self._finishing.wait(pause)
                self._standing.restarts += 1
            self._standing.finish(self.reason)
        except Exception as error:  # noqa: BLE001 - a supervisor that ends says so
            _log.exception("subscriber %s: it is not supervised any more", self.subscriber_name)
            self._standing.become("ended", f"{type(error).__name__}: {error}")
        finally:
            self.ready.set()

    def _life(self) -> tuple[str, bool]:
        """Run one process to its end; return why it ended and whether it hung."""
        slate = Slate.make()
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [sys.executable, "-m", CHILD, str(write), str(slate.descriptor)],
                    stdin=subprocess.PIPE,
                    pass_fds=(write, slate.descriptor),
                    start_new_session=True,
                    env={**os.environ, "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"},
                )
            except OSError as error:
                return f"its process cannot be started: {error.strerror}", False
            finally:
                os.close(write)
            self._process = process
            try:
                return self._watch(process, Reports(read), slate)
            finally:
                self._process = None
                _end(process)
        finally:
            os.close(read)
            self._note_death(slate.read()[0])
            slate.close()
            self._before.update(self._now)
            self._now.clear()
            self._told = {}

    def _watch(self, process: subprocess.Popen[bytes], reports: Reports, slate: Slate) -> tuple[str, bool]:
        skip = [event for event, deaths in self._deaths.items() if deaths >= _DEATHS]
        _send(process, {**asdict(self._task), "parent": os.getpid(), "skip": skip})
        self._ready_since = None
        heard = time.monotonic()
        patience_s = max(_START_S, self._silent_s)
        asked = False
        while True:
            over = process.poll() is not None
            for report in reports.read():
                heard, patience_s = time.monotonic(), self._silent_s
                self._heed(report)
            if over:
                return self._how_it_ended(process.returncode, asked=asked), False
            if self._finishing.is_set() and not asked:
                asked = True
                _send(process, {"finish": max(0.0, self._deadline - time.monotonic())})
            if asked and time.monotonic() > self._deadline + _CLOSE_S:
                return f"it did not end within {self._drain_s:g} s of the stop, and its process was killed", False
            event, busy_s = slate.read()
            if busy_s > self._hang_s:
                what = event if event == MAKING else f"the event {event}"
                return f"{what} has not returned for {self._hang_s:g} s, and its process was killed", True
            if (silent_s := time.monotonic() - heard) > patience_s:
                return f"its process has said nothing for {silent_s:.0f} s, and was killed", True
            reports.wait(_LOOK_S)

    def _heed(self, report: Mapping[str, Any]) -> None:
        """Take over what the process reports."""
        counts = Counter({key: value for key in _COUNTS if isinstance(value := report.get(key), int)})
        progress = counts["handled"] > self._now["handled"]
        self._now = counts
        self.handled = self._before["handled"] + counts["handled"]
        self.failed = self._before["failed"] + counts["failed"]
        self._told = sound(report.get("told"))
        at = report.get("at")
        if isinstance(at, int):
            self._at = at
        if report.get("ready") is True and self._ready_since is None:
            self._ready_since = time.monotonic()
            self.ready.set()
        state, reason = report.get("state"), str(report.get("reason", ""))
        if state == "ended" and self._finishing.is_set():
            self._standing.finish(reason)
        elif state == "ended" and reason != OUTPUT_GONE:
            self._standing.become("restarting", reason)
        elif state in {"restarting", "open", "ended"}:
            self._standing.become(state, reason)
        elif state == "running" and (progress or self.state in {"starting", "running"} or self._steady()):
            self._circuit.succeeded()
            self._standing.become("running")

    def _steady(self) -> bool:
        return self._ready_since is not None and time.monotonic() - self._ready_since > _STEADY_S

    def _note_death(self, event: str) -> None:
        """Remember at which event the process ended."""
        if event in {"", MAKING}:
            return
        self._deaths[event] = self._deaths.pop(event, 0) + 1
        while len(self._deaths) > _MOST_NOTED:
            del self._deaths[next(iter(self._deaths))]

    def _how_it_ended(self, code: int, *, asked: bool) -> str:
        if code == 0 and (asked or self.state == "ended"):
            return self.reason if self.state == "ended" else ""
        if code == OUT_OF_MEMORY:
            return f"it wanted more memory than memory_mb ({self._task.memory_mb}) allows"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"its process was ended by {signal.Signals(-code).name}"
        if self.state in {"restarting", "open"} and self.reason:
            return self.reason
        return f"its process ended with status {code}"


def _send(process: subprocess.Popen[bytes], value: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # it has ended, which is noticed elsewhere
        assert process.stdin is not None  # noqa: S101 - it was asked for
        process.stdin.write(json.dumps(value, default=str).encode() + b"\n")
        process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)  # whatever it has started as well
    process.wait()
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()

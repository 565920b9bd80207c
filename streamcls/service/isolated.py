"""What runs in the process of an isolated subscriber: ``python -m streamcls.service.isolated REPORTS SLATE``.

Its task comes as a line of JSON on standard input, so that no secret stands on a command line; a second line asks it to finish, and
the end of the input means that the daemon is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import json
import math
import os
import resource
import select
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from streamcls.errors import StreamclsError
from streamcls.runtime.subscribers import SubscriberThread
from streamcls.runtime.subscribers.isolated import MAKING, OUT_OF_MEMORY
from streamcls.runtime.subscribers.slate import Slate
from streamcls.service.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.interfaces import Subscriber

__all__ = ["main"]

_REPORT_MS: Final = 250
_SET_DEATH_SIGNAL: Final = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
_MIB: Final = 1 << 20
_STACKS_MB: Final = 64
"""Address space for the stacks of threads that are started later, of which little is ever used."""


class _Watched:
    """Notes on the slate what its subscriber handles, and ends the process where there is no memory left."""

    def __init__(self, subscriber: Subscriber, slate: Slate, given_up: frozenset[str]) -> None:
        self._subscriber = subscriber
        self._slate = slate
        self._given_up = given_up

    def handle(self, event: Mapping[str, Any]) -> None:
        if event["id"] in self._given_up:
            raise StreamclsError("its process ended or hung in it time and again")
        self._slate.begin(event["id"])
        try:
            self._subscriber.handle(event)
        except MemoryError:
            _out_of_memory()
        finally:
            self._slate.end()

    def close(self) -> None:
        self._subscriber.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._subscriber, name)  # what it tells of itself


class _Reporter:
    """Writes to the pipe to the daemon; what does not fit into it is left out."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def say(self, **facts: Any) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._descriptor, json.dumps(facts).encode() + b"\n")


def main(arguments: list[str]) -> int:
    """Run a subscriber until the daemon asks for the end, or is gone; return the exit status."""
    reporter, slate = _Reporter(int(arguments[0])), Slate(int(arguments[1]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, lambda *_: None
        )  # they mean the daemon, which will tell; not ignored, which would be inherited
    orders = io.FileIO(
        0, closefd=False
    )  # unbuffered: a second line must not be taken up with the first one, unseen by poll
    task = json.loads(orders.readline())
    _die_with(task["parent"])
    configure_logs(task["log_level"], log_format=task["log_format"])
    try:
        component: Any = importlib.import_module(task["module"])
        for name in task["component"].split("."):
            component = getattr(component, name)
        config = component.Config.model_validate(task["options"])
    except Exception as error:  # noqa: BLE001 - a stranger's code: the daemon tells of it
        reporter.say(state="restarting", reason=f"it cannot be loaded: {type(error).__name__}: {error}"[:1000])
        return 1
    _limit_memory(task["memory_mb"])
    given_up = frozenset(task["skip"])

    def make() -> Subscriber:
        slate.begin(MAKING)
        try:
            return _Watched(component(config), slate, given_up)  # type: ignore[return-value]  # it has no name of its own
        except MemoryError:
            _out_of_memory()
        finally:
            slate.end()

    thread = SubscriberThread(
        task["name"],
        make,
        task["endpoint"],
        None,
        kinds=task["kinds"],
        streams=task["streams"],
        cursors=Path(task["cursors"]) if task["cursors"] else None,
        curve=_keys(task["curve"]),
        hang_s=math.inf,  # the daemon ends the whole process
    )
    thread.start()
    _attend(thread, reporter, orders)
    return 0


def _attend(thread: SubscriberThread, reporter: _Reporter, orders: io.FileIO) -> None:
    """Report and listen until the subscriber has ended."""
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    while True:
        alive = thread.is_alive()
        reporter.say(
            state=thread.state,
            reason=thread.reason[:1000],
            handled=thread.handled,
            failed=thread.failed,
            missed=thread.missed,
            at=thread.at,
            told=dict(thread.told),
            ready=thread.ready.is_set(),
        )
        if not alive:
            return
        if poll.poll(_REPORT_MS):
            line = orders.readline()
            if not line:
                os._exit(1)
            thread.finish(float(json.loads(line)["finish"]))
            thread.join()


def _keys(curve: Mapping[str, str]) -> Any:
    if not curve:
        return None
    from streamcls.bus.keys import ClientKeys

    return ClientKeys(**curve)


def _die_with(parent: int) -> None:
    """Have the kernel end this process when the daemon's thread that started it is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _limit_memory(most_mb: int) -> None:
    """Allow so many MiB in use; address space that is mapped and not in use by now is allowed beyond that."""
    pages, resident = map(int, Path("/proc/self/statm").read_text(encoding="ascii").split()[:2])
    most = (most_mb + _STACKS_MB) * _MIB + (pages - resident) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _out_of_memory() -> NoReturn:
    os.write(2, b"ERROR streamcls.subscriber: out of memory; this process ends\n")
    os._exit(OUT_OF_MEMORY)


if __name__ == "__main__":
    threading.current_thread().name = "reports"
    sys.exit(main(sys.argv[1:]))

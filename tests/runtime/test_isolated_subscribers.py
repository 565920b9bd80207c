from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from busside import event, publisher
from fakes import LONG_S, Collector
from journaling import journaled
from secured import make_client

from streamcls.bus import Publisher
from streamcls.bus.auth import Security
from streamcls.bus.keys import create_server
from streamcls.runtime.subscribers import IsolatedSubscriber, Task
from streamcls.runtime.subscribers.circuit import Circuit
from streamcls.runtime.subscribers.reports import Reports
from streamcls.runtime.subscribers.slate import Slate
from streamcls.runtime.subscribers.standing import OUTPUT_GONE

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "Zq9-do-not-show"  # noqa: S105 - a secret for a test


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{root / 'tests' / 'support'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def isolated(bus: Publisher, path: Path, told: Collector | None = None, **settings: Any) -> IsolatedSubscriber:
    options = {"path": str(path), "secret": SECRET, "slow": settings.pop("slow", False)}
    task = Task(
        path.name,
        settings.pop("module", "troubled"),
        "Troubled",
        options,
        bus.endpoints[0],
        memory_mb=settings.pop("memory_mb", 512),
        cursors=settings.pop("cursors", ""),
    )
    settings = {"circuit": Circuit(0.05, 0.2, 6), "publish": told, **settings}
    thread = IsolatedSubscriber(task, **settings)
    thread.start()
    assert thread.ready.wait(LONG_S)
    return thread


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text(encoding="ascii").split()] if path.exists() else []


def lives(path: Path) -> list[int]:
    return numbers(Path(f"{path}.made"))


def finish(thread: IsolatedSubscriber) -> None:
    thread.finish(LONG_S)
    thread.join(LONG_S)
    assert not thread.is_alive()
    assert thread.pid is None


def states(told: Collector, name: str) -> list[str]:
    return [e.data["state"] for e in told.events if e.kind == "daemon.subscriber" and e.data["name"] == name]


def test_it_takes_everything_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with publisher() as bus:
        thread = isolated(bus, path)
        assert thread.state == "running"
        pid = thread.pid
        assert pid is not None
        assert pid != os.getpid()
        assert os.getsid(pid) == pid
        for name in ("cmdline", "environ"):
            assert SECRET.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
        until(lambda: thread.facts().get("waiting") == 2 and thread.facts()["counters"] == {"delivered": 7})
        for number in range(300):
            bus.publish(event(number))
        finish(thread)
    assert numbers(path) == list(range(300))
    assert (thread.handled, thread.failed, thread.missed, thread.reason, thread.state) == (300, 0, 0, "", "ended")
    assert lives(path) == [pid]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_leaks_reaches_its_limit_and_is_started_again(tmp_path: Path) -> None:
    path, told = tmp_path / "leaky", Collector()
    with publisher() as bus:
        thread = isolated(bus, path, told, memory_mb=128)
        bus.publish(event(0, do="leak", once=True))
        told.wait_for(lambda _: "restarting" in states(told, "leaky"))
        while thread.state != "running":
            assert thread.is_alive()
            bus.publish(event(1))
            time.sleep(0.05)
        finish(thread)
    assert len(lives(path)) == 2
    assert told.events[0].data["reason"] == "it wanted more memory than memory_mb (128) allows"
    assert states(told, "leaky") == ["restarting", "running"]
    assert thread.restarts == 1


def test_one_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    path, told = tmp_path / "hanging", Collector()
    with publisher() as bus:
        thread = isolated(bus, path, told, hang_s=0.3)
        first = thread.pid
        bus.publish(event(0, do="hang", once=True))
        told.wait_for(lambda _: states(told, "hanging"))
        assert states(told, "hanging") == ["hung"]
        assert "has not returned for 0.3 s, and its process was killed" in told.events[0].data["reason"]
        until(lambda: len(lives(path)) == 2)
        assert lives(path)[0] == first
        finish(thread)


def test_one_that_is_stopped_and_says_nothing_is_killed(tmp_path: Path) -> None:
    path, told = tmp_path / "stopped", Collector()
    with publisher() as bus:
        thread = isolated(bus, path, told, hang_s=1.0, silent_s=1.0)
        assert thread.pid is not None
        os.kill(thread.pid, signal.SIGSTOP)
        told.wait_for(lambda _: states(told, "stopped"))
        assert "its process has said nothing" in told.events[0].data["reason"]
        until(lambda: len(lives(path)) == 2)
        finish(thread)


def test_one_that_raises_tells_of_it_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "raising"
    with publisher() as bus:
        thread = isolated(bus, path)
        for number, do in enumerate(["", "raise", ""]):
            bus.publish(event(number, do=do))
        finish(thread)
    assert numbers(path) == [0, 2]
    assert (thread.handled, thread.failed, thread.restarts) == (2, 1, 0)


def test_a_plugin_that_cannot_be_loaded_opens_the_circuit(tmp_path: Path) -> None:
    path, told = tmp_path / "missing", Collector()
    with publisher() as bus:
        thread = isolated(bus, path, told, module="no_such_module_here", circuit=Circuit(0.01, 0.01, 2))
        until(lambda: thread.state == "open")
        assert thread.reason == "it cannot be loaded: ModuleNotFoundError: No module named 'no_such_module_here'"
        finish(thread)
    assert states(told, "missing") == ["restarting", "open"]


def test_one_that_is_killed_beside_a_healthy_one_costs_that_one_nothing(tmp_path: Path) -> None:
    with publisher() as bus:
        healthy, victim = isolated(bus, tmp_path / "healthy"), isolated(bus, tmp_path / "victim")
        assert victim.pid is not None
        for number in range(100):
            bus.publish(event(number))
            if number == 50:
                os.kill(victim.pid, signal.SIGKILL)
        until(lambda: victim.restarts >= 1)
        finish(healthy)
        finish(victim)
    assert numbers(tmp_path / "healthy") == list(range(100))
    assert (healthy.restarts, healthy.failed, healthy.missed) == (0, 0, 0)


def test_the_slate_is_read_in_another_process_while_the_writer_is_stopped() -> None:
    slate = Slate.make()
    assert slate.read() == ("", 0.0)
    child = os.fork()
    if not child:
        Slate(slate.descriptor).begin("ä/" * 3000)
        os._exit(0)
    os.waitpid(child, 0)
    text, since = slate.read()
    assert text.startswith("ä/ä/")
    assert since >= 0
    slate.end()
    assert slate.read() == ("", 0.0)
    slate.close()


def test_the_process_ends_with_whoever_started_it(tmp_path: Path) -> None:
    path = tmp_path / "orphan"
    with publisher() as bus:
        script = (
            "import json, sys, threading\n"
            "from streamcls.runtime.subscribers import IsolatedSubscriber, Task\n"
            "thread = IsolatedSubscriber(Task(**json.loads(sys.argv[1])))\n"
            "thread.start(); thread.ready.wait(); print(thread.pid, flush=True); threading.Event().wait()\n"
        )
        task = json.dumps(
            {"name": "o", "module": "troubled", "component": "Troubled", "options": {"path": str(path)}}
            | {"endpoint": bus.endpoints[0]}
        )
        import subprocess
        import sys

        with subprocess.Popen([sys.executable, "-c", script, task], stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            os.kill(pid, 0)
            parent.kill()
            parent.wait(LONG_S)

    def gone() -> bool:
        try:
            status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return True
        return status.rpartition(")")[2].split()[0] in {"Z", "X"}

    until(gone)


def test_an_end_that_is_asked_for_while_it_starts_is_not_overlooked(tmp_path: Path) -> None:
    with publisher() as bus:
        path = tmp_path / "early"
        thread = IsolatedSubscriber(Task("early", "troubled", "Troubled", {"path": str(path)}, bus.endpoints[0]))
        thread.start()
        until(lambda: thread.pid is not None)
        finish(thread)
    assert (thread.state, thread.reason) == ("ended", "")


def test_an_event_that_kills_it_twice_is_set_aside_and_all_others_arrive(tmp_path: Path) -> None:
    path, told = tmp_path / "dying", Collector()
    with journaled(tmp_path) as bus:
        thread = isolated(bus, path, told, cursors=str(tmp_path / "cursors"))
        for number in range(20):
            bus.publish(event(number, "genre.segment", do="die" if number == 7 else ""))
        until(lambda: 19 in numbers(path))
        finish(thread)
    assert sorted(set(numbers(path))) == [number for number in range(20) if number != 7]
    first_of_each = list(dict.fromkeys(numbers(path)))
    assert first_of_each == sorted(first_of_each)
    assert (thread.failed, thread.restarts, len(lives(path))) == (1, 2, 3)
    assert "restarting" in states(told, "dying")
    assert any("SIGSEGV" in e.data["reason"] for e in told.events)


def test_killed_again_and_again_it_misses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "killed"
    with journaled(tmp_path) as bus:
        thread = isolated(bus, path, cursors=str(tmp_path / "cursors"), circuit=Circuit(0.01, 0.05, 100))
        for number in range(400):
            bus.publish(event(number, "genre.segment"))
            if number % 100 == 50:
                until(lambda: thread.pid is not None and thread.ready.is_set())
                before = thread.restarts
                with contextlib.suppress(TypeError, ProcessLookupError):
                    os.kill(thread.pid, signal.SIGKILL)  # type: ignore[arg-type]
                until(lambda before=before: thread.restarts > before)
        until(lambda: 399 in numbers(path))
        finish(thread)
    assert sorted(set(numbers(path))) == list(range(400))
    assert thread.restarts == 4


def test_one_whose_constructor_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    path, told = tmp_path / "slow", Collector()
    with publisher() as bus:
        thread = isolated(bus, path, told, hang_s=0.5, slow=True)
        told.wait_for(lambda _: states(told, "slow"))
        assert told.events[0].data["state"] == "hung"
        assert told.events[0].data["reason"] == "its constructor has not returned for 0.5 s, and its process was killed"
        until(lambda: len(lives(path)) == 2)
        finish(thread)


def test_with_curve_it_connects_with_the_keys_that_it_is_given(tmp_path: Path) -> None:
    folder, path = tmp_path / "keys", tmp_path / "out"
    create_server(folder)
    keys = make_client(folder, "inner", ("publish", "replay"), ())
    security = Security(folder)
    security.start()
    bus = Publisher(["tcp://127.0.0.1:*"], source="/streamcls/test", context=security.context, security=security)
    bus.start()
    try:
        task = Task(
            "curved", "troubled", "Troubled", {"path": str(path)}, bus.endpoints[0], curve=dataclasses.asdict(keys)
        )
        thread = IsolatedSubscriber(task)
        thread.start()
        assert thread.ready.wait(LONG_S)
        assert keys.secret.encode() not in Path(f"/proc/{thread.pid}/cmdline").read_bytes()
        for number in range(5):
            bus.publish(event(number))
        until(lambda: len(numbers(path)) == 5)
        finish(thread)
    finally:
        assert bus.close(LONG_S)
        security.close()
    assert keys.secret not in repr(task)
    assert SECRET not in repr(Task("n", "m", "C", {"secret": SECRET}, "tcp://127.0.0.1:1"))


@pytest.mark.parametrize(
    ("report", "state", "reason"),
    [
        ({"state": "ended", "reason": OUTPUT_GONE}, "ended", OUTPUT_GONE),
        ({"state": "ended", "reason": "no answer"}, "restarting", "no answer"),
        ({"state": "open", "reason": "boom", "handled": 3}, "open", "boom"),
        ({"state": "running", "handled": 3, "at": 7, "ready": True}, "running", ""),
        ({"state": "nonsense", "handled": "many", "at": None, "ready": 3}, "starting", ""),
        ({}, "starting", ""),
    ],
)
def test_what_the_process_reports_is_taken_for_what_it_is(report: dict[str, Any], state: str, reason: str) -> None:
    thread = IsolatedSubscriber(Task("n", "m", "C", {}, "tcp://127.0.0.1:1"))
    thread._heed(report)
    assert (thread.state, thread.reason) == (state, reason)
    assert thread.ready.is_set() == (state == "running")


def test_whatever_comes_out_of_the_pipe_is_read_and_does_not_grow() -> None:
    read, write = os.pipe2(os.O_NONBLOCK)
    reports = Reports(read)
    assert reports.read() == []
    os.write(write, b'{"a": 1}\nno JSON\n[1]\n\xff\n{"b"')
    assert reports.read() == [{"a": 1}]
    os.write(write, b": 2}\n")
    assert reports.read() == [{"b": 2}]
    for _ in range(4):
        os.write(write, b"x" * 60_000)
        assert reports.read() == []
        assert len(reports._rest) <= 1 << 16
    os.close(write)
    assert reports.read() == []
    assert reports.over
    os.close(read)

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from streamcls.runtime.liveness import Liveness, Stuck
from streamcls.runtime.stacks import all_stacks, call_of, current_frames

if TYPE_CHECKING:
    from collections.abc import Callable

LONG_S = 20.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait_looking(liveness: Liveness, clock: Clock, seconds: int) -> list[Stuck]:
    """Let time pass as the main loop does: with a look each second."""
    found: list[Stuck] = []
    for _ in range(seconds):
        clock.now += 1.0
        found = liveness.look()
    return found


def test_who_shows_progress_is_never_stuck(clock: Clock) -> None:
    liveness = Liveness(clock)
    beat = liveness.register("worker-0", 30.0)
    for _ in range(100):
        beat("stream radio-1")
        assert wait_looking(liveness, clock, 1) == []


def test_who_shows_none_is_stuck_beyond_the_limit_and_named(clock: Clock) -> None:
    liveness = Liveness(clock)
    well, ill = liveness.register("worker-0", 30.0), liveness.register("worker-1", 30.0)
    ill("stream radio-7")
    well()
    assert wait_looking(liveness, clock, 30) == []
    well()
    (stuck,) = wait_looking(liveness, clock, 1)
    assert (stuck.name, stuck.silent_s, stuck.doing) == ("worker-1", 31.0, "stream radio-7")
    assert liveness.stuck() == [("worker-1", 31.0)]
    assert str(stuck) == "worker-1 has made no progress for 31 s with stream radio-7"
    assert stuck.facts() == {"name": "worker-1", "silent_s": 31.0, "doing": "stream radio-7", "call": ""}
    ill()
    assert wait_looking(liveness, clock, 1) == []


def test_each_has_its_own_limit(clock: Clock) -> None:
    liveness = Liveness(clock)
    for name, limit_s in (("a", 5.0), ("b", 50.0)):
        liveness.register(name, limit_s)()
    assert [stuck.name for stuck in wait_looking(liveness, clock, 6)] == ["a"]
    assert [stuck.name for stuck in wait_looking(liveness, clock, 50)] == ["a", "b"]


def test_nothing_is_expected_of_who_has_not_begun_rests_or_is_forgotten(clock: Clock) -> None:
    liveness = Liveness(clock)
    liveness.register("new", 5.0)
    resting, forgotten = liveness.register("resting", 5.0), liveness.register("forgotten", 5.0)
    resting("an item")
    resting.rest()
    forgotten()
    liveness.forget(forgotten)
    assert wait_looking(liveness, clock, 60) == []
    resting()
    assert [stuck.name for stuck in wait_looking(liveness, clock, 6)] == ["resting"]


def test_when_the_whole_process_stood_still_nobody_is_blamed(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    liveness = Liveness(clock)
    beat = liveness.register("worker-0", 10.0)
    beat()
    assert wait_looking(liveness, clock, 2) == []
    clock.now += 3600.0
    assert liveness.look() == []
    assert "the whole process stood still for about 3600 s" in caplog.text
    assert wait_looking(liveness, clock, 10) == []
    assert [stuck.name for stuck in wait_looking(liveness, clock, 1)] == ["worker-0"], "but then it is not forgiven"


def held(work: Callable[[threading.Event], None]) -> tuple[threading.Thread, threading.Event]:
    """Start a thread that hangs in some work until released."""
    release = threading.Event()
    thread = threading.Thread(target=work, args=(release,), name="held", daemon=True)
    thread.start()
    return thread, release


class Strange:
    """A plugin's class, as its module's name says."""

    def update(self, inside: threading.Event, release: threading.Event) -> None:
        self._deeper(inside, release)

    def _deeper(self, inside: threading.Event, release: threading.Event) -> None:
        inside.set()
        release.wait(LONG_S)


def test_the_call_into_a_strangers_code_is_named(clock: Clock) -> None:
    """The call is made by the daemon's code; what lies below it is the stranger's own affair, and so is who called the daemon."""
    liveness = Liveness(clock, current_frames)
    inside = threading.Event()
    code: dict[str, Any] = {"__name__": "streamcls.runtime.pretended"}
    exec("def decide(policy, *arguments):\n    policy.update(*arguments)\n", code)  # noqa: S102 - a frame of the daemon's
    beat = liveness.register("worker-0", 5.0)

    def work(release: threading.Event) -> None:
        beat("stream radio-1")
        code["decide"](Strange(), inside, release)

    thread, release = held(work)
    assert inside.wait(LONG_S)
    (stuck,) = wait_looking(liveness, clock, 6)
    assert stuck.call.startswith("Strange.update (test_liveness.py:")
    release.set()
    thread.join(LONG_S)


def test_a_wait_of_the_daemons_own_is_named_too() -> None:
    inside = threading.Event()
    code: dict[str, Any] = {"__name__": "streamcls.bus.pretended"}
    exec("def put(inside, release):\n    inside.set()\n    release.wait(20.0)\n", code)  # noqa: S102 - as above
    thread, release = held(lambda release: code["put"](inside, release))
    assert inside.wait(LONG_S)
    assert thread.ident is not None
    assert call_of(sys._current_frames()[thread.ident]).startswith("put (")
    release.set()
    thread.join(LONG_S)
    assert call_of(None) == ""


def test_the_stacks_of_all_threads_are_shown_by_name_and_without_values() -> None:
    inside = threading.Event()
    secret = "hunter2" + "-and-more"

    def work(release: threading.Event) -> None:
        password = secret
        inside.set()
        release.wait(LONG_S)
        assert password

    thread, release = held(work)
    assert inside.wait(LONG_S)
    text = all_stacks()
    release.set()
    thread.join(LONG_S)
    assert 'thread "held" (' in text
    assert 'thread "MainThread"' in text
    assert "release.wait(LONG_S)" in text
    assert secret not in text

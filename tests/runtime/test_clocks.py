from __future__ import annotations

import pytest

from streamcls.runtime.clocks import ClockJump, ClockWatch


class Machine:
    """Three clocks, and what can happen to them."""

    def __init__(self) -> None:
        self.wall, self.monotonic, self.boottime = 1_767_225_600.0, 100.0, 5_000.0
        self.interrupted_s = 0.0

    def run(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds
        self.boottime += seconds

    def sleep(self, seconds: float) -> None:
        self.wall += seconds
        self.boottime += seconds

    def set(self, seconds: float) -> None:
        self.wall += seconds

    def _read_wall(self) -> float:
        wall = self.wall
        self.run(self.interrupted_s)
        return wall

    def watch(self) -> ClockWatch:
        return ClockWatch(self._read_wall, lambda: self.monotonic, lambda: self.boottime)


def test_clocks_that_go_on_as_they_should_are_nothing() -> None:
    machine = Machine()
    watch = machine.watch()
    for seconds in (1.0, 0.1, 3600.0, 0.0):
        machine.run(seconds)
        assert watch.look() == []


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0, 2.1, -2.1, 1e9])
def test_a_clock_that_is_set_is_told_once_with_how_far(jump_s: float) -> None:
    machine = Machine()
    watch = machine.watch()
    machine.run(1.0)
    machine.set(jump_s)
    (jump,) = watch.look()
    assert jump.kind == "clock set"
    assert jump.jump_s == pytest.approx(jump_s)
    machine.run(1.0)
    assert watch.look() == []


def test_a_machine_that_slept_is_told_and_its_clock_was_not_set() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.sleep(28_800.0)
    machine.run(1.0)
    assert watch.look() == [ClockJump("suspended", 28_800.0)]


def test_a_clock_that_is_set_during_sleep_gives_both() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.sleep(600.0)
    machine.set(-7200.0)
    assert watch.look() == [ClockJump("suspended", 600.0), ClockJump("clock set", -7200.0)]


def test_slewing_and_leap_seconds_are_nothing() -> None:
    machine = Machine()
    watch = machine.watch()
    for _ in range(3600):
        machine.run(1.0)
        machine.set(0.0005)
        assert watch.look() == []
    machine.set(-1.0)
    assert watch.look() == []


def test_clocks_read_with_an_interruption_between_them_say_nothing_and_the_next_look_does() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.interrupted_s = 60.0
    assert watch.look() == []
    machine.interrupted_s = 0.0
    machine.run(1.0)
    assert watch.look() == []
    machine.interrupted_s = 60.0
    machine.set(-3600.0)
    assert watch.look() == []
    machine.interrupted_s = 0.0
    (jump,) = watch.look()
    assert jump.jump_s == pytest.approx(-3600.0)


def test_the_real_clocks_of_this_machine_agree() -> None:
    watch = ClockWatch()
    assert watch.look() == []


@pytest.mark.parametrize(
    ("jump", "words"),
    [
        (ClockJump("clock set", -3600.0), "the wall clock was set back by 3600.0 s"),
        (ClockJump("clock set", 5.0), "the wall clock was set forward by 5.0 s"),
        (ClockJump("suspended", 60.0), "the machine was suspended for 60.0 s"),
    ],
)
def test_it_is_told_in_words(jump: ClockJump, words: str) -> None:
    assert str(jump) == words

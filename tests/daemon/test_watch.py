"""The watch over the daemon, with clocks of the tests' own and a real socket for systemd's."""

from __future__ import annotations

import logging
import select
import socket
from typing import TYPE_CHECKING

import pytest

from streamcls.daemon.watch import Watch
from streamcls.runtime.clocks import ClockWatch
from streamcls.service.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamcls import Event

LIMIT_S = 10.0


class Machine:
    """Clocks, systemd's ear, and what is published."""

    def __init__(self, path: Path) -> None:
        self.now, self.ahead, self.slept = 1000.0, 1_767_225_600.0, 0.0
        self.events: list[Event] = []
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ear.bind(str(path))
        self.notifier = Notifier(str(path), 6.0)
        wall = lambda: self.now + self.ahead + self.slept
        monotonic = lambda: self.now
        clocks = ClockWatch(wall, monotonic, lambda: self.now + self.slept)
        self.watch = Watch(
            LIMIT_S,
            self.events.append,
            "studio",
            notifier=self.notifier,
            clocks=clocks,
            wall=wall,
            monotonic=monotonic,
        )

    def run(self, seconds: float) -> list[str]:
        """Let the main loop run; return what systemd heard."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            self.watch.tick()
        heard = []
        while select.select([self.ear], [], [], 0)[0]:
            heard.append(self.ear.recv(65_536).decode())
        return heard


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "notify")
    yield made
    made.notifier.close()
    made.ear.close()


def test_while_all_is_well_it_is_fed_more_than_twice_in_its_time(machine: Machine) -> None:
    assert machine.run(6.0).count("WATCHDOG=1") >= 5
    assert machine.watch.facts() == []


def test_when_a_thread_is_stuck_it_is_fed_no_more_and_the_log_says_why_once(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.watch.beat("worker-0")("stream radio-7")
    machine.watch.beat("source-x").rest()
    machine.run(LIMIT_S - 1.0)
    assert caplog.records == []
    machine.run(3.0)
    heard = machine.run(60.0)
    assert "WATCHDOG=1" not in heard
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    text = record.getMessage()
    assert "worker-0 has made no progress for" in text
    assert "with stream radio-7" in text
    assert "systemd starts the daemon anew" in text
    assert 'thread "MainThread"' in text
    (stuck,) = machine.watch.facts()
    assert (stuck["name"], stuck["doing"]) == ("worker-0", "stream radio-7")


def test_systemd_is_shown_what_is_stuck(machine: Machine) -> None:
    machine.watch.beat("worker-0")("stream radio-7")
    assert any(line.startswith("STATUS=worker-0 has made no progress") for line in machine.run(LIMIT_S + 2.0))


def test_when_it_goes_on_it_is_fed_again(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    beat = machine.watch.beat("worker-0")
    beat("stream radio-7")
    machine.run(LIMIT_S + 5.0)
    beat()
    machine.run(1.0)
    assert "WATCHDOG=1" in machine.run(2.0)
    assert caplog.records[-1].getMessage() == "worker-0 makes progress again"
    assert machine.watch.facts() == []


def test_what_waits_for_disks_has_twice_as_long(machine: Machine) -> None:
    machine.watch.beat("bus", waits_for_disks=True)()
    machine.run(2 * LIMIT_S - 1.0)
    assert machine.watch.facts() == []
    machine.run(3.0)
    assert [stuck["name"] for stuck in machine.watch.facts()] == ["bus"]


def test_a_process_that_was_stopped_for_an_hour_blames_nobody(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.watch.beat("worker-0")("stream radio-7")
    machine.run(2.0)
    machine.now += 3600.0
    assert "WATCHDOG=1" in machine.run(2.0)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the whole process stood still for about 3601 s"
    ]


def test_a_clock_that_is_set_is_announced_and_fires_nothing(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    beat = machine.watch.beat("worker-0")
    beat()
    machine.run(2.0)
    machine.ahead -= 3600.0
    assert "WATCHDOG=1" in machine.run(2.0)
    machine.slept += 28_800.0
    assert "WATCHDOG=1" in machine.run(2.0)
    assert [(e.kind, e.stream, dict(e.data)) for e in machine.events] == [
        ("daemon.clock", "studio", {"kind": "clock set", "jump_s": pytest.approx(-3600.0)}),
        ("daemon.clock", "studio", {"kind": "suspended", "jump_s": pytest.approx(28_800.0)}),
    ]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert machine.watch.facts() == []


def test_the_stacks_are_written_when_asked_for(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        machine.watch.want_stacks()
        machine.run(1.0)
    (record,) = caplog.records
    assert "test_the_stacks_are_written_when_asked_for" in record.getMessage()


def test_without_systemd_it_says_the_same_but_promises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    watch = Watch(LIMIT_S, lambda _: True, "studio", notifier=Notifier(), monotonic=lambda: now[0], wall=lambda: now[0])
    watch.beat("worker-0")("stream radio-7")
    for _ in range(20):
        now[0] += 1.0
        watch.tick()
    criticals = [r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL]
    assert len(criticals) == 1
    assert "systemd" not in criticals[0].partition("\n")[0]

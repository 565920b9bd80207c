from __future__ import annotations

import threading

import pytest

from streamcls_filetail.pacing import Pacer


@pytest.fixture
def clock(monkeypatch):
    now = [50.0]
    monkeypatch.setattr("streamcls_filetail.pacing.time.monotonic", lambda: now[0])
    return now


class Waits(threading.Event):
    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.timeouts.append(timeout)
        return self.is_set()


def test_small_lateness_is_caught_up(clock) -> None:
    pacer, stop = Pacer(), Waits()
    assert pacer.wait(0, 1_000, stop)
    clock[0] += 0.9
    assert pacer.wait(100, 1_000, stop)
    assert pacer.wait(1_000, 1_000, stop)
    assert stop.timeouts == pytest.approx([0.1])


def test_great_lateness_sets_the_clock_anew(clock) -> None:
    pacer, stop = Pacer(), Waits()
    pacer.wait(0, 1_000, stop)
    clock[0] += 30
    pacer.wait(100, 1_000, stop)
    pacer.wait(600, 1_000, stop)
    assert stop.timeouts == pytest.approx([0.5])


def test_another_rate_begins_anew(clock) -> None:
    pacer, stop = Pacer(), Waits()
    pacer.wait(0, 1_000, stop)
    pacer.wait(1_000, 2_000, stop)
    assert stop.timeouts == []


def test_a_stop_says_that_the_time_has_not_come(clock) -> None:
    pacer, stop = Pacer(), Waits()
    pacer.wait(0, 1_000, stop)
    stop.set()
    assert not pacer.wait(500, 1_000, stop)
    assert not pacer.wait(0, 2_000, stop)

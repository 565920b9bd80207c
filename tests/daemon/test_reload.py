"""The thread that reloads: what it is asked for at once is done once, and what it came to can be asked for."""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from fakes import LONG_S

from streamcls.daemon.reload import Reloader, outcome
from streamcls.errors import StreamclsError
from streamcls.runtime.liveness import Liveness

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Scene:
    """A reloader whose work waits until the test lets it go on."""

    def __init__(self) -> None:
        self.gate: queue.Queue[str] = queue.Queue()
        self.begun = threading.Semaphore(0)
        self.told: list[str] = []
        self.ended = threading.Semaphore(0)
        self.liveness = Liveness(time.monotonic)
        beat = self.liveness.register("reload", 60.0)
        self.reloader = Reloader(self._work, lambda: self.told.append("began"), self._ended, beat, lambda: 0.25)

    def _work(self) -> dict[str, Any]:
        self.begun.release()
        word = self.gate.get(timeout=LONG_S)
        self.reloader.step("the work")
        if word == "raise":
            raise ZeroDivisionError("by zero")
        return outcome(word, "since the test says so", waiting=["bus.publish"] if word == "unchanged" else [])

    def _ended(self, data: Mapping[str, Any]) -> None:
        self.told.append(data["state"])
        self.ended.release()

    def wait_until_told(self) -> None:
        assert self.ended.acquire(timeout=LONG_S)

    def result(self, ticket: int) -> Mapping[str, Any]:
        deadline = time.monotonic() + LONG_S
        while (found := self.reloader.look(ticket)) is None:
            assert time.monotonic() < deadline
        return found


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    made.reloader.start()
    yield made
    made.gate.put("applied")
    assert made.reloader.finish(LONG_S)


def test_it_says_when_it_begins_and_what_it_came_to(scene: Scene) -> None:
    busy = [scene.reloader.busy]
    assert scene.reloader.facts() == {"count": 0, "refused": 0, "last": None}
    ticket = scene.reloader.request()
    busy.append(scene.reloader.busy)
    assert busy == [False, True]
    assert scene.reloader.look(ticket) is None
    scene.gate.put("refused")
    scene.wait_until_told()
    data = scene.result(ticket)
    assert scene.told == ["began", "refused"]
    assert (data["state"], data["reason"], data["sources"]["added"]) == ("refused", "since the test says so", [])
    assert data["took_s"] >= 0
    last = {**data, "time": "1970-01-01T00:00:00.250Z"}
    assert scene.reloader.facts() == {"count": 1, "refused": 1, "last": last}


def test_those_that_are_asked_for_while_one_runs_are_one_more(scene: Scene) -> None:
    first = scene.reloader.request()
    assert scene.begun.acquire(timeout=LONG_S)
    more = {scene.reloader.request() for _ in range(1_000)}
    assert len(more) == 1
    assert first not in more
    for _ in range(2):
        scene.gate.put("unchanged")
        scene.wait_until_told()
    assert scene.result(more.pop())["state"] == "unchanged"
    assert scene.reloader.facts()["count"] == 2


def test_work_that_raises_is_a_reload_that_was_refused(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    ticket = scene.reloader.request()
    scene.gate.put("raise")
    scene.wait_until_told()
    assert "ZeroDivisionError: by zero" in scene.result(ticket)["reason"]
    assert any(record.levelno == logging.ERROR and "refused" in record.getMessage() for record in caplog.records)
    ticket = scene.reloader.request()
    scene.gate.put("applied")
    scene.wait_until_told()
    assert scene.result(ticket)["state"] == "applied"


def test_what_waits_for_a_restart_is_a_warning(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.reloader.request()
    scene.gate.put("unchanged")
    scene.wait_until_told()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning == "these keys wait for a restart: bus.publish"


def test_a_stop_gives_it_up_at_its_next_step_and_tells_nobody(scene: Scene) -> None:
    ticket = scene.reloader.request()
    assert scene.begun.acquire(timeout=LONG_S)
    assert not scene.reloader.finish(0.0)
    scene.gate.put("applied")
    assert scene.reloader.finish(LONG_S)
    assert scene.told == ["began"]
    assert scene.result(ticket)["reason"] == "given up, since the daemon stops"


def test_a_number_that_no_reload_has_is_refused(scene: Scene) -> None:
    with pytest.raises(StreamclsError, match="no reload 7 is known"):
        scene.reloader.look(7)


def test_it_is_stuck_only_while_it_works(scene: Scene) -> None:
    far = time.monotonic() + 1_000.0
    assert scene.liveness.stuck(far) == []
    scene.reloader.request()
    assert scene.begun.acquire(timeout=LONG_S)
    assert [name for name, _ in scene.liveness.stuck(far)] == ["reload"]
    scene.gate.put("applied")
    scene.wait_until_told()

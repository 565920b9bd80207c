"""The audit log at a real bus with a real journal."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from busside import publisher
from fakes import LONG_S

from streamcls import Event
from streamcls.bus.journal import Journal
from streamcls.bus.publisher import IN_PROCESS
from streamcls.bus.replay import IN_PROCESS_REPLAY, ReplayServer
from streamcls.service.audit import AuditLog
from streamcls.service.auditing import AuditThread
from streamcls.service.chain import read_entries
from streamcls.service.verify import verify_log
from streamcls.testing import example_envelopes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamcls.bus import Publisher

ALERT = next(event["data"] for event in example_envelopes() if event["type"] == "streamcls.moderation.alert")


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Publisher]:
    with publisher(journal=Journal(tmp_path / "journal.sqlite3", power=False)) as made:
        replay = ReplayServer(made, [])
        made.private_replay_endpoints = (IN_PROCESS_REPLAY,)
        replay.open()
        yield made
        replay.close(LONG_S)


def alert(number: int) -> Event:
    return Event("moderation.alert", "radio-1", {**ALERT, "id": f"{number:032x}"})


@contextlib.contextmanager
def auditing(bus: Publisher, tmp_path: Path) -> Iterator[AuditThread]:
    log = AuditLog(tmp_path / "state" / "audit.jsonl", configuration="c0" * 32, sync=False)
    thread = AuditThread(log, IN_PROCESS, bus.context, cursors=tmp_path / "cursors")
    thread.start()
    assert thread.ready.wait(LONG_S)
    yield thread
    thread.finish(LONG_S)
    thread.join(LONG_S)
    assert not thread.is_alive()


def recorded(tmp_path: Path) -> list[int]:
    entries = read_entries(tmp_path / "state" / "audit.jsonl")
    events: list[Any] = [(entry.record or {}).get("event") for entry in entries]
    return [int(event["data"]["id"], 16) for event in events if event]


def test_what_is_published_until_the_stop_is_recorded_and_windows_are_not(bus: Publisher, tmp_path: Path) -> None:
    with auditing(bus, tmp_path) as thread:
        for number in range(1, 50):
            bus.publish(Event("moderation.window", "radio-1", {"number": number}))
            bus.publish(alert(number))
    assert recorded(tmp_path) == list(range(1, 50))
    assert thread.facts()["records"] == 50
    assert verify_log(tmp_path / "state" / "audit.jsonl").faults == []


def test_what_was_published_while_it_was_away_is_recorded_when_it_is_back_and_nothing_twice(
    bus: Publisher, tmp_path: Path
) -> None:
    for start in range(3):
        with auditing(bus, tmp_path):
            bus.publish(alert(10 * start + 1))
        bus.publish(alert(10 * start + 2))
    with auditing(bus, tmp_path):
        pass
    assert recorded(tmp_path) == [1, 2, 11, 12, 21, 22]
    assert verify_log(tmp_path / "state" / "audit.jsonl").faults == []


def test_a_place_that_was_not_saved_costs_no_second_record(bus: Publisher, tmp_path: Path) -> None:
    """As after kill -9: the log is ahead of the cursor."""
    with auditing(bus, tmp_path):
        bus.publish(alert(1))
    (cursor,) = (tmp_path / "cursors").glob("*.cursor")
    before = cursor.read_bytes()
    with auditing(bus, tmp_path):
        for number in range(2, 6):
            bus.publish(alert(number))
    cursor.write_bytes(before)
    with auditing(bus, tmp_path):
        bus.publish(alert(6))
    assert recorded(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_while_the_log_cannot_be_written_events_wait_and_none_is_given_up(bus: Publisher, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be", "utf-8")
    with auditing(bus, tmp_path) as thread:
        for number in range(1, 9):
            bus.publish(alert(number))
        assert thread.facts()["state"] == "failed"
    (tmp_path / "state").unlink()
    with auditing(bus, tmp_path) as thread:
        pass
    assert recorded(tmp_path) == list(range(1, 9))
    assert thread.facts()["state"] == "ok"

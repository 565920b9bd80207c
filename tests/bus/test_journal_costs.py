"""What the journal costs the bus thread, however much it keeps; and what happens where the disk fails in unusual ways."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from busside import event

from streamcls.bus.journal import Journal
from streamcls.bus.reader import JournalReader
from streamcls.bus.store import JournalFile, Record
from streamcls.bus.wire import encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

EPOCH = "00000000000001-00000000"


def _records(journal: Journal, count: int) -> list[Record]:
    found = []
    for number in range(count):
        one = event(number, "moderation.alert")
        position = journal.next_position
        body = encode(one, source="/x", epoch=EPOCH, sequence=number, now=1e9, position=position)[1]
        found.append(journal.record(one, epoch=EPOCH, topic="moderation.alert/radio-1", sequence=number, body=body))
    return found


def _steps(connection: sqlite3.Connection, do: Callable[[], object]) -> int:
    """Return how many times a hundred instructions SQLite takes for something."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(step, 100)
    try:
        do()
    finally:
        connection.set_progress_handler(None, 0)
    return count


def test_looking_for_what_is_too_old_does_not_read_the_whole_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.open()
    file = journal._file
    assert file is not None

    def look() -> None:
        assert file.trim(before=0.0, most_bytes=1 << 40, most_rows=100) == 0

    assert journal.write(_records(journal, 200), ())
    few = _steps(file.connection, look)
    assert journal.write(_records(journal, 10_000), ())
    assert _steps(file.connection, look) <= few + 1
    journal.close()


def test_the_oldest_are_removed_by_age_also_where_the_clock_was_set_back(tmp_path: Path) -> None:
    now = [2e9]
    journal = Journal(tmp_path / "journal.sqlite3", max_age_days=1.0, clock=lambda: now[0])
    journal.open()
    assert journal.write(_records(journal, 3), ())
    now[0] = 1e9
    assert journal.write(_records(journal, 3), ())
    now[0] += 10 * 86_400
    assert journal.write(_records(journal, 3), ())
    journal.tick()
    journal.close()
    reader = JournalReader(journal.path)
    assert reader.bounds() == (7, 9)
    reader.close()


def test_a_page_costs_the_same_however_much_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.open()
    reader = JournalReader(journal.path)
    assert journal.write(_records(journal, 200), ())
    few = _steps(reader._connection, lambda: reader.since(journal.position - 10))
    assert journal.write(_records(journal, 10_000), ())
    assert _steps(reader._connection, lambda: reader.since(journal.position - 10)) <= few + 1
    reader.close()
    journal.close()


def _spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that receives every statement of every connection."""
    said: list[str] = []
    connect = sqlite3.connect

    def connected(*args: object, **settings: object) -> sqlite3.Connection:
        connection = connect(*args, **settings)
        connection.set_trace_callback(said.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connected)
    return said


def test_a_file_that_was_not_closed_is_looked_through_once_and_not_at_each_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = tmp_path / "journal.sqlite3", [0.0]
    left = JournalFile.open(path, power=False)
    left.close(clean=False)
    said = _spied(monkeypatch)
    journal = Journal(path, monotonic=lambda: now[0])
    journal.open()
    assert sum("quick_check" in statement for statement in said) == 1
    assert journal._file is not None
    journal._file.connection.execute(
        "PRAGMA query_only = on"
    )  # what SQLite says then is what it says of a read-only disk
    assert not journal.write(_records(journal, 1), ())
    assert journal.state == "failed"
    journal.set_back(_records(journal, 1), ())
    now[0] += 40.0
    journal.tick()
    assert (journal.state, journal.position) == ("ok", 1)
    assert sum("quick_check" in statement for statement in said) == 1
    journal.close()


def test_events_are_kept_also_where_a_file_and_the_one_in_its_place_are_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.open()
    real, damaged = JournalFile.write, 2

    def write(file: JournalFile, records: list[Record], checkpoints: tuple[()] = ()) -> None:
        nonlocal damaged
        if records and damaged:
            damaged -= 1
            raise sqlite3.DatabaseError("database disk image is malformed")
        real(file, records, checkpoints)

    monkeypatch.setattr(JournalFile, "write", write)
    assert not journal.write(_records(journal, 3), ())
    assert journal.next_position is None
    journal.set_back(_records(journal, 3), ())
    journal.tick()
    assert journal.write(_records(journal, 1), ())
    assert (journal.state, journal.position, journal.facts()["unwritten"]) == ("ok", 4, 0)
    journal.close()


def test_a_disk_that_comes_back_with_another_daemons_journal_is_left_to_that_one(tmp_path: Path) -> None:
    blocked, now = tmp_path / "state", [0.0]
    blocked.write_text("a file where the folder should be")
    late = Journal(blocked / "journal.sqlite3", monotonic=lambda: now[0])
    late.open()
    blocked.unlink()
    first = Journal(blocked / "journal.sqlite3")
    first.open()
    now[0] += 40.0
    late.tick()
    assert late.state == "failed"
    assert "another daemon keeps its journal there" in late.reason
    assert first.write(_records(first, 1), ())
    first.close()
    now[0] += 40.0
    late.tick()
    assert late.state == "ok"
    late.close()


def test_a_stranger_who_writes_to_the_file_is_named_and_events_go_on(tmp_path: Path) -> None:
    now = [0.0]
    journal = Journal(tmp_path / "journal.sqlite3", monotonic=lambda: now[0])
    journal.open()
    stranger = sqlite3.connect(journal.path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    assert not journal.write(_records(journal, 1), ())
    assert "another process writes to it" in journal.reason
    journal.set_back(_records(journal, 1), ())
    stranger.execute("ROLLBACK")
    stranger.close()
    now[0] += 40.0
    journal.tick()
    assert (journal.state, journal.position) == ("ok", 1)
    journal.close()

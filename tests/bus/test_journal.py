"""The journal: what is kept, for how long, and what happens where the disk does not want to."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from busside import event

from streamcls.bus.journal import Journal, is_journaled
from streamcls.bus.reader import JournalReader
from streamcls.bus.wire import encode
from streamcls.errors import BusError
from streamcls.types import Checkpoint, Event

if TYPE_CHECKING:
    from streamcls.bus.store import Record

EPOCH = "00000000000001-00000000"


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


def kept(journal: Journal, *events: Event, checkpoints: tuple[Checkpoint, ...] = ()) -> bool:
    """Number, encode and write events as the publisher does; return whether they are on disk."""

    def records(first: int, position: int | None) -> list[Record]:
        found = []
        for number, one in enumerate(events, first):
            body = encode(one, source="/x", epoch=EPOCH, sequence=number, now=1e9, position=position)[1]
            topic = f"{one.kind}/{one.stream}"
            found.append(journal.record(one, epoch=EPOCH, topic=topic, sequence=number, body=body))
            position = None if position is None else position + 1
        return found

    first = journal.position + 1
    if journal.write(records(first, journal.next_position), checkpoints):
        return True
    journal.set_back(records(first, None), checkpoints)
    return False


def finding(identifier: str, phase: str, number: int = 0) -> Event:
    return event(number, "moderation.alert", id=identifier, phase=phase)


@contextlib.contextmanager
def opened(path: Path, **settings):
    journal = Journal(path / "journal.sqlite3", **settings)
    journal.open()
    try:
        yield journal
    finally:
        journal.close()


@contextlib.contextmanager
def reading(path: Path):
    reader = JournalReader(path / "journal.sqlite3")
    try:
        yield reader
    finally:
        reader.close()


def numbers(page) -> list[int]:
    return [json.loads(body)["data"]["number"] for _, body in page.events]


def test_everything_but_windows_and_heartbeats_is_kept() -> None:
    assert is_journaled("moderation.alert")
    assert is_journaled("genre.segment")
    assert is_journaled("stranger.finding")
    assert not is_journaled("genre.window")
    assert is_journaled("genre.window", windows=True)
    assert not is_journaled("daemon.heartbeat", windows=True)


def test_positions_rise_by_one_and_go_on_over_restarts(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        kept(journal, event(1), event(2))
        identity = journal.id
    with opened(tmp_path) as journal:
        assert (journal.id, journal.position) == (identity, 2)
        kept(journal, event(3))
    with reading(tmp_path) as reader:
        page = reader.since(0)
        assert [position for position, _ in page.events] == [1, 2, 3]
        assert numbers(page) == [1, 2, 3]
        assert all(json.loads(body)["position"] == str(position) for position, body in page.events)
        assert (page.first, page.position, page.lost, page.more) == (1, 3, 0, False)


def test_positions_go_on_when_everything_was_trimmed(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock, max_age_days=1) as journal:
        kept(journal, *map(event, range(5)))
        clock.now += 2 * 86_400
        journal.tick()
        assert journal.facts()["first"] == 6
    with opened(tmp_path, clock=clock) as journal:
        kept(journal, event(5))
        assert journal.position == 6
    with reading(tmp_path) as reader:
        page = reader.since(2)
        assert (numbers(page), page.first, page.lost) == ([5], 6, 3)
        assert reader.since(6).lost == 0


def test_the_oldest_go_first_when_there_is_too_much(tmp_path: Path) -> None:
    with opened(tmp_path, max_mb=1) as journal:
        for _ in range(12):
            kept(journal, *(event(n, text="x" * 1000) for n in range(200)))
            journal._trim_at = 0.0
            journal.tick()
        facts = journal.facts()
        assert journal._file.used_bytes < 1_300_000
        assert facts["bytes"] >= journal._file.used_bytes
        assert 1 < facts["first"] <= facts["position"] == 2400
        journal._trim_at = 0.0
        kept(journal, event(0, text="y"))
    with reading(tmp_path) as reader:
        page = reader.since(0, limit=1)
        assert page.events[0][0] == page.first == page.lost + 1


def test_what_is_open_stays_known_however_much_is_trimmed(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock, max_age_days=1) as journal:
        kept(
            journal, finding("a", "opened"), finding("b", "opened"), finding("a", "updated", 7), finding("b", "closed")
        )
        kept(journal, Event("stream.status", "radio-1", {"state": "running"}))
        kept(journal, Event("stream.status", "radio-2", {"state": "ended"}))
        clock.now += 2 * 86_400
        journal.tick()
        with reading(tmp_path) as reader:
            page = reader.snapshot(0)
            assert [(p, json.loads(b)["data"].get("number")) for p, b in page.events] == [(3, 7), (5, None)]
            assert reader.since(0).events == []
            assert [p for p, _ in reader.snapshot(3).events] == [5]
            assert [p for p, _ in reader.snapshot(0, kinds=["moderation."]).events] == [3]
            first = reader.snapshot(0, limit=1)
            assert (len(first.events), first.more, first.next) == (1, True, 3)


def test_pages_filters_and_bounds(tmp_path: Path) -> None:
    with opened(tmp_path, windows=True) as journal:
        kept(
            journal, *(event(n, "genre.segment" if n % 2 else "moderation.alert", f"radio-{n % 3}") for n in range(30))
        )
    with reading(tmp_path) as reader:
        found, position = [], 0
        while True:
            page = reader.since(position, limit=4)
            found += numbers(page)
            position = page.next
            if not page.more:
                break
        assert found == list(range(30))
        assert numbers(reader.since(0, kinds=["genre."])) == [n for n in range(30) if n % 2]
        assert numbers(reader.since(0, streams=["radio-[01]"])) == [n for n in range(30) if n % 3 != 2]
        assert numbers(reader.since(10, until=12)) == [10, 11]
        assert reader.since(10, until=12).next == 12
        topic = reader.topic("moderation.alert/radio-0", EPOCH, after=1)
        assert numbers(topic) == [6, 12, 18, 24]
        assert reader.since(99).next == 99


def test_checkpoints_are_kept_with_the_events_or_not_at_all(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        kept(journal, event(1), checkpoints=(Checkpoint("radio-1", "tail", {"mark": {"offset": 3}, "x": 0.1}),))
        kept(journal, checkpoints=(Checkpoint("radio-2", "tail", {}),))
        kept(journal, checkpoints=(Checkpoint("radio-2", "tail", None),))
        with reading(tmp_path) as reader:
            assert reader.checkpoints() == {"radio-1": Checkpoint("radio-1", "tail", {"mark": {"offset": 3}, "x": 0.1})}


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(BusError, match="another daemon keeps its journal there"), opened(tmp_path):
        pass


def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"this is no database" * 500)
    with opened(tmp_path) as journal:
        assert journal.state == "ok"
        kept(journal, event(1))
    aside = list(tmp_path.glob("journal.sqlite3.corrupt-*"))
    assert len(aside) == 1
    assert aside[0].read_bytes().startswith(b"this is no database")
    assert "set aside" in caplog.text
    with reading(tmp_path) as reader:
        assert numbers(reader.since(0)) == [1]


def test_what_was_open_is_read_out_of_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with opened(tmp_path) as journal:
        kept(journal, finding("a", "opened"), finding("b", "opened"), finding("b", "closed"))
        kept(journal, Event("stream.status", "radio-1", {"state": "running"}))
        kept(journal, checkpoints=(Checkpoint("radio-1", "tail", {"mark": {"offset": 3}}),))
        kept(journal, *(event(n, "genre.segment", text="x" * 3000) for n in range(100)))
        identity = journal.id
        # As after a kill: not noted as closed in order.
        journal._file.close(clean=False)
        journal._file = None
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 3 * 4096)
        file.write(b"\xff" * 8192)
    with opened(tmp_path) as journal, reading(tmp_path) as reader:
        assert journal.id != identity
        assert journal.position == 104
        assert [json.loads(body)["data"].get("id") for _, body in reader.snapshot(0).events] == ["a", None]
        assert reader.checkpoints()["radio-1"].state == {"mark": {"offset": 3}}
        assert journal.open_stream("a") == "radio-1"
        assert journal.open_stream("b") is None


def test_damage_met_while_running_costs_neither_positions_nor_what_is_open(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with opened(tmp_path, windows=True) as journal:
        identity = journal.id
        kept(journal, finding("a", "opened", 1), *(event(n, text="x" * 3000) for n in range(300)))
        journal._file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            for page in range(2, path.stat().st_size // 4096):
                file.seek(page * 4096)
                file.write(b"\xff" * 4096)
        journal._file.connection.execute("PRAGMA shrink_memory")
        before = journal.position
        for n in range(50):
            kept(journal, event(1000 + n))
        assert journal.state == "ok"
        assert journal.id != identity
        assert journal.position == before + 50
        with reading(tmp_path) as reader:
            assert reader.since(before).lost == 0
            assert [json.loads(body)["data"]["id"] for _, body in reader.open_findings()] == ["a"]
    assert list(tmp_path.glob("journal.sqlite3.corrupt-*"))


def test_a_flipped_byte_is_a_loss_and_no_lie(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with opened(tmp_path) as journal:
        kept(journal, *(event(n, text=f"text-{n}") for n in range(5)))
    raw = path.read_bytes()
    assert raw.count(b"text-3") == 1
    path.write_bytes(raw.replace(b"text-3", b"text-4"))
    with reading(tmp_path) as reader:
        page = reader.since(0)
        assert (numbers(page), page.lost, reader.damaged) == ([0, 1, 2, 4], 1, 1)


@pytest.mark.parametrize("column", ["kind", "stream"])
@pytest.mark.parametrize("damage", ["x'ff80'", "'genre.other'", "7", "NULL"])
def test_a_damaged_column_is_a_loss_and_stops_nothing(tmp_path: Path, column: str, damage: str) -> None:
    with opened(tmp_path) as journal:
        kept(journal, *(event(n, "genre.segment") for n in range(5)))
        kept(journal, finding("a", "opened"))
        connection = journal._file.connection
        connection.execute("PRAGMA ignore_check_constraints = ON")
        value = "CAST(x'ff80' AS TEXT)" if damage.startswith("x") else damage
        statement = f"UPDATE events SET {column} = {value} WHERE position = 3"  # noqa: S608 - the table above
        if damage == "NULL":
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute(
                "UPDATE sqlite_master SET sql = replace(sql, 'TEXT NOT NULL', 'TEXT') WHERE name = 'events'"
            )
            connection.execute("PRAGMA writable_schema = RESET")
        connection.execute(statement)
        connection.execute(f"UPDATE open SET {column} = CAST(x'ff80' AS TEXT)")  # noqa: S608 - as above
    with reading(tmp_path) as reader:
        page = reader.since(0, kinds=["genre."], streams=["radio-1"])
        assert (numbers(page), page.lost, page.next) == ([0, 1, 3, 4], 1, 6)
        assert reader.snapshot(0).events == []
        assert reader.open_findings() == []
    with opened(tmp_path) as journal:
        assert journal.state == "ok"
        assert kept(journal, event(9))


def test_a_file_that_is_removed_under_it_is_begun_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        kept(journal, finding("a", "opened"))
        for name in tmp_path.glob("journal.sqlite3*"):
            name.unlink()
        journal._trim_at = 0.0
        journal.tick()
        journal.tick()
        assert journal.state == "ok"
        kept(journal, event(2))
        with reading(tmp_path) as reader:
            assert [p for p, _ in reader.open_findings()] == [1]
            assert numbers(reader.since(1)) == [2]


def test_what_a_full_disk_refuses_waits_and_is_kept_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    with opened(tmp_path, monotonic=lambda: now[0]) as journal:
        kept(journal, finding("a", "opened"))
        pages = journal._file.connection.execute("PRAGMA page_count").fetchone()[0]
        journal._file.connection.execute(
            f"PRAGMA max_page_count = {pages}"
        )  # what SQLite says then is what it says of a full disk
        for n in range(100):
            kept(journal, event(n, text="x" * 2000), checkpoints=(Checkpoint("s", "tail", {"n": n}),))
        assert journal.state == "failed"
        assert "make room on the disk" in journal.reason
        assert caplog.text.count("the journal cannot be written") == 1
        facts = journal.facts()
        assert (facts["state"], facts["lost"]) == ("failed", 0)
        assert facts["unwritten"] > 50
        assert facts["position"] + facts["unwritten"] == 101
        now[0] += 40.0
        journal.tick()
        assert (journal.state, journal.facts()["unwritten"]) == ("ok", 0)
        with reading(tmp_path) as reader:
            page = reader.since(1)
            assert numbers(page) == list(range(100))
            assert [json.loads(body)["position"] for _, body in page.events] == [str(n) for n in range(2, 102)]
            assert page.lost == 0
            assert reader.checkpoints()["s"].state == {"n": 99}


def test_what_waits_in_memory_is_bounded_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    now = [0.0]
    blocked = tmp_path / "state"
    blocked.write_text("a file where the folder should be")
    journal = Journal(blocked / "journal.sqlite3", monotonic=lambda: now[0])
    journal.open()
    assert journal.state == "failed"
    for n in range(10_050):
        kept(journal, event(n))
    assert (journal.facts()["unwritten"], journal.lost) == (10_000, 50)
    blocked.unlink()
    now[0] += 40.0
    journal.tick()
    assert journal.state == "ok"
    journal.close()
    with reading(blocked) as reader:
        assert reader.since(0).lost == 50
        assert reader.bounds() == (51, 10_050)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_folder_without_permission_fails_with_advice(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.open()
    assert journal.state == "failed"
    assert "let the daemon's user write" in journal.reason


def test_a_real_disk_that_is_full(tmp_path: Path) -> None:
    """On a small tmpfs, where that can be mounted."""
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"only root may mount a small disk: {mount.stderr.decode().strip()}")
    try:
        now = [0.0]
        with opened(tmp_path, monotonic=lambda: now[0]) as journal:
            kept(journal, event(0))
            filler = tmp_path / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            for n in range(1, 200):
                kept(journal, event(n, text="x" * 1000))
            assert journal.state == "failed"
            assert "full" in journal.reason
            filler.unlink()
            now[0] += 40.0
            journal.tick()
            assert journal.state == "ok"
            with reading(tmp_path) as reader:
                assert numbers(reader.since(0)) == list(range(200))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


_WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_journal import Journal, event, kept
journal = Journal(Path(sys.argv[1]) / "journal.sqlite3", power=False)
journal.open()
n = 0
while True:
    kept(journal, event(n), event(n + 1))
    n += 2
    print(n, flush=True)
"""


def test_what_was_kept_outlives_a_kill_and_the_next_start_goes_on(tmp_path: Path) -> None:
    support = Path(__file__).resolve().parent.parent / "support"
    command = [sys.executable, "-c", _WRITER, str(tmp_path), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": f"{support}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    position = 0
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
            assert writer.stdout is not None
            for _ in range(20):
                confirmed = int(writer.stdout.readline())
            writer.kill()
        with reading(tmp_path) as reader:
            page = reader.since(position, limit=10_000)
            assert len(page.events) >= confirmed
            assert len(page.events) % 2 == 0  # pairs were written whole
            assert page.lost == 0
            position = page.position


@pytest.mark.parametrize(("durability", "position"), [("process", 10_003), ("power", 3)])
def test_positions_that_a_power_cut_may_have_cost_are_not_given_out_again(
    tmp_path: Path, durability: str, position: int
) -> None:
    with opened(tmp_path, power=durability == "power") as journal:
        kept(journal, event(1), event(2))
        journal._file.connection.execute("UPDATE meta SET value = 'another start of the machine' WHERE name = 'boot'")
        journal._file.close(clean=False)
        journal._file = None
    with opened(tmp_path, power=durability == "power") as journal:
        kept(journal, event(3))
        assert journal.position == position
    with reading(tmp_path) as reader:
        assert numbers(reader.since(0)) == [1, 2, 3]
        assert reader.since(2).lost == position - 3


def test_another_version_is_set_aside(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal._file.connection.execute("UPDATE meta SET value = '99' WHERE name = 'version'")
    with opened(tmp_path) as journal:
        assert journal.state == "ok"
    assert list(tmp_path.glob("*.corrupt-*"))


def test_of_the_files_that_were_set_aside_the_newest_are_kept(tmp_path: Path) -> None:
    clock = Clock()
    for number in range(8):
        clock.now += 1
        (tmp_path / "journal.sqlite3").write_bytes(f"this is no database {number}".encode() * 500)
        with opened(tmp_path, clock=clock):
            pass
        for name in tmp_path.glob("journal.sqlite3*"):
            if ".corrupt-" not in name.name:
                name.unlink()
            else:
                os.utime(name, (int(name.name[-2:]), int(name.name[-2:])))
    kept_ones = sorted(path.read_bytes()[:21] for path in tmp_path.glob("*.corrupt-*"))
    assert kept_ones == [f"this is no database {number}".encode() for number in range(3, 8)]


def test_an_error_of_the_system_is_no_damage() -> None:
    from streamcls.bus.store import is_damage

    assert not is_damage(sqlite3.OperationalError(f"disk I/O error {errno.EIO}"))
    assert is_damage(sqlite3.DatabaseError("database disk image is malformed"))

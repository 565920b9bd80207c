"""The subscriber ``sqlite``: every event once, one row for each finding, and clear words when it cannot write."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcls import StreamclsError, SubscriberBusyError
from streamcls.testing import SubscriberContract, example_envelopes, make_envelope
from streamcls_sqlite import layout
from streamcls_sqlite.files import default_path, open_reader, reading
from streamcls_sqlite.subscriber import SqliteSubscriber

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOON = 1_790_000_000.0
DAY_S = 86_400.0


def opened(path: Path, **options: Any) -> SqliteSubscriber:
    settings: dict[str, Any] = {"path": str(path), "durability": "process", "busy_s": 0.0}
    return SqliteSubscriber(SqliteSubscriber.Config(**settings | options))


def rows(path: Path, question: str) -> list[tuple[Any, ...]]:
    with reading(path) as database:
        return database.execute(question).fetchall()


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    tables = ("epochs", "findings", "statuses", "events")
    return {table: sorted(rows(path, f"SELECT * FROM {table}"), key=repr) for table in tables}  # noqa: S608 - names above


def cli(path: Path, question: str) -> str:
    program = shutil.which("sqlite3")
    assert program, "the program sqlite3 is missing: scripts/install-system-packages test"
    return subprocess.run([program, path, question], check=True, capture_output=True, text=True, timeout=30).stdout


def finding(
    phase: str,
    sequence: int,
    *,
    began: float = NOON,
    seconds: float = 10.0,
    epoch: str = "",
    clock: bool = True,
    kind: str = "genre.segment",
    **extra: Any,
) -> dict[str, Any]:
    from streamcls.bus.wire import rfc3339

    data = {
        "id": "5c" * 16,
        "phase": phase,
        "policy": "genre",
        "model": "genre-cnn",
        "model_version": "1",
        "label": "jazz",
        "first_sample": 0,
        "end_sample": round(seconds * 22_050),
        "sample_rate": 22_050,
        "duration_s": seconds,
        "windows": 3,
        "probability": {"mean": 0.5, "peak": 0.9},
        "started_at": rfc3339(began) if clock else None,
        "ended_at": rfc3339(began + seconds) if clock else None,
        **extra,
    }
    event = make_envelope(kind, data, sequence=sequence, time=began + seconds)
    return event | ({"epoch": epoch} if epoch else {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def subscriber(path: Path) -> Iterator[SqliteSubscriber]:
    made = opened(path)
    yield made
    made.close()


class TestSqliteSubscriber(SubscriberContract):
    component = SqliteSubscriber

    def options(self) -> Mapping[str, Any]:
        return {"path": str(self.folder / "store.db"), "raw": True}


# What is kept


def test_a_finding_has_one_row_that_its_events_bring_up_to_date(subscriber: SqliteSubscriber, path: Path) -> None:
    question = "SELECT phase, duration_s, ended - began, reason FROM findings"
    subscriber.handle(finding("opened", 1, seconds=4))
    assert rows(path, question) == [("opened", 4.0, 4.0, None)]
    subscriber.handle(finding("updated", 2, seconds=30))
    assert rows(path, question) == [("updated", 30.0, 30.0, None)]
    subscriber.handle(finding("closed", 3, seconds=44, reason="changed"))
    assert rows(path, question) == [("closed", 44.0, 44.0, "changed")]


def test_everything_that_an_event_says_of_a_finding_is_kept(subscriber: SqliteSubscriber, path: Path) -> None:
    events = [event for event in example_envelopes() if event["type"] == "streamcls.moderation.alert"]
    for event in events:
        subscriber.handle(event)
    with reading(path) as database:
        database.row_factory = sqlite3.Row
        (row,) = database.execute("SELECT * FROM findings").fetchall()
    last = events[-1]["data"]
    same = ("id", "phase", "policy", "model", "model_version", "label", "first_sample", "end_sample", "sample_rate")
    for name in (*same, "duration_s", "severity", "action", "reason"):
        assert row[name] == last[name], name
    assert {"mean": row["mean"], "peak": row["peak"]} == last["probability"]
    more = json.loads(row["more"])
    assert more["thresholds"] == last["thresholds"]
    assert more["taxonomy"] == last["taxonomy"]
    assert (row["kind"], row["thing"], row["stream"]) == ("moderation.alert", "alert", "radio-1")


def test_delivered_again_all_events_change_nothing(subscriber: SqliteSubscriber, path: Path) -> None:
    for event in example_envelopes():
        subscriber.handle(event)
    before = contents(path)
    for event in example_envelopes():
        subscriber.handle(event)
        assert contents(path) == before, event["id"]


def test_raw_events_are_kept_once_and_as_they_are_on_the_wire(path: Path) -> None:
    subscriber = opened(path, raw=True)
    for _ in range(2):
        for event in example_envelopes():
            subscriber.handle(event)
    subscriber.close()
    bodies = [json.loads(body) for (body,) in rows(path, "SELECT body FROM events ORDER BY rowid")]
    assert bodies == [event for event in example_envelopes() if event["type"] != "streamcls.daemon.heartbeat"]


def test_windows_are_kept_only_among_raw_events(subscriber: SqliteSubscriber, path: Path) -> None:
    for event in example_envelopes():
        subscriber.handle(event)
    kept = {kind for (kind,) in rows(path, "SELECT kind FROM events")}
    assert not {kind for kind in kept if kind.endswith((".window", ".segment", ".alert")) or kind == "daemon.heartbeat"}


def test_an_unknown_kind_is_kept_as_it_is(subscriber: SqliteSubscriber, path: Path) -> None:
    event = make_envelope("talk.caller", {"name": "Zoë", "line": 3})
    for _ in range(2):
        subscriber.handle(event)
    ((kind, body),) = rows(path, "SELECT kind, body FROM events")
    assert kind == "talk.caller"
    assert json.loads(body) == event
    assert "Zoë" in body


def test_findings_of_a_policy_that_is_not_ours_are_findings(subscriber: SqliteSubscriber, path: Path) -> None:
    data = {"id": "x1", "phase": "opened", "label": "hum", "first_sample": 100, "end_sample": 300, "sample_rate": 100}
    subscriber.handle(make_envelope("mains.alert", data))
    assert rows(path, "SELECT kind, thing, label, duration_s, model FROM findings") == [
        ("mains.alert", "alert", "hum", 2.0, "")
    ]


@pytest.mark.parametrize(
    "data",
    [
        {"id": 7, "phase": "opened", "label": "x"},
        {"id": "a", "phase": "reopened", "label": "x"},
        {"id": "a", "phase": ["opened"], "label": "x"},
        {"id": "a", "phase": "opened"},
        {"id": "", "phase": "closed", "label": "x"},
    ],
)
def test_what_only_looks_like_a_finding_is_kept_as_an_event(
    subscriber: SqliteSubscriber, path: Path, data: dict[str, Any]
) -> None:
    event = make_envelope("odd.segment", data)
    subscriber.handle(event)
    assert rows(path, "SELECT * FROM findings") == []
    assert [json.loads(body) for (body,) in rows(path, "SELECT body FROM events")] == [event]


@pytest.mark.parametrize(
    "odd",
    [
        {"first_sample": 1 << 70, "end_sample": "x", "sample_rate": 0},
        {"duration_s": "long", "probability": "high", "severity": 5, "started_at": 12, "ended_at": "noon"},
        {"started_at": "9999-99-99", "duration_s": -4},
        {"label": "half a \ud800 pair", "remark": "\udfff"},
        {"duration_s": 1 << 70, "windows": 1 << 70},
    ],
)
def test_odd_members_cost_their_columns_and_not_the_event(
    subscriber: SqliteSubscriber, path: Path, odd: dict[str, Any]
) -> None:
    event = finding("closed", 1)
    event["data"] |= odd
    subscriber.handle(event)
    ((duration, more),) = rows(path, "SELECT duration_s, more FROM findings")
    assert duration >= 0
    kept = json.loads(more)
    assert kept["windows"] == event["data"]["windows"]
    assert kept.get("remark") == odd.get("remark")


def test_statuses_are_kept_with_what_was_lost(subscriber: SqliteSubscriber, path: Path) -> None:
    for event in example_envelopes():
        subscriber.handle(event)
    found = rows(path, "SELECT state, lost_s FROM statuses ORDER BY sequence")
    states = [event["data"]["state"] for event in example_envelopes() if event["type"] == "streamcls.stream.status"]
    assert [state for state, _ in found] == states
    assert [lost for state, lost in found if state == "gap"] == [pytest.approx(0.02, abs=1e-4), None]
    ((tags,),) = rows(path, "SELECT json_extract(more, '$.tags.format') FROM statuses WHERE sequence = 3")
    assert tags == "jazz"


# Order, restarts


def test_an_older_event_that_comes_again_does_not_reopen_a_finding(subscriber: SqliteSubscriber, path: Path) -> None:
    events = [finding("opened", 1, seconds=4), finding("updated", 2, seconds=30), finding("closed", 3, seconds=44)]
    for event in [*events, events[0], events[1], *events[:2]]:
        subscriber.handle(event)
    assert rows(path, "SELECT phase, duration_s FROM findings") == [("closed", 44.0)]


def test_it_goes_on_after_a_restart_of_its_own(path: Path) -> None:
    events = example_envelopes()
    whole = opened(path.with_name("whole.db"))
    for event in events:
        whole.handle(event)
    whole.close()
    for index in range(len(events)):
        again = opened(path)
        for event in events[max(0, index - 2) : index + 1]:  # what was not yet acknowledged comes again
            again.handle(event)
        again.close()
    assert contents(path) == contents(path.with_name("whole.db"))


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=8))
def test_however_often_parts_are_delivered_again_the_store_is_the_same(redelivered: list[tuple[int, int]]) -> None:
    events = example_envelopes()
    with tempfile.TemporaryDirectory() as folder:
        once, often = Path(folder) / "once.db", Path(folder) / "often.db"
        for path, parts in ((once, []), (often, redelivered)):
            subscriber = opened(path, raw=True)
            for number, event in enumerate(events):
                subscriber.handle(event)
                for at, back in parts:
                    if at == number:  # as after a crash, from the last place that the cursor had kept
                        for again in events[max(0, number + 1 - back) : number + 1]:
                            subscriber.handle(again)
            subscriber.close()
        assert contents(once) == contents(often)


def test_a_finding_goes_on_over_a_restart_of_the_daemon_also_where_its_clock_went_back(
    subscriber: SqliteSubscriber, path: Path
) -> None:
    subscriber.handle(finding("opened", 7, epoch="0660d8ef694d88-aaaaaaaa"))
    subscriber.handle(finding("closed", 1, seconds=20, epoch="0500000000000-bbbbbbbb", reason="daemon_lost"))
    subscriber.handle(finding("opened", 7, epoch="0660d8ef694d88-aaaaaaaa"))
    assert rows(path, "SELECT phase, duration_s, reason FROM findings") == [("closed", 20.0, "daemon_lost")]


def test_audio_without_a_clock_keeps_the_time_at_which_it_was_first_told_of(
    subscriber: SqliteSubscriber, path: Path
) -> None:
    subscriber.handle(finding("opened", 1, began=NOON, seconds=4, clock=False))
    subscriber.handle(finding("closed", 2, began=NOON + 100, seconds=44, clock=False))
    assert rows(path, "SELECT clock, began, ended, duration_s FROM findings") == [(0, NOON, NOON + 44, 44.0)]


def test_the_same_samples_heard_anew_are_the_same_finding_at_its_new_time(
    subscriber: SqliteSubscriber, path: Path
) -> None:
    for began, epoch in ((NOON, "a"), (NOON + DAY_S, "b")):
        subscriber.handle(finding("opened", 1, began=began, seconds=4, clock=False, epoch=epoch))
        subscriber.handle(finding("closed", 2, began=began + 9, seconds=44, clock=False, epoch=epoch))
    assert rows(path, "SELECT began, ended FROM findings") == [(NOON + DAY_S, NOON + DAY_S + 44)]


def test_the_greatest_sequence_of_the_wire_format_can_be_kept(subscriber: SqliteSubscriber, path: Path) -> None:
    subscriber.handle(finding("closed", 1) | {"sequence": "9" * 19})
    assert rows(path, "SELECT phase FROM findings") == [("closed",)]


def test_each_start_of_a_daemon_is_known_with_its_last_sign_of_life(subscriber: SqliteSubscriber, path: Path) -> None:
    beat = make_envelope("daemon.heartbeat", {}, stream="studio", time=NOON)
    subscriber.handle(beat)
    subscriber.handle(make_envelope("daemon.heartbeat", {}, stream="studio", time=NOON + 5))
    subscriber.handle(beat)
    ((first, last, heartbeat),) = rows(path, "SELECT first, last, heartbeat FROM epochs")
    assert (last - first, heartbeat) == (5.0, NOON + 5) or last < NOON  # a clock that is behind the events
    assert rows(path, "SELECT * FROM events") == []


# What is safe when


def test_an_event_is_there_for_others_when_handle_returns(subscriber: SqliteSubscriber, path: Path) -> None:
    for number, event in enumerate(example_envelopes()):
        subscriber.handle(event)
        if number == 5:
            assert cli(path, "SELECT count(*) FROM statuses").strip() == "4"


KILLED = """
import os, signal, sys
from streamcls.testing import example_envelopes
from streamcls_sqlite.subscriber import SqliteSubscriber
subscriber = SqliteSubscriber(SqliteSubscriber.Config(path=sys.argv[1], raw=True))
for event in example_envelopes()[:9]:
    subscriber.handle(event)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_it_has_every_event_that_it_took(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, path], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    again = opened(path, raw=True)
    for event in example_envelopes()[8:10]:
        again.handle(event)
    again.close()
    ids = [json.loads(body)["id"] for (body,) in rows(path, "SELECT body FROM events ORDER BY rowid")]
    assert ids == [event["id"] for event in example_envelopes()[:10]]
    assert cli(path, "PRAGMA integrity_check") == "ok\n"


@pytest.mark.parametrize(
    ("durability", "kind", "extra", "level"),
    [
        ("power", "genre.segment", {}, 2),
        ("power", "genre.window", {"position": "7"}, 2),
        ("power", "genre.window", {}, 1),
        ("power", "daemon.heartbeat", {}, 1),
        ("process", "genre.segment", {"position": "7"}, 1),
    ],
)
def test_a_commit_waits_for_the_disk_where_the_event_is_to_outlive_a_power_cut(
    path: Path, durability: str, kind: str, extra: dict[str, str], level: int
) -> None:
    """Levels of ``PRAGMA synchronous``: 2 is FULL, each commit is synchronised; 1 is NORMAL, checkpoints only."""
    subscriber = opened(path, durability=durability, raw=True)
    subscriber.handle(make_envelope("stream.status", {"state": "running"}))
    subscriber.handle(make_envelope(kind, {}) | extra)
    connection = subscriber._opened()
    assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    subscriber.close()
    assert SqliteSubscriber.Config().durability == "power"


def test_a_window_that_is_not_kept_costs_nothing(subscriber: SqliteSubscriber, path: Path) -> None:
    subscriber.handle(make_envelope("genre.window", {"label": "jazz"}))
    assert not path.exists()


# What can go wrong


def test_a_database_that_another_program_has_locked(subscriber: SqliteSubscriber, path: Path) -> None:
    subscriber.handle(finding("opened", 1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SubscriberBusyError, match=rf"{path} is locked by another program; end that one"):
        subscriber.handle(finding("closed", 2))
    other.execute("COMMIT")
    other.close()
    subscriber.handle(finding("closed", 2))
    assert rows(path, "SELECT phase FROM findings") == [("closed",)]


def test_it_waits_for_another_that_writes(path: Path) -> None:
    """Two daemons may write into one store."""
    first, second = opened(path), opened(path, busy_s=20.0)
    for number in range(20):
        (first if number % 2 else second).handle(make_envelope("a.b", {}, sequence=number + 1))
    first.close()
    second.close()
    assert rows(path, "SELECT count(*) FROM events") == [(20,)]


def test_a_file_that_is_no_database(subscriber: SqliteSubscriber, path: Path) -> None:
    path.write_bytes(b"diary, keep out\n" * 400)
    with pytest.raises(SubscriberBusyError, match=rf"{path} is no SQLite database; name another file"):
        subscriber.handle(finding("opened", 1))
    assert path.read_bytes() == b"diary, keep out\n" * 400
    (sentence,) = SqliteSubscriber.preflight(SqliteSubscriber.Config(path=str(path)))
    assert "is no SQLite database" in sentence


def test_a_database_of_something_else_is_left_alone(subscriber: SqliteSubscriber, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipes (name)")
    before = path.read_bytes()
    with pytest.raises(SubscriberBusyError, match=rf"{path} is a database of something else; name another file"):
        subscriber.handle(finding("opened", 1))
    assert path.read_bytes() == before
    (sentence,) = SqliteSubscriber.preflight(SqliteSubscriber.Config(path=str(path)))
    assert "something else" in sentence


def test_a_damaged_database_says_how_to_save_what_can_be_read(path: Path) -> None:
    filled = opened(path)
    for number in range(300):
        filled.handle(make_envelope("a.b", {"text": "x" * 500}, sequence=number + 1))
    filled.close()
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = bytes(len(damaged) - 4096)
    path.write_bytes(damaged)
    subscriber = opened(path)
    with pytest.raises(SubscriberBusyError, match=rf"{path} is damaged; move it away .* \.recover"):
        subscriber.handle(finding("opened", 1))
    path.rename(path.with_name("old.db"))  # as it was told
    subscriber.handle(finding("opened", 1))
    subscriber.close()
    assert rows(path, "SELECT phase FROM findings") == [("opened",)]


@contextlib.contextmanager
def no_file_beyond(limit: int) -> Iterator[None]:
    """A disk that is full after so many bytes of a file, as far as this process can tell."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_costs_nothing_once_there_is_room(subscriber: SqliteSubscriber, path: Path) -> None:
    events = [make_envelope("a.b", {"text": "x" * 20_000}, sequence=number + 1) for number in range(40)]
    taken = 0
    with no_file_beyond(300_000), pytest.raises(SubscriberBusyError, match=f"{path} .*disk"):  # noqa: PT012 - it counts
        for event in events:
            subscriber.handle(event)
            taken += 1
    assert 0 < taken < len(events)
    assert rows(path, "SELECT count(*) FROM events") == [(taken,)]
    for event in events:  # delivered again, from wherever
        subscriber.handle(event)
    assert rows(path, "SELECT count(*), count(DISTINCT sequence) FROM events") == [(40, 40)]
    assert cli(path, "PRAGMA integrity_check") == "ok\n"


def test_a_store_that_has_reached_its_greatest_size_says_that_the_disk_is_full(
    subscriber: SqliteSubscriber, path: Path
) -> None:
    """SQLite's own limit gives the same result as the operating system's refusal."""
    subscriber.handle(finding("opened", 1))
    connection = subscriber._opened()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()
    with pytest.raises(SubscriberBusyError, match=rf"{path} the disk is full; make room"):
        subscriber.handle(make_envelope("a.b", {"text": "x" * 50_000}))
    subscriber.handle(make_envelope("a.b", {"text": "x" * 50_000}))


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of an ordinary user, with whose rights the test goes on where it was begun by root."""
    folder = Path(tempfile.mkdtemp(prefix="streamcls-"))
    user = os.geteuid()
    if user == 0:
        os.chown(folder, 65_534, -1)
        os.seteuid(65_534)
    try:
        yield folder
    finally:
        os.seteuid(user)
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_a_store_that_may_not_be_written(nobody: Path) -> None:
    path = nobody / "store.db"
    subscriber = opened(path)
    subscriber.handle(finding("opened", 1))
    subscriber.close()
    path.chmod(0o444)
    with pytest.raises(SubscriberBusyError, match=rf"{path} cannot be written; allow this user"):
        subscriber.handle(finding("closed", 2))
    (sentence,) = SqliteSubscriber.preflight(SqliteSubscriber.Config(path=str(path)))
    assert f"no permission to read and write {path}" in sentence
    path.chmod(0o644)
    subscriber.handle(finding("closed", 2))
    subscriber.close()
    assert rows(path, "SELECT phase FROM findings") == [("closed",)]


def test_a_store_in_a_folder_where_nothing_may_be_created_can_be_read(nobody: Path) -> None:
    path = nobody / "store.db"
    subscriber = opened(path)
    subscriber.handle(finding("opened", 1))
    subscriber.close()
    nobody.chmod(0o555)
    assert rows(path, "SELECT phase FROM findings") == [("opened",)]
    (sentence,) = SqliteSubscriber.preflight(SqliteSubscriber.Config(path=str(path)))
    assert f"no permission to write in {nobody}" in sentence


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "no" / "store.db"
    with pytest.raises(SubscriberBusyError, match=rf"{path} cannot be opened; does its folder exist"):
        opened(path).handle(finding("opened", 1))
    (sentence,) = SqliteSubscriber.preflight(SqliteSubscriber.Config(path=str(path)))
    assert f"the folder {tmp_path / 'no'} does not exist; create it" in sentence
    (sentence,) = SqliteSubscriber.preflight(SqliteSubscriber.Config(path=str(tmp_path)))
    assert "is a folder; name a file in it" in sentence


@pytest.mark.parametrize("also", [("-wal", "-shm"), ()], ids=["with its log", "alone"])
def test_a_file_that_was_moved_away_is_made_anew(
    subscriber: SqliteSubscriber, path: Path, also: tuple[str, ...]
) -> None:
    subscriber.handle(finding("opened", 1))
    for suffix in ("", *also):
        path.with_name(path.name + suffix).rename(path.with_name("old.db" + suffix))
    if not also:
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()
    subscriber.handle(finding("closed", 2))
    assert rows(path, "SELECT phase FROM findings") == [("closed",)]


def test_preflight_has_nothing_to_say_of_a_store_in_use(subscriber: SqliteSubscriber, path: Path) -> None:
    config = SqliteSubscriber.Config(path=str(path))
    assert SqliteSubscriber.preflight(config) == []
    subscriber.handle(finding("opened", 1))
    assert SqliteSubscriber.preflight(config) == []
    with contextlib.closing(sqlite3.connect(path.with_name("begun.db"))) as begun:
        begun.execute("PRAGMA journal_mode = WAL")
    assert SqliteSubscriber.preflight(SqliteSubscriber.Config(path=str(path.with_name("begun.db")))) == []


def test_without_a_path_it_is_in_the_daemons_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    subscriber = SqliteSubscriber(SqliteSubscriber.Config())
    assert SqliteSubscriber.preflight(SqliteSubscriber.Config()) == []
    subscriber.handle(finding("opened", 1))
    subscriber.close()
    assert (tmp_path / ".local/state/streamcls/store.db").is_file()
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/streamcls:/var/lib/other")
    assert default_path() == Path("/var/lib/streamcls/store.db")


# The layout


def test_a_store_of_a_later_version_is_refused_and_left_alone(subscriber: SqliteSubscriber, path: Path) -> None:
    subscriber.handle(finding("opened", 1))
    subscriber.close()
    cli(path, "PRAGMA user_version = 99")
    with pytest.raises(SubscriberBusyError, match=r"has version 99 .* knows up to 1; update streamcls"):
        subscriber.handle(finding("closed", 2))
    with pytest.raises(StreamclsError, match="update streamcls"):
        open_reader(path)
    assert cli(path, "SELECT phase FROM findings") == "opened\n"


def test_a_store_of_an_earlier_version_is_brought_up_to_date_all_or_nothing(
    subscriber: SqliteSubscriber, path: Path
) -> None:
    subscriber.handle(finding("opened", 1))
    subscriber.close()
    connection = sqlite3.connect(path, isolation_level=None)
    broken = (*layout.MIGRATIONS, ("ALTER TABLE findings ADD COLUMN mood TEXT", "no SQL"))
    with pytest.raises(sqlite3.OperationalError):
        layout.migrate(connection, path, broken)
    assert layout.check(connection, path) == 1
    assert "mood" not in [row[1] for row in connection.execute("PRAGMA table_info(findings)")]
    layout.migrate(connection, path, (*layout.MIGRATIONS, ("ALTER TABLE findings ADD COLUMN mood TEXT",)))
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert connection.execute("SELECT phase, mood FROM findings").fetchall() == [("opened", None)]
    connection.close()


def test_the_program_sqlite3_reads_what_it_wrote(subscriber: SqliteSubscriber, path: Path) -> None:
    for event in example_envelopes():
        subscriber.handle(event)
    assert cli(path, "SELECT stream, label, phase, reason, duration_s FROM segments WHERE label = 'jazz'") == (
        "radio-1|jazz|closed|changed|40.0\n"
    )
    assert cli(path, "SELECT label, severity, action, phase FROM alerts") == "siren|medium|review|closed\n"
    assert cli(path, "PRAGMA integrity_check") == "ok\n"


# What is old goes


def test_what_is_too_old_goes_and_its_room_is_given_back(path: Path) -> None:
    import time

    now = time.time()
    keeper = opened(path)
    for number in range(400):
        old = finding("closed", number + 1, began=now - 40 * DAY_S + number, id=f"old-{number}", text="x" * 500)
        keeper.handle(old)
    keeper.handle(make_envelope("a.b", {}, time=now - 40 * DAY_S))
    keeper.handle(finding("opened", 1_000, began=now - 40 * DAY_S, seconds=39 * DAY_S, id="long"))
    keeper.handle(finding("closed", 1_001, began=now - 100, id="young"))
    for sequence, age in ((1, 50), (2, 40)):
        keeper.handle(make_envelope("stream.status", {"state": "running"}, sequence=sequence, time=now - age * DAY_S))
    keeper.close()
    before = path.stat().st_size

    sweeper = opened(path, max_age_days=30)
    sweeper.handle(make_envelope("a.b", {}, sequence=2, time=now))
    sweeper.close()
    assert rows(path, "SELECT id FROM findings ORDER BY id") == [("long",), ("young",)]
    assert rows(path, "SELECT sequence FROM events") == [(2,)]
    assert rows(path, "SELECT sequence FROM statuses") == [(2,)], "the last state of a stream stays"
    assert path.stat().st_size < before / 3


def test_without_a_greatest_age_nothing_goes(subscriber: SqliteSubscriber, path: Path) -> None:
    subscriber.handle(finding("closed", 1, began=1_000_000.0))
    subscriber.handle(finding("closed", 2, began=NOON, id="other"))
    assert rows(path, "SELECT count(*) FROM findings") == [(2,)]

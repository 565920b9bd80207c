"""``streamcls report``: its answers about a generated week of which every second is known, and how they are written."""

from __future__ import annotations

import builtins
import csv
import io
import json
import random
import re
import signal
import subprocess
import sys
import time
import wave
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click
import numpy as np
import pytest
from click.testing import CliRunner
from daemon import DaemonProcess, Listener, free_port

import streamcls_sqlite
from streamcls.audio.decode import read_file
from streamcls.bus.wire import rfc3339
from streamcls.testing import example_envelopes, make_envelope
from streamcls_sqlite.answer import duration
from streamcls_sqlite.files import reading
from streamcls_sqlite.period import Period, Zone, moment
from streamcls_sqlite.questions import Filter, findings
from streamcls_sqlite.subscriber import SqliteSubscriber
from streamcls_sqlite.timeline import HEAD_PX, ROW_PX, WIDTH_PX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BERLIN = ZoneInfo("Europe/Berlin")
FIRST_DAY = date(2024, 10, 23)
"""The week of the change to winter time: Sunday the 27th has 25 hours."""
BEGIN = datetime(2024, 10, 23, tzinfo=BERLIN).timestamp()
END = datetime(2024, 10, 30, tzinfo=BERLIN).timestamp()
SECONDS = round(END - BEGIN)
WEEK = ["--since", "2024-10-23", "--until", "2024-10-30", "--timezone", "Europe/Berlin"]
LABELS = ("jazz", "rock", "pop", "unsure")
SEVERITIES = {"siren": "medium", "gun_shot": "critical", "speech": "info"}
STREAMS = ("radio-1", "radio-2")
CRASH, RESTART = 300_000, 303_600
"""Seconds after the beginning of the week between which no daemon ran; it had said nothing of its end."""


@dataclass
class Week:
    """What happened: for each stream and second the index of the label played (-1: none) and whether it was up."""

    label: dict[str, np.ndarray] = field(default_factory=dict)
    up: dict[str, np.ndarray] = field(default_factory=dict)
    alerts: list[tuple[str, str, int, int]] = field(default_factory=list)
    events: list[tuple[float, str, str, dict[str, Any]]] = field(default_factory=list)

    def tell(self, second: float, kind: str, stream: str, data: dict[str, Any]) -> None:
        self.events.append((second, kind, stream, data))

    def finding(
        self, kind: str, stream: str, label: str, first: int, last: int | None, *, reason: str, **more: Any
    ) -> None:
        """Tell of one that is opened after 4 seconds and updated halfway; ``last`` None: it stays open after 100 seconds."""
        end = first + 100 if last is None else last
        phases = [("opened", min(first + 4, end)), ("updated", (first + end) // 2), ("closed", end)]
        for phase, at in phases[: 2 if last is None else 3]:
            until = end if last is None else at
            data = {
                "id": f"{kind}/{stream}/{label}/{first}",
                "phase": phase,
                "policy": "p",
                "model": f"{kind.partition('.')[0]}-cnn",
                "model_version": "1",
                "label": label,
                "first_sample": first * 100,
                "end_sample": until * 100,
                "sample_rate": 100,
                "duration_s": float(until - first),
                "windows": 1,
                "probability": {"mean": 0.5, "peak": 0.75},
                "started_at": rfc3339(BEGIN + first),
                "ended_at": rfc3339(BEGIN + until),
                **({"reason": reason} if phase == "closed" else {}),
                **more,
            }
            told = RESTART if phase == "closed" and reason == "daemon_lost" else at
            self.tell(told, kind, stream, data)


def make_week() -> Week:
    week, chance = Week(), random.Random(4)
    for stream in STREAMS:
        label = np.full(SECONDS, -1)
        up = np.zeros(SECONDS, bool)
        week.label[stream], week.up[stream] = label, up
        at = 0
        week.tell(0, "stream.status", stream, {"state": "running", "reason": ""})
        while at < SECONDS:
            if chance.random() < 0.05:
                pause = chance.randint(30, 900)
                week.tell(at, "stream.status", stream, {"state": "retrying", "reason": "away"})
                at += pause
                if at >= SECONDS:
                    break
                if not CRASH <= at < RESTART:
                    week.tell(at, "stream.status", stream, {"state": "running", "reason": ""})
            if CRASH <= at < RESTART:
                at = RESTART
                week.tell(at, "stream.status", stream, {"state": "running", "reason": ""})
            end = at + chance.randint(60, 3_000)
            index = chance.randrange(len(LABELS))
            reason = "changed"
            if at < CRASH <= end:
                end, reason = CRASH, "daemon_lost"
            shown = min(end, SECONDS)
            label[at:shown] = index
            up[at:shown] = True
            week.finding("genre.segment", stream, LABELS[index], at, min(end, SECONDS), reason=reason)
            at = end
        for _ in range(60):
            begin = chance.randrange(SECONDS - 5_000)
            name = chance.choice(list(SEVERITIES))
            length = chance.randint(5, 4_000)
            daemon_ran = begin + length < CRASH or begin >= RESTART
            if daemon_ran and all(first != begin for _, _, first, _ in week.alerts):
                week.alerts.append((stream, name, begin, begin + length))
                severity = {"severity": SEVERITIES[name], "action": "review"}
                week.finding("moderation.alert", stream, name, begin, begin + length, reason="over", **severity)
    week.alerts.append(("radio-2", "siren", SECONDS - 200, SECONDS - 100))
    week.finding(
        "moderation.alert", "radio-2", "siren", SECONDS - 200, None, reason="", severity="medium", action="review"
    )
    week.tell(
        1_000,
        "stream.status",
        "radio-1",
        {"state": "gap", "reason": "", "first_sample": 0, "end_sample": 250, "sample_rate": 100},
    )
    for beat in [*range(0, CRASH, 3_600), CRASH, *range(RESTART, SECONDS, 3_600), SECONDS]:
        week.tell(beat, "daemon.heartbeat", "streamcls", {})
    week.events.sort(key=lambda item: item[0])
    return week


@pytest.fixture(scope="module")
def week() -> Week:
    return make_week()


@pytest.fixture(scope="module")
def store(week: Week, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The week as the subscriber stored it, with every tenth event delivered twice and a restart in the middle of each day."""
    path = tmp_path_factory.mktemp("week") / "store.db"
    subscriber = SqliteSubscriber(SqliteSubscriber.Config(path=str(path), durability="process"))
    counts: Counter[tuple[str, str, str]] = Counter()
    for number, (second, kind, stream, data) in enumerate(week.events):
        epoch = "a" if second < RESTART else "b"
        counts[epoch, kind, stream] += 1
        event = make_envelope(kind, data, stream=stream, sequence=counts[epoch, kind, stream], time=BEGIN + second)
        event["epoch"] = epoch
        for _ in range(2 if number % 10 == 0 else 1):
            subscriber.handle(event)
        if number % 500 == 0:
            subscriber.close()
    subscriber.close()
    return path


@pytest.fixture(scope="module")
def ask(store: Path) -> Callable[..., str]:
    """Ask on the command line and return what is answered on standard output."""

    def call(*arguments: str, code: int = 0, database: Path | None = store) -> str:
        group = click.Group()
        streamcls_sqlite.register_commands(group)
        where = ["--database", str(database)] if database else []
        result = CliRunner().invoke(group, ["report", *arguments, *where])
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.output

    return call


def as_json(text: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


def second_of(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() - BEGIN)


def day_of_second() -> np.ndarray:
    """For each second of the week, the day in Berlin, counted from the first: by way of each hour's own date."""
    hours = [
        datetime.fromtimestamp(BEGIN + 3_600 * hour, UTC).astimezone(BERLIN).date() for hour in range(SECONDS // 3_600)
    ]
    return np.repeat([(day - FIRST_DAY).days for day in hours], 3_600)


# The week's questions


def test_what_played_on_a_day_is_what_played_second_by_second(week: Week, ask: Callable[..., str]) -> None:
    days = day_of_second()
    for number, length in ((0, 24), (4, 25)):
        day = (FIRST_DAY + timedelta(days=number)).isoformat()
        answer = as_json(
            ask("played", "--stream", "radio-1", "--day", day, "--timezone", "Europe/Berlin", "--format", "json")
        )
        heard = np.full(SECONDS, -1)
        for row in answer:
            first, last = second_of(row["began"]), second_of(row["ended"])
            assert row["duration"] == last - first
            assert (heard[first:last] == -1).all(), "segments overlap"
            heard[first:last] = LABELS.index(row["label"])
        where = days == number
        assert where.sum() == length * 3_600
        assert (heard[~where] == -1).all(), "nothing is outside of the day"
        assert (heard[where] == week.label["radio-1"][where]).all()


def test_shares_of_genres_are_those_of_the_seconds(week: Week, ask: Callable[..., str]) -> None:
    answer = as_json(ask("genres", *WEEK, "--format", "json"))
    assert {row["stream"] for row in answer} == set(STREAMS)
    for row in answer:
        played = week.label[row["stream"]]
        seconds = int((played == LABELS.index(row["label"])).sum())
        assert row["time"] == seconds
        assert row["share"] == pytest.approx(seconds / (played >= 0).sum(), abs=1e-6)


def test_sums_per_day_cut_a_segment_at_midnight(week: Week, ask: Callable[..., str]) -> None:
    days = day_of_second()
    answer = as_json(ask("genres", "--by-day", *WEEK, "--format", "json"))
    told = {(row["day"], row["stream"], row["label"]): row["time"] for row in answer}
    truth = {}
    for stream in STREAMS:
        for number in range(7):
            for index, label in enumerate(LABELS):
                seconds = int(((days == number) & (week.label[stream] == index)).sum())
                if seconds:
                    truth[(FIRST_DAY + timedelta(days=number)).isoformat(), stream, label] = seconds
    assert told == truth


def test_alerts_are_counted_by_label_and_local_day(week: Week, ask: Callable[..., str]) -> None:
    answer = as_json(ask("alerts", "--by", "label,day", *WEEK, "--format", "json"))
    told = {(row["label"], row["day"]): (row["alerts"], row["time"], row["longest"]) for row in answer}
    groups: dict[tuple[str, str], list[int]] = {}
    for _, label, first, last in week.alerts:
        day = datetime.fromtimestamp(BEGIN + first, UTC).astimezone(BERLIN).date().isoformat()
        groups.setdefault((label, day), []).append(last - first)
    assert told == {key: (len(lengths), sum(lengths), max(lengths)) for key, lengths in groups.items()}
    assert sum(row["open"] for row in answer) == 1


@pytest.mark.parametrize("by", ["stream", "severity", "hour", "action", "model", "severity,stream,label"])
def test_alerts_are_counted_by_anything_else(week: Week, ask: Callable[..., str], by: str) -> None:
    answer = as_json(ask("alerts", "--by", by, *WEEK, "--format", "json"))
    names = by.split(",")
    truth: Counter[tuple[Any, ...]] = Counter()
    for stream, label, first, _ in week.alerts:
        hour = datetime.fromtimestamp(BEGIN + first, UTC).astimezone(BERLIN).hour
        facts = {"stream": stream, "severity": SEVERITIES[label], "hour": hour, "action": "review", "label": label}
        facts["model"] = "moderation-cnn"
        truth[tuple(facts[name] for name in names)] += 1
    assert Counter({tuple(row[name] for name in names): row["alerts"] for row in answer}) == truth


def test_alerts_are_listed_by_label_and_stream(week: Week, ask: Callable[..., str]) -> None:
    answer = as_json(ask("alerts", "--label", "s*", "--stream", "radio-[!1]", *WEEK, "--format", "json"))
    told = {(row["label"], second_of(row["began"]), second_of(row["ended"])) for row in answer}
    assert told == {
        (label, first, last)
        for stream, label, first, last in week.alerts
        if stream == "radio-2" and label in {"siren", "speech"}
    }


def test_uptime_is_that_of_the_seconds(week: Week, ask: Callable[..., str]) -> None:
    answer = as_json(ask("uptime", *WEEK, "--format", "json"))
    assert [row["stream"] for row in answer] == list(STREAMS)
    for row in answer:
        up = week.up[row["stream"]]
        assert row["up"] == up.sum()
        assert row["down"] == SECONDS - up.sum()
        assert row["share"] == pytest.approx(up.mean(), abs=1e-6)
        falls = np.flatnonzero(np.diff(np.concatenate([[1], up.astype(int), [1]])))
        lengths = falls[1::2] - falls[0::2]
        assert (row["outages"], row["longest"]) == (len(lengths), lengths.max())
    assert (answer[0]["gaps"], answer[0]["lost"]) == (1, 2.5)


def test_outages_say_when_and_why(week: Week, ask: Callable[..., str]) -> None:
    answer = as_json(ask("outages", "--stream", "radio-1", *WEEK, "--format", "json"))
    up = np.ones(SECONDS, bool)
    for row in answer:
        up[second_of(row["began"]) : second_of(row["ended"])] = False
    assert (up == week.up["radio-1"]).all()
    assert {row["states"] for row in answer} == {"retrying", "no daemon"}
    (lost,) = [row for row in answer if row["states"] == "no daemon"]
    assert (second_of(lost["began"]), second_of(lost["ended"])) == (CRASH, RESTART)


def test_a_period_within_an_outage_knows_of_it(week: Week, ask: Callable[..., str]) -> None:
    hours = [rfc3339(BEGIN + CRASH + 600), "--until", rfc3339(BEGIN + CRASH + 1_200)]
    (row,) = as_json(ask("uptime", "--stream", "radio-1", "--since", *hours, "--format", "json"))
    assert (row["up"], row["down"], row["outages"]) == (0.0, 600.0, 1)


def test_the_longest_segments_are_the_longest(week: Week, ask: Callable[..., str], store: Path) -> None:
    answer = as_json(ask("longest", "--count", "3", *WEEK, "--format", "json"))
    with reading(store) as database:
        every = [item.ended - item.began for item in findings(database, "segment", Filter(Period(BEGIN, END)))]
    assert [row["duration"] for row in answer] == sorted(every, reverse=True)[:3]
    answer = as_json(ask("longest", "alerts", "--count", "1", *WEEK, "--format", "json"))
    assert answer[0]["duration"] == max(last - first for _, _, first, last in week.alerts)


def test_what_is_open_is_found_however_long_ago_it_began(ask: Callable[..., str]) -> None:
    (row,) = as_json(ask("open", "--format", "json"))
    assert (row["stream"], row["label"], row["state"]) == ("radio-2", "siren", "open")
    assert second_of(row["began"]) == SECONDS - 200
    assert ask("open", "segments") == ""


def test_questions_are_answered_from_an_index(store: Path) -> None:
    """So that years do not make yesterday slow."""
    statements: list[str] = []
    with reading(store) as database:
        database.set_trace_callback(statements.append)
        list(findings(database, "segment", Filter(Period(BEGIN, END), ("radio-1",))))
        list(findings(database, "alert", Filter(Period(BEGIN, END))))
        database.set_trace_callback(None)
        questions = [statement for statement in statements if "FROM findings" in statement]
        assert len(questions) == 4
        for statement in questions:
            plan = " ".join(row[3] for row in database.execute("EXPLAIN QUERY PLAN " + statement))
            assert "USING INDEX findings_by" in plan, plan
            assert "SCAN" not in plan, plan


# How it is said


def test_csv_has_the_same_rows_as_json(ask: Callable[..., str]) -> None:
    for question in (
        ["played", "--stream", "radio-1"],
        ["alerts", "--by", "label,day"],
        ["uptime"],
        ["genres", "--by-day"],
    ):
        rows = list(csv.DictReader(io.StringIO(ask(*question, *WEEK, "--format", "csv"))))
        objects = as_json(ask(*question, *WEEK, "--format", "json"))
        assert len(rows) == len(objects) > 1
        for row, item in zip(rows, objects, strict=True):
            assert row == {name: "" if value is None else str(value) for name, value in item.items()}


def test_a_table_has_columns_that_stand_below_each_other(ask: Callable[..., str]) -> None:
    lines = ask("genres", *WEEK).splitlines()
    assert lines[0].split() == ["STREAM", "MODEL", "LABEL", "TIME", "SHARE"]
    assert len({len(line) for line in lines}) == 1
    assert re.fullmatch(r"radio-1  genre-cnn  \w+ +\d+:\d\d:\d\d  +\d+\.\d %", lines[1])


def test_times_are_those_of_the_zone_that_was_asked_for(ask: Callable[..., str]) -> None:
    question = ["played", "--stream", "radio-1", "--since", "2024-10-22T22:00Z", "--until", "2024-10-23T00:00Z"]
    assert "2024-10-23 00:00:00" in ask(*question, "--timezone", "Europe/Berlin")
    assert "2024-10-22 22:00:00" in ask(*question, "--timezone", "UTC")
    (first, *_) = as_json(ask(*question, "--timezone", "Asia/Kolkata", "--format", "json"))
    assert first["began"] == "2024-10-23T03:30:00.000+05:30"


def test_the_machines_own_zone_is_the_default(ask: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        for name in ("America/New_York", "Europe/Berlin"):
            monkeypatch.setenv("TZ", name)
            time.tzset()
            question = ["genres", "--by-day", "--since", "2024-10-24", "--until", "2024-10-29", "--format", "json"]
            assert ask(*question) == ask(*question, "--timezone", name)
            lengths = [last - first for _, first, last in Zone().days(BEGIN, END)]
            assert sum(lengths) == SECONDS
    finally:
        monkeypatch.undo()
        time.tzset()


def test_where_there_is_nothing_it_says_so_and_is_content(ask: Callable[..., str]) -> None:
    assert ask("played", "--day", "2001-01-01") == ""
    assert as_json(ask("played", "--day", "2001-01-01", "--format", "json")) == []
    assert ask("played", "--day", "2001-01-01", "--format", "csv").startswith("stream,began,ended,")
    assert ask("uptime", "--stream", "nobody", *WEEK) == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["played", "--day", "someday"], "'someday' is no day; expected today, yesterday or a date"),
        (["played", "--since", "soon"], "'soon' is no time; expected e.g. 7d"),
        (["played", "--timezone", "Mars/Olympus"], "'Mars/Olympus' is no time zone"),
        (["played", "--timezone", "../../etc/passwd"], "is no time zone"),
        (["played", "--day", "today", "--since", "7d"], "--day is a whole day"),
        (["played", "--since", "today", "--until", "yesterday"], "--since is not before --until"),
        (["alerts", "--by", "label,moon"], "moon: expected some of label, day"),
    ],
)
def test_a_wrong_question_says_what_is_expected(ask: Callable[..., str], arguments: list[str], words: str) -> None:
    assert words in " ".join(ask(*arguments, code=2).split())


def test_a_store_that_is_not_there_or_is_none(tmp_path: Path, root: Path) -> None:
    (tmp_path / "diary").write_text("dear diary\n" * 300)
    for file, words in (("none.db", "there is no event store"), ("diary", "is no SQLite database")):
        done = subprocess.run(
            [sys.executable, "-m", "streamcls", "report", "played", "--database", str(tmp_path / file)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert f"{tmp_path / file}" in done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_control_characters_of_a_label_do_not_reach_the_terminal(ask: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    subscriber = SqliteSubscriber(SqliteSubscriber.Config(path=str(path)))
    for event in example_envelopes():
        if event["data"].get("label") == "siren":
            event["data"]["label"] = "si\x1b[2Jren\n"
        subscriber.handle(event)
    subscriber.close()
    table = ask("alerts", "--since", "2026-01-01T00:00Z", "--until", "2026-01-02", database=path)
    assert "si?[2Jren?" in table


def test_it_answers_while_the_daemon_writes(ask: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    subscriber = SqliteSubscriber(SqliteSubscriber.Config(path=str(path)))
    seen = []
    for event in example_envelopes():
        subscriber.handle(event)
        connection = subscriber._opened()
        connection.execute("BEGIN IMMEDIATE")  # as in the middle of the next one
        rows = as_json(
            ask("alerts", "--since", "2025-12-31", "--until", "2026-01-03", "--format", "json", database=path)
        )
        connection.execute("ROLLBACK")
        seen += [(row["state"], row["duration"]) for row in rows]
    subscriber.close()
    assert ("open", 12.0) in seen
    assert seen[-1] == ("closed", 12.0)


def test_a_finding_without_a_clock_is_reported_at_the_time_it_was_told_of(
    ask: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    subscriber = SqliteSubscriber(SqliteSubscriber.Config(path=str(path)))
    for event in example_envelopes():
        subscriber.handle(event)
    subscriber.close()
    rows = as_json(ask("played", "--since", "2025-12-31", "--until", "2026-01-03", "--format", "json", database=path))
    assert [(row["label"], row["duration"]) for row in rows] == [("jazz", 12.0), ("unsure", 4.0)]


def test_alerts_say_who_acknowledged_and_what_muted_them_and_where_the_clip_is(
    ask: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    subscriber = SqliteSubscriber(SqliteSubscriber.Config(path=str(path)))
    for event in example_envelopes():
        if event["data"].get("label") == "siren" and event["type"].endswith(".alert"):
            event["data"].pop("acknowledged", None)
            event["data"]["muted"] = {"by": "silence", "name": "night", "until": None, "note": ""}
        if event["type"] not in {"streamcls.moderation.ack", "streamcls.daemon.evidence"}:
            subscriber.handle(event)
    question = ["alerts", "--since", "2026-01-01T00:00Z", "--until", "2026-01-02"]
    (row,) = as_json(ask(*question, "--format", "json", database=path))
    assert (row["muted"], row["acknowledged"]) == ("silence", None)
    assert row["clip"].startswith("/")
    assert row["clip"].endswith(".flac")
    said = {"alert_id": row["id"], "by": "ada", "at": "2026-01-01T00:10:00.000Z", "note": ""}
    subscriber.handle(make_envelope("moderation.ack", said, sequence=9))
    (row,) = as_json(ask(*question, "--format", "json", database=path))
    assert row["acknowledged"] == "ada"
    assert "ACKNOWLEDGED" in ask(*question, database=path)
    gone = {"state": "removed", "alert_id": row["id"], "path": "x.flac", "sha256": "0"}
    subscriber.handle(make_envelope("daemon.evidence", gone, stream="streamcls", sequence=9, time=BEGIN + 1e9))
    (row,) = as_json(ask(*question, "--format", "json", database=path))
    assert row["clip"] is None
    subscriber.close()


# The picture


def picture(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(path))[..., :3]


def colour_share(pixels: np.ndarray, colour: str) -> float:
    wanted = np.array([int(colour[index : index + 2], 16) for index in (1, 3, 5)]) / 255
    return float((np.abs(pixels - wanted).max(axis=-1) < 0.02).mean())


def test_the_picture_has_its_size_and_shows_bars_alerts_and_outages(
    ask: Callable[..., str], tmp_path: Path, week: Week
) -> None:
    file = tmp_path / "week.png"
    assert ask("played", *WEEK, "--png", str(file)) == ""
    pixels = picture(file)
    assert pixels.shape == (HEAD_PX + 2 * ROW_PX, WIDTH_PX, 3)
    assert file.read_bytes().startswith(b"\x89PNG")
    for label in LABELS:
        assert 0.02 < colour_share(pixels, _palette(label)) < 0.3, label
    assert 0 < colour_share(pixels, "#67000d") < 0.02, "the marks of critical alerts"


def _palette(label: str) -> str:
    from matplotlib.colors import to_hex

    from streamcls_sqlite.timeline import _colours

    return str(to_hex(_colours([label])[label]))


def test_bars_are_as_long_as_what_played(ask: Callable[..., str], tmp_path: Path, week: Week) -> None:
    """Measured in the picture: along the middle of a row, the part of each colour is the label's share of the day."""
    file = tmp_path / "day.png"
    ask("genres", "--stream", "radio-1", "--day", "2024-10-24", "--timezone", "Europe/Berlin", "--png", str(file))
    row = picture(file)[50 + ROW_PX // 2 + 8, 170 : WIDTH_PX - 60]
    played = week.label["radio-1"][86_400 : 2 * 86_400]
    for index, label in enumerate(LABELS[:3]):
        assert colour_share(row[None], _palette(label)) == pytest.approx((played == index).mean(), abs=0.03), label


def test_a_picture_of_nothing_is_a_picture(ask: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "nothing.png"
    ask("played", "--day", "2001-01-01", "--png", str(file))
    assert picture(file).shape == (HEAD_PX + ROW_PX, WIDTH_PX, 3)


@pytest.mark.parametrize("span", ["3m", "5h", "1d", "3d", "20d", "300d", "4000d"])
def test_a_picture_of_any_length_has_a_handful_of_times_below_it(span: str) -> None:
    from streamcls_sqlite.timeline import _ticks

    zone = Zone("Europe/Berlin")
    for end in (BEGIN, BEGIN + 5 * 86_400 + 4_321):
        ticks = _ticks(Period(moment(span, zone, end), end), zone)
        assert 2 <= len(ticks) <= 15
        assert [at for at, _ in ticks] == sorted({at for at, _ in ticks})


def test_without_matplotlib_it_says_what_to_install(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamcls import StreamclsError

    original = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    group = click.Group()
    streamcls_sqlite.register_commands(group)
    arguments = ["report", "played", *WEEK, "--database", str(store)]
    assert CliRunner().invoke(group, arguments).exit_code == 0, "a table needs none"
    result = CliRunner().invoke(group, [*arguments, "--png", str(tmp_path / "x.png")])
    assert isinstance(result.exception, StreamclsError)
    assert "pip install 'streamcls[report]'" in str(result.exception)


def test_a_picture_that_cannot_be_written_names_the_file(store: Path, tmp_path: Path) -> None:
    from streamcls import StreamclsError

    group = click.Group()
    streamcls_sqlite.register_commands(group)
    file = tmp_path / "no" / "x.png"
    result = CliRunner().invoke(group, ["report", "played", *WEEK, "--database", str(store), "--png", str(file)])
    assert isinstance(result.exception, StreamclsError)
    assert f"{file} cannot be written: No such file" in str(result.exception)


# Times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2024-10-27T12:00:00Z"),
        ("90m", "2024-10-27T10:30:00Z"),
        ("1.5h", "2024-10-27T10:30:00Z"),
        ("7d", "2024-10-20T12:00:00Z"),
        ("2w", "2024-10-13T12:00:00Z"),
        ("today", "2024-10-26T22:00:00Z"),
        ("yesterday", "2024-10-25T22:00:00Z"),
        ("2024-10-28", "2024-10-27T23:00:00Z"),
        ("2024-10-27T18:30", "2024-10-27T17:30:00Z"),
        ("2024-10-27T18:30Z", "2024-10-27T18:30:00Z"),
        ("2024-10-27T18:30+05:30", "2024-10-27T13:00:00Z"),
    ],
)
def test_times_as_people_say_them(text: str, expected: str) -> None:
    now = datetime(2024, 10, 27, 12, tzinfo=UTC).timestamp()
    assert moment(text, Zone("Europe/Berlin"), now) == datetime.fromisoformat(expected).timestamp()


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31", "1969-12-31T23:00Z"])
def test_a_time_beyond_the_calendar_is_refused(ask: Callable[..., str], text: str) -> None:
    assert "beyond the calendar" in ask("played", "--since", text, code=2)


def test_an_alert_of_absurd_length_does_not_keep_others_from_being_listed(
    ask: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    subscriber = SqliteSubscriber(SqliteSubscriber.Config(path=str(path)))
    for number, seconds in enumerate((10.0, 1e18)):
        data = {"id": str(number), "phase": "closed", "label": "x", "duration_s": seconds, "started_at": rfc3339(BEGIN)}
        subscriber.handle(make_envelope("odd.alert", data, sequence=number + 1))
    subscriber.close()
    rows = as_json(ask("alerts", *WEEK, "--format", "json", database=path))
    assert [row["ended"][:4] for row in rows] == ["2024", "9998"]
    assert "9998-01-01" in ask("alerts", *WEEK, "--timezone", "UTC", database=path)


def test_days_are_as_long_as_they_are() -> None:
    pieces = list(Zone("Europe/Berlin").days(BEGIN + 10, END))
    assert [round(last - first) / 3_600 for _, first, last in pieces] == [23.997222222222224, 24, 24, 24, 25, 24, 24]
    assert [day for day, _, _ in pieces] == [FIRST_DAY + timedelta(days=number) for number in range(7)]
    assert list(Zone("UTC").days(0.0, 0.0)) == [(date(1970, 1, 1), 0.0, 0.0)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.44, "59.4 s"), (59.6, "1:00"), (3_599.7, "1:00:00"), (90_061, "25:01:01")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[SqliteSubscriber, Path]]:
    path = tmp_path / "store.db"
    subscriber = SqliteSubscriber(SqliteSubscriber.Config(path=str(path)))
    yield subscriber, path
    subscriber.close()


def test_a_file_that_is_over_was_not_down(alone: tuple[SqliteSubscriber, Path], ask: Callable[..., str]) -> None:
    subscriber, path = alone
    states = [
        (0, "running", ""),
        (60, "ended", "end of stream"),
        (600, "running", ""),
        (660, "stalled", "nothing"),
        (670, "ended", "end of stream"),
    ]
    for number, (second, state, reason) in enumerate(states):
        data = {"state": state, "reason": reason}
        subscriber.handle(make_envelope("stream.status", data, sequence=number + 1, time=BEGIN + second))
    period = ["--since", rfc3339(BEGIN), "--until", rfc3339(BEGIN + 760)]
    (row,) = as_json(ask("uptime", *period, "--format", "json", database=path))
    assert (row["known"], row["up"], row["down"], row["outages"]) == (220.0, 120.0, 100.0, 1)


def test_states_that_follow_each_other_are_one_outage(
    alone: tuple[SqliteSubscriber, Path], ask: Callable[..., str]
) -> None:
    subscriber, path = alone
    states = [(0, "running"), (60, "stalled"), (70, "retrying"), (80, "connecting"), (100, "running"), (200, "failed")]
    for number, (second, state) in enumerate(states):
        data = {"state": state, "reason": f"it is {state}"}
        subscriber.handle(make_envelope("stream.status", data, sequence=number + 1, time=BEGIN + second))
    period = ["--since", rfc3339(BEGIN), "--until", rfc3339(BEGIN + 250), "--format", "json"]
    rows = as_json(ask("outages", *period, database=path))
    assert [(row["duration"], row["states"], row["reason"]) for row in rows] == [
        (40.0, "stalled, retrying, connecting", "it is stalled"),
        (50.0, "failed", "it is failed"),
    ]
    (row,) = as_json(ask("uptime", *period, database=path))
    assert (row["outages"], row["longest"], row["up"]) == (2, 50.0, 160.0)


def test_a_daemon_of_which_nothing_was_heard_any_more_is_gone(
    alone: tuple[SqliteSubscriber, Path], ask: Callable[..., str]
) -> None:
    subscriber, path = alone
    subscriber.handle(make_envelope("stream.status", {"state": "running", "reason": ""}, time=BEGIN))
    period = ["--since", rfc3339(BEGIN), "--until", rfc3339(BEGIN + 1_000), "--format", "json"]
    (row,) = as_json(ask("uptime", *period, database=path))
    assert row["up"] == 1_000.0, "heartbeats are not kept here: nothing can be said"
    subscriber.handle(make_envelope("daemon.heartbeat", {}, stream="streamcls", time=BEGIN + 300))
    (row,) = as_json(ask("uptime", *period, database=path))
    assert (row["up"], row["down"]) == (300.0, 700.0)


def test_a_daemon_that_seldom_says_something_is_not_taken_for_gone(
    alone: tuple[SqliteSubscriber, Path], ask: Callable[..., str]
) -> None:
    subscriber, path = alone
    now = time.time()
    subscriber.handle(make_envelope("stream.status", {"state": "running", "reason": ""}, time=now - 4_000))
    for number, age in enumerate((3_900, 2_100, 300)):
        subscriber.handle(make_envelope("daemon.heartbeat", {}, stream="s", sequence=number + 1, time=now - age))
    (row,) = as_json(ask("uptime", "--since", "2h", "--format", "json", database=path))
    assert (row["down"], row["outages"]) == (0, 0)


def test_a_running_daemon_on_real_audio_is_reported_as_its_events_say(
    tmp_path: Path, data: Path, ask: Callable[..., str]
) -> None:
    clips = [sorted((data / folder).glob("*"))[7] for folder in ("gtzan_full30/metal", "gtzan_full30/classical")]
    music, rate = zip(*(read_file(clip) for clip in clips), strict=True)
    samples = np.clip(np.rint(np.concatenate(music).mean(axis=1) * 32_767), -32_768, 32_767).astype("<i2")
    with wave.open(str(tmp_path / "programme.wav"), "wb") as file:
        file.setparams((1, 2, rate[0], 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    endpoint, store = f"tcp://127.0.0.1:{free_port()}", tmp_path / "store.db"
    config = tmp_path / "daemon.toml"
    config.write_text(
        f"""
        daemon = {{ state_dir = "{tmp_path}", heartbeat_s = 0.5 }}
        bus = {{ publish = ["{endpoint}"], replay = ["tcp://127.0.0.1:*"] }}
        source = [{{ name = "radio-1", type = "filetail", path = "{tmp_path}/programme.wav" }}]
        subscriber = [
            {{ type = "sqlite", path = "{store}", raw = true, durability = "process" }},
            {{ type = "jsonl", path = "{tmp_path}/events.jsonl" }},
        ]
        """
    )
    last = len(samples) - 2 * rate[0]
    listener = Listener(endpoint)
    listener.start()
    with DaemonProcess(config) as daemon:
        heard = listener.wait_for(
            lambda events: any(e["type"].endswith(".window") and e["data"]["end_sample"] > last for e in events), 60
        )
        assert heard, daemon.text()
        daemon.signal(signal.SIGINT)
        assert daemon.wait(20) == 0, daemon.text()
    listener.halt()
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    closed = [e["data"] for e in events if e["type"] == "streamcls.genre.segment" and e["data"]["phase"] == "closed"]
    period = ["--since", "1d", "--format", "json", "--timezone", "UTC"]
    played = as_json(ask("played", *period, database=store))
    assert [(row["id"], row["label"], row["probability"]) for row in played] == [
        (item["id"], item["label"], item["probability"]["mean"]) for item in closed
    ]
    for row, item in zip(played, closed, strict=True):
        assert row["began"] == item["started_at"].replace("Z", "+00:00")
        assert row["duration"] == pytest.approx(item["duration_s"], abs=0.002)
    assert as_json(ask("open", "segments", "--format", "json", database=store)) == []
    with reading(store) as database:
        raw = [json.loads(body) for (body,) in database.execute("SELECT body FROM events ORDER BY rowid")]

    def by_id(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Windows apart: they are not in the journal, and so not for certain in both."""
        kept = [item for item in items if not item["type"].endswith((".window", "daemon.heartbeat"))]
        assert len({item["id"] for item in kept}) == len(kept)
        return {item["id"]: item for item in kept}

    assert by_id(raw) == by_id(list({event["id"]: event for event in events}.values()))
    assert any(item["type"] == "streamcls.genre.window" for item in raw)

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from fakes import Collector
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamcls import Event
from streamcls.bus.permissions import EVERYBODY, Principal
from streamcls.config.schema import SilenceSettings
from streamcls.errors import BusError
from streamcls.service.people import People

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
A, B = "aa" * 16, "bb" * 16


class Desk:
    """People, with a clock that a test moves and a memory of what was published."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.now = NOW
        self.told = Collector()
        self.people = People(folder / "people.json", self.told, name="studio", clock=lambda: self.now, **settings)

    def ask(self, op: str, principal: Principal = EVERYBODY, **request: Any) -> dict[str, Any]:
        return dict(self.people.handlers()[op]({"op": op, "request": "1", **request}, principal))

    def alert(self, identifier: str = A, label: str = "siren", stream: str = "radio-1", **more: Any) -> dict[str, Any]:
        event = Event("moderation.alert", stream, {"id": identifier, "phase": "opened", "label": label}, **more)
        return dict(self.people.annotate(event).data)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_nothing_was_said_of_stays_the_same_object(desk: Desk) -> None:
    for kind in ("moderation.alert", "signal.alert", "genre.window", "stream.status"):
        event = Event(kind, "radio-1", {"id": A, "label": "siren"})
        assert desk.people.annotate(event) is event
    desk.ask("mute", labels=["siren"], forever=True)
    window = Event("moderation.window", "radio-1", {"label": "siren"})
    assert desk.people.annotate(window) is window


def test_an_acknowledgement_stands_in_the_alerts_further_events_and_is_published(desk: Desk) -> None:
    desk.alert()
    answer = desk.ask("ack", id=A, by="ada", note="seen")
    entry = {"alert_id": A, "by": "ada", "at": "2026-01-01T00:00:00.000Z", "note": "seen"}
    assert answer == {"acknowledged": entry}
    assert desk.told.events == [Event("moderation.ack", "radio-1", entry, time=NOW)]
    assert desk.alert()["acknowledged"] == {"by": "ada", "at": "2026-01-01T00:00:00.000Z", "note": "seen"}
    assert "acknowledged" not in desk.alert(B)


def test_only_an_alert_that_is_known_can_be_acknowledged(tmp_path: Path) -> None:
    desk = Desk(tmp_path, known=lambda identifier: "radio-9" if identifier == B else None)
    with pytest.raises(BusError, match="no alert 'cc' is open or was of late"):
        desk.ask("ack", id="cc")
    desk.ask("ack", id=B)
    assert desk.told.events[0].stream == "radio-9"
    desk.ask("ack", id=B, by="bob")  # again, by somebody else
    assert desk.alert(B)["acknowledged"]["by"] == "bob"


@pytest.mark.parametrize(
    ("what", "hit", "missed"),
    [
        ({"id": A}, [(A, "siren", "radio-1"), (A, "gun", "x")], [(B, "siren", "radio-1")]),
        ({"labels": ["siren", "gun"]}, [(A, "gun", "x"), (B, "siren", "y")], [(A, "dog", "x")]),
        ({"streams": ["radio-*"]}, [(A, "dog", "radio-7")], [(A, "dog", "mic")]),
        (
            {"labels": ["siren"], "streams": ["radio-1", "mic"]},
            [(A, "siren", "mic")],
            [(A, "siren", "radio-2"), (A, "dog", "mic")],
        ),
    ],
)
def test_a_mute_marks_the_alerts_that_fit_all_of_it(
    desk: Desk, what: dict[str, Any], hit: list[tuple[str, str, str]], missed: list[tuple[str, str, str]]
) -> None:
    item = desk.ask("mute", **what, for_s=60, note="why", by="ada")["mute"]
    for alert in hit:
        assert desk.alert(*alert)["muted"] == {
            "by": "mute",
            "id": item["id"],
            "until": "2026-01-01T00:01:00.000Z",
            "note": "why",
        }
    for alert in missed:
        assert "muted" not in desk.alert(*alert)
    assert desk.told.events == [Event("moderation.mute", "studio", {"state": "muted", **item}, time=NOW)]


def test_a_mute_is_over_at_its_time_and_that_is_published_once(desk: Desk) -> None:
    item = desk.ask("mute", labels=["siren"], until="2026-01-01T02:00:00+01:00")["mute"]
    assert item["until"] == "2026-01-01T01:00:00.000Z"
    desk.now = NOW + 3599.9
    assert "muted" in desk.alert()
    desk.people.tick()
    desk.now = NOW + 3600
    assert "muted" not in desk.alert()
    desk.now += 1
    for _ in range(3):
        desk.people.tick()
        desk.now += 10
    assert [event.data["state"] for event in desk.told.events] == ["muted", "expired"]
    assert desk.ask("mutes")["mutes"] == []


def test_a_mute_can_be_ended_and_one_for_ever_stays(desk: Desk) -> None:
    first, second = (desk.ask("mute", streams=[name], forever=True)["mute"] for name in ("a", "b"))
    assert second["until"] is None
    desk.now = NOW + 9 * 365 * 86_400
    desk.people.tick()
    assert desk.ask("mutes")["mutes"] == [first, second]
    assert desk.ask("unmute", mute=first["id"], by="bob") == {"mute": first}
    assert desk.told.events[-1].data == {"state": "unmuted", **first, "ended_by": "bob"}
    assert desk.ask("mutes")["mutes"] == [second]
    with pytest.raises(BusError, match=r"no mute '.*' is in force"):
        desk.ask("unmute", mute=first["id"])


def test_all_of_it_outlives_a_restart(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.alert()
    desk.ask("ack", id=A, by="ada", note="ü")
    item = desk.ask("mute", labels=["siren"], streams=["r*"], for_s=600, by="ada")["mute"]
    over = desk.ask("mute", id=B, for_s=5)["mute"]
    later = Desk(tmp_path)
    later.now += 10
    assert later.ask("mutes")["mutes"] == [item]
    assert later.alert()["acknowledged"]["note"] == "ü"
    assert later.alert()["muted"]["id"] == item["id"]
    later.people.tick()
    assert [(e.data["state"], e.data["id"]) for e in later.told.events] == [("expired", over["id"])]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 2, "mutes": [], "acknowledged": []}',
        b'{"version": 1, "mutes": [{"id": 3}], "acknowledged": []}',
        b'{"version": 1, "mutes": [], "acknowledged": [{"alert": "a", "by": "", "at": 1e300, "note": ""}]}',
        b"\xff" * 100,
    ],
)
def test_a_damaged_file_is_set_aside_with_a_warning(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "people.json").write_bytes(content)
    desk = Desk(tmp_path)
    assert "is damaged" in caplog.text
    (aside,) = tmp_path.glob("people.json.corrupt-*")
    assert aside.read_bytes() == content
    desk.ask("mute", labels=["siren"], forever=True)
    assert len(Desk(tmp_path).ask("mutes")["mutes"]) == 1


def test_where_the_file_cannot_be_written_it_holds_all_the_same_and_the_answer_says_so(tmp_path: Path) -> None:
    (tmp_path / "people.json.new").mkdir()
    desk = Desk(tmp_path)
    answer = desk.ask("mute", labels=["siren"], forever=True)
    assert "it holds until the daemon ends" in answer["warning"]
    assert "muted" in desk.alert()
    assert desk.told.events[0].data["state"] == "muted"


@pytest.mark.parametrize(
    ("op", "request_", "text"),
    [
        ("ack", {}, "id is missing"),
        ("ack", {"id": 7}, "id is 7, expected a line"),
        ("ack", {"id": A, "note": "x" * 1001}, "note is 'xxx"),
        ("ack", {"id": A, "by": "a\nb"}, "by is 'a.*expected a line"),
        ("mute", {"forever": True}, "nothing says what to mute"),
        ("mute", {"labels": "siren", "forever": True}, "labels is 'siren', expected at most 100 texts"),
        ("mute", {"labels": [""], "forever": True}, "labels holds an empty text"),
        ("mute", {"labels": ["a"] * 101, "forever": True}, "expected at most 100 texts"),
        ("mute", {"id": A}, "no end given, expected one of until, for_s"),
        ("mute", {"id": A, "for_s": 3, "forever": True}, "for_s and forever given"),
        ("mute", {"id": A, "forever": "yes"}, "forever is 'yes', expected true"),
        ("mute", {"id": A, "for_s": -1}, "for_s is -1, expected seconds above 0"),
        ("mute", {"id": A, "for_s": True}, "for_s is True"),
        ("mute", {"id": A, "for_s": 1e12}, "for_s is 1000000000000.0"),
        ("mute", {"id": A, "for_s": [1]}, "expected one of until"),
        ("mute", {"id": A, "until": "tomorrow"}, "until is 'tomorrow', expected a time"),
        ("mute", {"id": A, "until": "2026-02-01T00:00:00"}, "until is .*expected a time such as"),
        ("mute", {"id": A, "until": "2025-01-01T00:00:00Z"}, "expected a time to come"),
        ("mute", {"id": A, "until": 1e300}, "expected a time to come"),
        ("unmute", {}, "no mute '' is in force"),
        ("unmute", {"mute": ["x"]}, "mute is .*expected a line"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_and_changes_nothing(
    desk: Desk, tmp_path: Path, op: str, request_: dict[str, Any], text: str
) -> None:
    desk.alert()
    with pytest.raises(BusError, match=text):
        desk.ask(op, **request_)
    assert desk.told.events == []
    assert not (tmp_path / "people.json").exists()


def test_a_key_needs_permission_and_its_name_is_noted(desk: Desk) -> None:
    listener = Principal("listener", "K" * 40, frozenset({"publish", "replay"}), ("genre.*",))
    for op in ("ack", "mute", "unmute", "mutes"):
        with pytest.raises(BusError, match="the key of 'listener' may not"):
            desk.ask(op, listener, id=A, forever=True)
    operator = Principal("desk-7", "L" * 40, frozenset({"replay", "control"}))
    assert desk.ask("mute", operator, id=A, forever=True)["mute"]["by"] == "desk-7"
    assert desk.ask("mute", operator, id=B, forever=True, by="ada")["mute"]["by"] == "ada (desk-7)"


def test_there_is_an_end_to_how_much_is_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr("streamcls.service.people.people._MOST_MUTES", 20)
    monkeypatch.setattr("streamcls.service.people.people._MOST_ACKNOWLEDGED", 20)
    monkeypatch.setattr("streamcls.service.people.people._MOST_RECENT", 30)
    for number in range(50):
        desk.alert(str(number))
    with pytest.raises(BusError, match="no alert '19'"):
        desk.ask("ack", id="19")
    for number in range(20, 50):
        desk.ask("ack", id=str(number))
    kept = json.loads((desk.people._path).read_text(encoding="utf-8"))
    assert [entry["alert"] for entry in kept["acknowledged"]] == [str(number) for number in range(30, 50)]
    for _ in range(20):
        desk.ask("mute", id=A, forever=True)
    with pytest.raises(BusError, match="20 mutes are in force"):
        desk.ask("mute", id=A, forever=True)
    desk.now += 91 * 86_400
    desk.people.tick()
    assert json.loads(desk.people._path.read_text(encoding="utf-8"))["acknowledged"] == []


def test_requests_and_events_in_many_threads_lose_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for number in range(40):
        desk.alert(str(number))

    def work(first: int) -> None:
        for number in range(first, 40, 4):
            desk.ask("ack", id=str(number))
            desk.ask("mute", id=str(number), forever=True)
            assert {"muted", "acknowledged"} <= desk.alert(str(number)).keys()

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = Desk(desk.people._path.parent)
    assert len(again.ask("mutes")["mutes"]) == 40
    assert all({"muted", "acknowledged"} <= again.alert(str(number)).keys() for number in range(40))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["id", "labels", "streams", "until", "for_s", "forever", "by", "note", "mute"]


@given(st.sampled_from(["ack", "mute", "unmute", "mutes"]), st.dictionaries(st.sampled_from(KEYS), JSON))
def test_whatever_is_asked_is_done_or_refused(op: str, request_: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        desk = Desk(Path(folder), known=lambda _: True)
        with contextlib.suppress(BusError):
            json.dumps(desk.ask(op, **request_), allow_nan=False)
        desk.alert()
        desk.people.tick()
        again = Desk(Path(folder))
        assert again.ask("mutes") == desk.ask("mutes")
        assert not list(Path(folder).glob("*corrupt*"))


def test_a_planned_silence_marks_by_the_time_at_which_it_sounded(tmp_path: Path) -> None:
    settings = SilenceSettings(name="new-year", begin="00:10", end="00:20", timezone="UTC", labels=("siren",))
    desk = Desk(tmp_path, silence=[settings])
    assert "muted" not in desk.alert()
    expected = {"by": "silence", "name": "new-year", "until": "2026-01-01T00:20:00.000Z", "note": ""}
    assert desk.alert(time=NOW + 700)["muted"] == expected
    assert "muted" not in desk.alert(label="dog", time=NOW + 700)
    assert "muted" not in desk.alert(time=NOW + 1200)
    assert "muted" not in desk.alert(time=1e300), "the bus will refuse such a time"
    desk.now = NOW + 600  # an alert without a time of its own
    assert desk.alert()["muted"] == expected
    assert desk.ask("mutes")["silences"] == [{"name": "new-year", "until": "2026-01-01T00:20:00.000Z"}]


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "Europe", "../etc/passwd", "\0"])
def test_an_unknown_time_zone_is_a_mistake_in_the_configuration(zone: str) -> None:
    with pytest.raises(ValidationError, match=r"unknown here, expected e.g. Europe/"):
        SilenceSettings(name="night", timezone=zone)

"""The subscriber ``jsonl``: lines of JSON that survive rotation and full disks."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
from typing import TYPE_CHECKING

import pytest

from streamcls import SubscriberBusyError
from streamcls.testing import example_envelopes, make_envelope
from streamcls_jsonl import JsonlSubscriber

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVENT = make_envelope("genre.window", {"label": "schlager", "title": "Ännchen von Tharau"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def subscriber(path: Path) -> Iterator[JsonlSubscriber]:
    made = JsonlSubscriber(JsonlSubscriber.Config(path=str(path)))
    yield made
    made.close()


def test_each_line_is_an_event_as_it_is_on_the_wire(subscriber: JsonlSubscriber, path: Path) -> None:
    events = example_envelopes()
    for event in events:
        subscriber.handle(event)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == events


def test_a_line_is_on_its_way_to_the_disk_before_the_next_event(subscriber: JsonlSubscriber, path: Path) -> None:
    subscriber.handle(EVENT)
    assert path.read_bytes().count(b"\n") == 1
    assert "Ännchen" in path.read_text(encoding="utf-8")


def test_what_is_there_already_is_kept(subscriber: JsonlSubscriber, path: Path) -> None:
    path.write_text("earlier\n")
    subscriber.handle(EVENT)
    assert path.read_text(encoding="utf-8").startswith("earlier\n{")


def test_a_file_that_was_moved_away_is_opened_anew(subscriber: JsonlSubscriber, path: Path, tmp_path: Path) -> None:
    subscriber.handle(EVENT)
    path.rename(tmp_path / "events.jsonl.1")
    subscriber.handle(EVENT)
    subscriber.handle(EVENT)
    assert len((tmp_path / "events.jsonl.1").read_text(encoding="utf-8").splitlines()) == 1
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_a_file_that_was_replaced_is_opened_anew(subscriber: JsonlSubscriber, path: Path, tmp_path: Path) -> None:
    subscriber.handle(EVENT)
    path.rename(tmp_path / "old")
    path.write_text("new\n")
    subscriber.handle(EVENT)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_nothing_is_created_before_there_is_an_event(subscriber: JsonlSubscriber, path: Path) -> None:
    subscriber.close()
    assert not path.exists()


def test_after_being_closed_it_opens_again_for_a_late_event(subscriber: JsonlSubscriber, path: Path) -> None:
    subscriber.handle(EVENT)
    subscriber.close()
    subscriber.handle(EVENT)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_a_folder_that_is_gone_is_named_in_the_error(tmp_path: Path) -> None:
    gone = tmp_path / "gone" / "events.jsonl"
    with pytest.raises(SubscriberBusyError, match=r"gone/events\.jsonl: cannot be written: No such file"):
        JsonlSubscriber(JsonlSubscriber.Config(path=str(gone))).handle(EVENT)


@contextlib.contextmanager
def disk_full_after(limit: int) -> Iterator[None]:
    """A disk that is full after so many bytes of a file, as far as this process can tell. Nothing else may write meanwhile."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_line_for_which_there_is_no_room_leaves_no_half(subscriber: JsonlSubscriber, path: Path) -> None:
    line = len(json.dumps(EVENT, ensure_ascii=False, separators=(",", ":")).encode()) + 1
    with disk_full_after(2 * line + line // 2):
        for _ in range(2):
            subscriber.handle(EVENT)
        with pytest.raises(SubscriberBusyError, match="cannot be written"):
            subscriber.handle(EVENT)
    assert path.stat().st_size == 2 * line
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [EVENT] * 2
    subscriber.handle(EVENT)
    assert path.stat().st_size == 3 * line, "when there is room again it goes on"


def test_a_single_dash_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    subscriber = JsonlSubscriber(JsonlSubscriber.Config())
    assert subscriber.preflight(JsonlSubscriber.Config()) == []
    subscriber.handle(EVENT)
    assert json.loads(capsys.readouterr().out) == EVENT


def test_preflight_finds_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    (sentence,) = JsonlSubscriber.preflight(JsonlSubscriber.Config(path=str(tmp_path / "no" / "events.jsonl")))
    assert f"the folder {tmp_path / 'no'} does not exist; create it" in sentence
    assert JsonlSubscriber.preflight(JsonlSubscriber.Config(path=str(tmp_path / "events.jsonl"))) == []


def test_preflight_finds_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The permission is asked of the operating system; root has all, so that its answer is given here."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (sentence,) = JsonlSubscriber.preflight(JsonlSubscriber.Config(path=str(tmp_path / "events.jsonl")))
    assert f"no permission to write in {tmp_path}" in sentence


def test_a_home_folder_may_be_written_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    subscriber = JsonlSubscriber(JsonlSubscriber.Config(path="~/mine.jsonl", sync=True))
    subscriber.handle(EVENT)
    subscriber.close()
    assert (tmp_path / "mine.jsonl").is_file()


def test_the_home_of_an_unknown_user_is_a_folder_that_does_not_exist() -> None:
    problems = JsonlSubscriber.preflight(JsonlSubscriber.Config(path="~nobody-of-this-name/events.jsonl"))
    assert len(problems) == 1
    assert "does not exist" in problems[0]

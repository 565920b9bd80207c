from __future__ import annotations

from typing import Any

import pytest

from streamcls import Event
from streamcls.runtime.board import Board
from streamcls.testing import example_envelopes


def finding(kind: str, identifier: str, phase: str = "opened", stream: str = "fm", **data: Any) -> Event:
    facts = {"id": identifier, "phase": phase, "label": identifier.upper(), "policy": "p", "model": "m"}
    return Event(kind, stream, {**facts, "probability": {"mean": 0.5, "peak": 0.9}, **data})


def test_it_shows_what_is_open() -> None:
    board = Board()
    board.take(finding("genre.segment", "jazz"))
    board.take(finding("moderation.alert", "siren", severity="high", windows=3))
    board.take(finding("signal.alert", "clipping", muted={"by": "me"}, acknowledged={"by": "me"}))
    facts = board.facts()["fm"]
    assert facts["segments"] == [
        {"kind": "genre.segment", "id": "jazz", "label": "JAZZ", "policy": "p", "model": "m", "probability": 0.5}
    ]
    assert [entry["label"] for entry in facts["alerts"]] == ["SIREN", "CLIPPING"]
    assert facts["alerts"][0]["severity"] == "high"
    assert facts["alerts"][1]["muted"] is facts["alerts"][1]["acknowledged"] is True
    board.take(finding("genre.segment", "jazz", "closed"))
    board.take(finding("genre.segment", "rock"))
    assert [entry["label"] for entry in board.facts()["fm"]["segments"]] == ["ROCK"]


def test_a_stream_with_nothing_open_is_forgotten() -> None:
    board = Board()
    board.take(finding("genre.segment", "jazz"))
    board.take(finding("genre.segment", "jazz", "closed"))
    board.take(finding("genre.segment", "pop", "closed", "am"))
    assert board.facts() == {}


def test_it_is_bounded() -> None:
    board = Board(most_streams=3)
    for number in range(100):
        board.take(finding("moderation.alert", f"a{number}"))
        board.take(finding("genre.segment", "x", stream=f"s{number}"))
    facts = board.facts()
    assert len(facts) == 3
    board = Board()
    for number in range(100):
        board.take(finding("moderation.alert", f"a{number}"))
    assert [entry["id"] for entry in board.facts()["fm"]["alerts"]] == [f"a{number}" for number in range(36, 100)]


def test_what_a_daemon_left_open_is_taken_over() -> None:
    board = Board()
    (opened,) = [
        envelope
        for envelope in example_envelopes()
        if envelope["type"] == "streamcls.moderation.alert" and envelope["data"]["phase"] == "opened"
    ][:1]
    board.restore(opened)
    board.restore({"type": "streamcls.moderation.alert", "subject": "x"})
    assert [entry["id"] for entry in board.facts()[opened["subject"]]["alerts"]] == [opened["data"]["id"]]


def test_the_last_event_has_its_age() -> None:
    now = [10.0]
    board = Board(lambda: now[0])
    assert board.last_event() is None
    board.take(Event("genre.window", "fm", {}))
    now[0] = 12.5
    board.take(Event("daemon.heartbeat", "d", {}))
    assert board.last_event() == {"kind": "genre.window", "stream": "fm", "age_s": 2.5}


@pytest.mark.parametrize("data", [{}, {"id": 3}, {"id": None, "phase": "opened"}])
def test_a_strangers_event_that_is_different_is_passed_over(data: dict[str, Any]) -> None:
    board = Board()
    board.take(Event("signal.alert", "fm", data))
    assert board.facts() == {}

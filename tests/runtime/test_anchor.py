from __future__ import annotations

from streamcls.runtime.anchor import Anchor
from streamcls.types import Event

RATE = 1000
NOON = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def _finding(phase: str, first: int = 0, end: int = 500, identifier: str = "x") -> Event:
    return Event(
        "genre.segment", "s", {"id": identifier, "phase": phase, "first_sample": first, "end_sample": end}, sample=end
    )


def test_times_follow_from_the_newest_chunk_that_had_a_clock() -> None:
    anchor = Anchor()
    anchor.set(2000, NOON, RATE)
    assert anchor.time_of(2500) == NOON + 0.5
    assert anchor.time_of(1000) == NOON - 1.0
    assert anchor.time_of(None) is None
    anchor.set(3000, NOON + 60, RATE)
    assert anchor.time_of(3000) == NOON + 60


def test_an_event_gets_the_times_of_its_samples() -> None:
    anchor = Anchor()
    anchor.set(0, NOON, RATE)
    data, time = anchor.stamp(Event("genre.window", "s", {"first_sample": 1000, "end_sample": 4250}, sample=4250))
    assert (data["started_at"], data["ended_at"]) == ("2023-11-14T22:13:21.000Z", "2023-11-14T22:13:24.250Z")
    assert time == NOON + 4.25


def test_without_a_clock_times_are_null_and_samples_stay() -> None:
    data, time = Anchor().stamp(_finding("opened", 100))
    assert (data["first_sample"], data["started_at"], data["ended_at"], time) == (100, None, None, None)


def test_an_event_without_samples_gets_no_times() -> None:
    anchor = Anchor()
    anchor.set(0, NOON, RATE)
    data, time = anchor.stamp(Event("stream.status", "s", {"state": "retrying"}))
    assert data == {"state": "retrying"}
    assert time is None


def test_the_event_itself_is_left_alone() -> None:
    event = _finding("opened")
    Anchor().stamp(event)
    assert "started_at" not in event.data


def test_the_beginning_of_a_finding_keeps_its_time_however_the_clock_drifts() -> None:
    anchor = Anchor()
    anchor.set(0, NOON, RATE)
    opened, _ = anchor.stamp(_finding("opened"))
    anchor.set(1000, NOON + 31, RATE)
    updated, _ = anchor.stamp(_finding("updated", end=1000))
    other, _ = anchor.stamp(_finding("opened", identifier="y"))
    closed, _ = anchor.stamp(_finding("closed", end=2000))
    assert opened["started_at"] == updated["started_at"] == closed["started_at"] == "2023-11-14T22:13:20.000Z"
    assert other["started_at"] == "2023-11-14T22:13:50.000Z"
    assert closed["ended_at"] == "2023-11-14T22:13:52.000Z"
    assert anchor._begun.keys() == {"y"}, "what is over is forgotten"


def test_a_finding_that_began_without_a_clock_stays_without_a_beginning() -> None:
    anchor = Anchor()
    anchor.stamp(_finding("opened"))
    anchor.set(1000, NOON, RATE)
    updated, _ = anchor.stamp(_finding("updated", end=1500))
    assert (updated["started_at"], updated["ended_at"]) == (None, "2023-11-14T22:13:20.500Z")


def test_a_clock_that_goes_away_takes_the_times_with_it() -> None:
    anchor = Anchor()
    anchor.set(0, NOON, RATE)
    anchor.set(1000, None, RATE)
    assert anchor.time_of(1000) is None

from __future__ import annotations

import threading
from typing import Any

import pytest

from streamcls.runtime.resume import Resumption, publish_each
from streamcls.types import Checkpoint, Event


class Units:
    """Keeps the units that were published."""

    def __init__(self) -> None:
        self.units: list[tuple[list[Event], Checkpoint | None]] = []

    def __call__(self, events: Any, checkpoint: Checkpoint | None) -> None:
        self.units.append((list(events), checkpoint))

    @property
    def said(self) -> list[tuple[str, str, Any, Any]]:
        return [
            (e.stream, e.kind, e.data.get("phase", e.data.get("state")), e.data.get("reason"))
            for events, _ in self.units
            for e in events
        ]

    @property
    def checkpoints(self) -> list[Checkpoint]:
        return [checkpoint for _, checkpoint in self.units if checkpoint is not None]


def finding(stream: str, identifier: str = "f1", policy: str = "genre", model: str = "net") -> dict[str, Any]:
    data = {"id": identifier, "phase": "updated", "policy": policy, "model": model, "label": "jazz", "end_sample": 7}
    return {"type": "streamcls.genre.segment", "subject": stream, "data": data, "time": "2026-01-01T00:00:00.000Z"}


def status(stream: str, state: str) -> dict[str, Any]:
    return {"type": "streamcls.stream.status", "subject": stream, "data": {"state": state, "reason": "x"}}


def checkpoint(stream: str, source: str, **more: Any) -> Checkpoint:
    state = {"version": 1, "mark": {"of": stream}, "pipeline": {"furthest": 9, "policies": [1]}, **more}
    return Checkpoint(stream, source, state)


def resumption(units: Units, *checkpoints: Checkpoint, findings: Any = (), states: Any = ()) -> Resumption:
    kept = {one.stream: one for one in checkpoints}
    return Resumption(kept, findings, states, units, resume_s=60.0, clock=lambda: 1_000.0)


LOST = ("closed", "daemon_lost")


def test_what_was_open_on_a_stream_that_does_not_go_on_is_closed_as_it_was() -> None:
    units = Units()
    resumption(
        units, findings=[finding("mic", "a"), finding("mic", "b")], states=[status("mic", "running")]
    ).close_lost(set())
    [(events, forget)] = units.units
    assert forget is None
    assert [event.data for event in events[:2]] == [
        finding("mic", i)["data"] | {"phase": "closed", "reason": "daemon_lost"} for i in ("a", "b")
    ]
    assert events[2].data == {"state": "ended", "reason": "daemon_lost"}
    assert events[2].kind == "stream.status"


@pytest.mark.parametrize("state", ["ended", "failed"])
def test_a_stream_that_was_over_is_not_ended_again(state: str) -> None:
    units = Units()
    resumption(units, states=[status("mic", state)]).close_lost({"tape"})
    assert units.units == []


def test_a_stream_that_goes_on_is_left_alone() -> None:
    units = Units()
    made = resumption(units, checkpoint("t", "tape"), findings=[finding("t")], states=[status("t", "running")])
    assert made.marks("tape") == {"t": {"of": "t"}}
    assert made.reached("tape") == {"t": 9}
    assert made.marks("other") == made.reached("other") == {}
    made.close_lost({"tape"})
    assert units.units == []
    assert made.take("t", "tape") == {"furthest": 9, "policies": [1]}
    assert made.take("t", "tape") is None
    assert made.lost("t", {("genre", "net")}) == []
    made.tick(5_000.0)
    assert units.units == []


def test_the_checkpoint_of_a_source_that_is_gone_is_forgotten_with_what_was_open() -> None:
    units = Units()
    made = resumption(units, checkpoint("t", "tape"), findings=[finding("t")], states=[status("t", "running")])
    made.close_lost({"other"})
    [(events, forget)] = units.units
    assert len(events) == 2
    assert forget == Checkpoint("t", "tape", None)
    assert made.take("t", "tape") is None
    assert made.marks("tape") == {}


@pytest.mark.parametrize(
    "broken", [{"version": 2}, {"mark": None}, {"pipeline": None}, {"pipeline": {}}, {"pipeline": {"furthest": "9"}}]
)
def test_a_checkpoint_that_is_not_understood_is_forgotten(broken: dict[str, Any]) -> None:
    units = Units()
    made = resumption(units, checkpoint("t", "tape", **broken), findings=[finding("t")])
    assert made.marks("tape") == {}
    made.close_lost({"tape"})
    assert units.said == [("t", "genre.segment", *LOST)]
    assert units.checkpoints == [Checkpoint("t", "tape", None)]


def test_only_the_findings_of_policies_that_forgot_are_lost() -> None:
    made = resumption(
        Units(), checkpoint("t", "tape"), findings=[finding("t", "a"), finding("t", "b", "moderation", "net")]
    )
    [event] = made.lost("t", {("genre", "net"), ("moderation", "other")})
    assert event.data["id"] == "b"
    assert made.lost("t") == []


def test_a_finding_that_its_policy_does_not_know_any_more_is_lost() -> None:
    known, unknown = finding("t", "a"), finding("t", "b")
    for one in (known, unknown):
        one["data"]["first_sample"] = 5
    made = resumption(Units(), checkpoint("t", "tape"), findings=[known, unknown])
    [event] = made.lost("t", {("genre", "net")}, {"a": None})
    assert event.data["id"] == "b"


def test_who_does_not_come_in_time_loses_what_was_open_but_not_his_place() -> None:
    units = Units()
    made = resumption(units, checkpoint("t", "tape"), checkpoint("u", "tape"), findings=[finding("t"), finding("u")])
    made.close_lost({"tape"})
    assert made.take("u", "tape") is not None
    made.tick(1_059.0)
    assert units.units == []
    made.tick(1_060.0)
    made.tick(1_061.0)
    assert units.said == [("t", "genre.segment", *LOST)]
    [kept] = units.checkpoints
    assert kept.stream == "t"
    assert kept.state is not None
    assert kept.state["mark"] == {"of": "t"}
    assert kept.state["pipeline"] == {"furthest": 9, "policies": []}
    assert made.take("t", "tape") == {"furthest": 9, "policies": []}


def test_a_stream_that_another_source_delivers_now_does_not_go_on() -> None:
    units = Units()
    made = resumption(units, checkpoint("t", "tape"), findings=[finding("t")])
    made.close_lost({"tape", "other"})
    assert made.take("t", "other") is None
    assert units.said == [("t", "genre.segment", *LOST)]
    assert units.checkpoints == [Checkpoint("t", "tape", None)]


def test_workers_that_ask_at_once_get_a_state_once() -> None:
    made = resumption(Units(), *(checkpoint(f"s{n}", "tape") for n in range(200)))
    got: list[str] = []

    def ask() -> None:
        got.extend(f"s{n}" for n in range(200) if made.take(f"s{n}", "tape") is not None)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(f"s{n}" for n in range(200))


def test_without_a_journal_events_are_published_one_by_one() -> None:
    said: list[Event] = []
    events = [Event("a.b", "s", {}), Event("a.c", "s", {})]
    publish_each(said.append)(events, checkpoint("s", "tape"))
    assert said == events

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from streamcls.bus.client import (
    Evidence,
    GenreSegment,
    GenreWindow,
    Heartbeat,
    ModerationAlert,
    ModerationWindow,
    OtherEvent,
    Reload,
    StreamStatusEvent,
    typed,
)
from streamcls.testing import example_envelopes

CLASSES = {
    "genre.window": GenreWindow,
    "genre.segment": GenreSegment,
    "moderation.window": ModerationWindow,
    "moderation.alert": ModerationAlert,
    "moderation.evidence": Evidence,
    "stream.status": StreamStatusEvent,
    "daemon.heartbeat": Heartbeat,
    "daemon.reload": Reload,
}


def example(kind: str) -> dict[str, Any]:
    return copy.deepcopy(next(e for e in example_envelopes() if e["type"] == f"streamcls.{kind}"))


def test_every_example_becomes_a_value_of_its_kinds_class() -> None:
    seen = set()
    for envelope in example_envelopes():
        kind = envelope["type"].removeprefix("streamcls.")
        event = typed(envelope)
        assert type(event) is CLASSES.get(kind, OtherEvent)
        assert event.envelope is envelope
        seen.add(kind)
    assert seen >= set(CLASSES)


def test_times_are_datetimes_and_members_have_their_types() -> None:
    envelope = example("moderation.alert")
    envelope["time"] = "2026-01-31T12:00:00.250Z"
    envelope["data"]["started_at"] = None
    event = typed(envelope)
    assert isinstance(event, ModerationAlert)
    assert event.time == datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
    assert event.started_at is None
    assert (event.stream, event.id, event.phase) == (
        envelope["subject"],
        envelope["data"]["id"],
        envelope["data"]["phase"],
    )
    assert event.taxonomy == tuple(envelope["data"]["taxonomy"])
    with pytest.raises(TypeError):
        event.probability["peak"] = 1.0  # type: ignore[index]


def test_members_that_are_not_known_are_left_in_the_envelope() -> None:
    envelope = example("genre.window")
    envelope["data"]["later"] = 7
    event = typed(envelope)
    assert isinstance(event, GenreWindow)
    assert event.envelope["data"]["later"] == 7


@pytest.mark.parametrize(
    ("kind", "member", "value"),
    [
        ("genre.window", "first_sample", "0"),
        ("genre.window", "first_sample", True),
        ("genre.window", "probability", {"peak": 1}),
        ("genre.window", "posterior", [1]),
        ("genre.window", "started_at", "yesterday"),
        ("moderation.window", "labels", "siren"),
        ("moderation.window", "labels", [1]),
        ("moderation.alert", "probability", 0.5),
        ("moderation.alert", "phase", "over"),
        ("stream.status", "state", 3),
        ("daemon.heartbeat", "positions", {"a.b/x": "1"}),
        ("genre.segment", "label", None),
    ],
)
def test_what_does_not_fit_is_another_event(kind: str, member: str, value: object) -> None:
    envelope = example(kind)
    assert not isinstance(typed(envelope), OtherEvent)
    envelope["data"][member] = value
    assert typed(envelope) == OtherEvent(envelope)


@pytest.mark.parametrize("envelope", [{}, {"type": 3}, {"type": "streamcls.genre.window"}, {"type": "other.kind"}])
def test_what_is_no_event_at_all_raises_nothing(envelope: dict[str, Any]) -> None:
    assert typed(envelope) == OtherEvent(envelope)

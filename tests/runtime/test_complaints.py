"""A log that is told the same trouble again and again stays readable."""

from __future__ import annotations

from streamcls.runtime.complaints import Complaints


def test_the_first_is_said_at_once_and_later_ones_are_counted_and_the_end_is_told() -> None:
    said: list[str] = []
    now = [100.0]
    complaints = Complaints(said.append, clock=lambda: now[0])
    for _ in range(50):
        complaints.complain("the disk is full")
        now[0] += 0.3
    assert said == ["the disk is full", "the disk is full (and 33 more like it since the last line)"]
    complaints.recovered("it works again")
    complaints.recovered("it works again")
    assert said[2:] == ["it works again (15 more had failed)"]
    complaints.complain("the disk is full")
    assert said[-1] == "the disk is full"

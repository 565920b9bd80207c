from __future__ import annotations

from dataclasses import replace

from opinions import context

from streamcls.decision import Finding, finding_id


def _finding() -> Finding:
    return Finding(context(["rock"]), "genre.segment", "rock", 1000, 1000, 500, extra={"cause": "test"})


def test_an_id_depends_on_what_the_finding_is_and_where_it_begins() -> None:
    here = context(["rock"])
    base = finding_id(here, "rock", 1000)
    assert len(base) == 32
    assert base == finding_id(context(["rock"]), "rock", 1000)
    others = [
        finding_id(here, "jazz", 1000),
        finding_id(here, "rock", 1001),
        finding_id(replace(here, stream="other"), "rock", 1000),
        finding_id(replace(here, policy="other"), "rock", 1000),
        finding_id(replace(here, origin="epoch"), "rock", 1000),
        finding_id(replace(here, model=replace(here.model, name="other")), "rock", 1000),
        finding_id(replace(here, model=replace(here.model, digest="other")), "rock", 1000),
    ]
    assert len({base, *others}) == 8


def test_fields_do_not_run_into_each_other() -> None:
    here = context(["rock"])
    assert finding_id(replace(here, stream="ab", policy="c"), "rock", 1) != finding_id(
        replace(here, stream="a", policy="bc"), "rock", 1
    )


def test_a_finding_counts_its_windows_and_never_shrinks() -> None:
    finding = _finding()
    assert finding.mean == 0.0
    finding.extend(2000, 0.25)
    finding.extend(1500, 0.75)
    assert (finding.end_sample, finding.windows, finding.mean, finding.peak) == (2000, 2, 0.5, 0.75)


def test_an_event_says_all_of_it_and_notes_when_it_was_said() -> None:
    finding = _finding()
    finding.extend(2234, 0.123456)
    event = finding.event("closed", 3000, "changed")
    assert (event.kind, event.stream, event.sample, finding.announced_at) == ("genre.segment", "radio", 3000, 3000)
    assert event.data == {
        "id": finding.id,
        "phase": "closed",
        "policy": "rules",
        "model": "net",
        "model_version": "7",
        "label": "rock",
        "first_sample": 1000,
        "end_sample": 2234,
        "sample_rate": 500,
        "duration_s": 2.468,
        "windows": 1,
        "probability": {"mean": 0.1235, "peak": 0.1235},
        "cause": "test",
        "reason": "changed",
    }
    assert "reason" not in finding.event("opened", 3000).data

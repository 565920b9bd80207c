"""The pure parts of the soak test: slopes with intervals, counts of rotations and audio, what is expected of a reload, what is missing."""

from __future__ import annotations

import json
import os
import random
import sys
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "soak"))

from fill import filled
from soaking import procfs
from soaking.changes import bad_file, changes, next_change, unexpected
from soaking.configuration import Knobs, Places, rendered
from soaking.consumer import fact_of
from soaking.figures import memory_of
from soaking.options import connections_of
from soaking.rotation import Rotations
from soaking.sampler import COLUMNS, AudioTally, facts_of
from soaking.slope import fitted_slope, steps
from soaking.verdict import compare_findings, holes, jsonl_alerts, pairing, received

from streamcls.config import parse_config

PLACES = Places(Path("/run/soak"), Path("/models"), 1, 2, 3, 4, 5, "http://127.0.0.1:6/", 3, 4)


def test_a_straight_line_has_its_slope_and_no_doubt():
    slope = fitted_slope(range(20), [3.0 * x + 7 for x in range(20)])
    assert slope.per_unit == pytest.approx(3.0)
    assert slope.low == pytest.approx(3.0)
    assert slope.high == pytest.approx(3.0)


def test_neighbours_that_resemble_each_other_widen_the_interval():
    generator = np.random.default_rng(3)
    x = np.arange(400.0)
    white = generator.standard_normal(400)
    drifting = np.convolve(generator.standard_normal(460), np.ones(60) / 60**0.5, "valid")[:400]
    narrow, wide = fitted_slope(x, white), fitted_slope(x, drifting)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_the_interval_covers_the_true_slope_about_as_often_as_it_says():
    generator = np.random.default_rng(5)
    x = np.arange(360.0)
    covered = 0
    for _ in range(60):
        noise = np.convolve(generator.standard_normal(371), np.ones(12) / 12**0.5, "valid")
        slope = fitted_slope(x, 0.01 * x + noise)
        covered += slope.low <= 0.01 <= slope.high
    assert covered >= 50


def test_a_slope_in_another_unit_scales_with_its_interval():
    slope = fitted_slope(range(20), [2.0 * x + (x % 3) for x in range(20)])
    hourly = slope.times(3600)
    assert hourly.per_unit == pytest.approx(3600 * slope.per_unit)
    assert hourly.high - hourly.low == pytest.approx(3600 * (slope.high - slope.low))
    assert json.loads(json.dumps(hourly.facts()))["samples"] == 20


@pytest.mark.parametrize(("x", "y"), [(range(5), range(5)), (range(20), range(19)), ([1.0] * 20, range(20))])
def test_too_few_samples_or_none_that_differ_have_no_slope(x, y):
    with pytest.raises(ValueError, match=r"samples"):
        fitted_slope(list(x), list(y))


def test_steps_compare_the_quiet_stretches_by_their_medians():
    found = steps([80, 81, 80], [90, 120], [82, 82, 95])
    assert (found.first, found.last, found.most, found.growth) == (80, 82, 120, 2)
    with pytest.raises(ValueError, match="no samples"):
        steps([], [1], [2])


def test_the_kernels_lines_are_read():
    status = "Name:\tpython\nVmRSS:\t  1234 kB\nThreads:\t17\nSigQ:\t0/95\n"
    assert procfs.fields_of(status) == {"VmRSS": 1234, "Threads": 17}
    assert procfs.ticks_of("7 (a) b) S 1 7 7 0 -1 4 0 0 0 0 250 50 0 0 20") == 300


def test_this_process_has_memory_files_and_threads():
    memory, shares = procfs.memory_kb(os.getpid()), procfs.shares_kb(os.getpid())
    assert memory["rss"] >= memory["anonymous"] > 0
    assert 0 < shares["uss"] <= shares["pss"]
    assert memory["threads"] >= 1
    assert procfs.open_files(os.getpid()) >= 3
    assert procfs.cpu_seconds(os.getpid()) > 0


def test_a_rotation_is_over_when_nothing_is_left_of_what_there_was():
    rotations = Rotations()
    rotations.note(1, 0)  # an empty journal
    for first, position, count in [
        (1, 100, 0),
        (50, 150, 0),
        (100, 200, 0),
        (101, 220, 1),
        (220, 300, 1),
        (221, 340, 2),
    ]:
        rotations.note(first, position)
        assert rotations.count == count
    assert rotations.dropped == 220


def test_audio_adds_up_over_streams_that_begin_anew_and_end():
    tally = AudioTally()
    for streams in ({"a": 10.0}, {"a": 15.0, "b": 2.0}, {"a": 1.0}, {"a": 4.0, "b": 3.0}):
        tally.note({name: {"audio_s": value} for name, value in streams.items()})
    assert tally.seconds == 10 + 5 + 2 + 1 + 3 + 3


def test_a_status_of_another_version_leaves_columns_out():
    assert facts_of({}) == {"streams": 0, "dropped_samples": 0, "waiting_s": 0.0, "wrong": 0}
    facts = facts_of({"streams": {"a": {"dropped_samples": 3, "waiting_s": 1.5}}, "journal": {"bytes": 5, "first": 1}})
    assert facts["dropped_samples"] == 3
    assert facts["journal_bytes"] == 5
    assert set(facts) <= set(COLUMNS)


def test_every_change_makes_another_configuration_and_can_be_turned_back():
    text = rendered(PLACES, Knobs())
    before = tomllib.loads(text)
    for change in changes(Knobs()):
        once = change.turn(Knobs())
        assert tomllib.loads(rendered(PLACES, once)) != before, change.what
        twice = next(c for c in changes(once) if c.what == change.what).turn(once)
        assert replace(twice, round=0) == Knobs(), change.what


def test_changes_come_in_turn():
    generator, done, knobs = random.Random(1), Counter(), Knobs()
    for _ in range(60):
        change = next_change(knobs, generator, done)
        done[change.what] += 1
        knobs = change.turn(knobs)
    assert len(done) == len(changes(Knobs()))
    assert min(done.values()) >= 2


def test_every_bad_file_differs_from_the_good_one():
    good = rendered(PLACES, Knobs())
    found = {bad_file(PLACES, Knobs(), number)[0] for number in range(8)}
    assert len(found) == 8
    assert all(bad_file(PLACES, Knobs(), number)[1] != good for number in range(8))


def test_a_reload_that_touches_another_stream_or_says_nothing_is_noticed():
    change = next(change for change in changes(Knobs()) if change.what == "a threshold")
    report = {"state": "applied", "streams": {"changed": ["loose-1", "loose-2"], "ended": []}}
    assert unexpected(change, report) == []
    assert len(unexpected(change, {"state": "refused", "reason": "no"})) == 1
    assert len(unexpected(change, {"state": "applied", "streams": {"changed": [], "ended": []}})) == 1
    touched = {"state": "applied", "streams": {"changed": ["loose-1", "steady-0"], "ended": ["plain-3"]}}
    assert unexpected(change, touched) == [
        "a threshold: stream steady-0 was touched",
        "a threshold: stream plain-3 was touched",
    ]


def test_a_source_that_is_not_named_as_added_is_noticed():
    change = next(change for change in changes(Knobs()) if change.what == "a file source")
    assert change.part == ("sources", "added")
    assert unexpected(change, {"state": "applied", "sources": {"added": ["extra"]}, "streams": {}}) == []
    assert len(unexpected(change, {"state": "applied", "sources": {"added": ["other"]}, "streams": {}})) == 1


@pytest.mark.parametrize("streams", [30, 60, 200])
def test_streams_are_spread_over_senders_each_name_once(streams):
    connections = connections_of(streams)
    names = [lane.name for connection in connections for lane in connection]
    assert len(names) == len(set(names))
    assert len(names) == max(streams, 22)
    assert all(lane.name.startswith("steady-") for lane in connections[0])
    assert all(lane.name.startswith("rough-") for lane in connections[-1])
    assert all(connections)


def event(position, phase, identifier="a", kind="moderation.alert", stream="steady-0", **more):
    data = {"id": identifier, "phase": phase, "end_sample": 10 * position, **more}
    return {
        "id": f"e{position}",
        "type": f"streamcls.{kind}",
        "subject": stream,
        "position": str(position),
        "data": data,
    }


def test_holes_between_positions_are_found():
    assert holes([5, 1, 2, 2, 8]) == [(3, 4), (6, 7)]
    assert holes([]) == holes([4]) == holes([4, 5]) == []


def test_phases_that_do_not_follow_each_other_are_found():
    good = [event(1, "opened"), event(2, "updated"), event(3, "closed"), event(4, "opened"), event(5, "closed")]
    assert pairing(reversed(good)) == {"unopened": [], "twice": [], "left": []}
    bad = pairing([event(1, "closed"), event(2, "opened", "b"), event(3, "opened", "b"), event(4, "updated", "c")])
    assert bad == {
        "unopened": ["steady-0 a closed", "steady-0 c updated"],
        "twice": ["steady-0 b"],
        "left": ["steady-0 b"],
    }


def test_findings_are_held_against_the_truth_without_the_clock():
    truth = {"steady-0": [event(1, "opened")["data"], event(2, "closed", probability=0.5)["data"]]}
    same = [event(1, "opened", started_at="2026-01-01T00:00:00Z"), event(2, "closed", probability=0.5)]
    assert compare_findings(truth, same) == {"missing": [], "untrue": [], "different": []}
    found = compare_findings(
        truth, [event(2, "closed", probability=0.6), event(3, "opened", "b"), event(9, "opened", "c", stream="rule-1")]
    )
    assert {name: len(those) for name, those in found.items()} == {"missing": 1, "untrue": 1, "different": 1}


def test_what_a_killed_consumer_noted_twice_or_half_counts_once(tmp_path):
    lines = [
        json.dumps(event(1, "opened")),
        json.dumps(event(2, "closed")),
        json.dumps(event(2, "closed")),
        '{"id": "e3", "ty',
    ]
    lines.append(json.dumps({"loss": "older than the journal", "topic": None, "count": 3}))
    path = tmp_path / "received.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    events, losses = received(path)
    assert [one["id"] for one in events] == ["e1", "e2"]
    assert [one["count"] for one in losses] == [3]


def test_lines_of_alerts_are_counted_by_phase_without_updates(tmp_path):
    path = tmp_path / "events.jsonl"
    told = [event(1, "opened"), event(2, "updated"), event(3, "closed"), event(3, "closed")]
    path.write_text("".join(json.dumps(one) + "\n" for one in told), encoding="utf-8")
    assert jsonl_alerts(path) == {("a", "opened"): 1, ("a", "closed"): 2}


def test_of_streams_whose_truth_is_known_everything_is_noted():
    envelope = event(1, "opened", probability=0.5) | {"specversion": "1.0"}
    assert fact_of(envelope, whole=True)["data"]["probability"] == 0.5
    assert "probability" not in fact_of(envelope, whole=False)["data"]
    assert "specversion" not in fact_of(envelope, whole=True)


def test_every_configuration_of_a_run_is_understood():
    assert parse_config(rendered(PLACES, Knobs()), "soak.toml")
    for change in changes(Knobs()):
        assert parse_config(rendered(PLACES, change.turn(Knobs())), "soak.toml")


def test_some_streams_may_be_without_a_model():
    names = [lane.name for connection in connections_of(100, 0.3) for lane in connection]
    assert len(names) == 100
    assert sum(name.startswith("bare-") for name in names) == 30


def test_memory_is_judged_by_the_second_half_of_the_unrest():
    rows = [{"t_s": 5.0 * n, "phase": "before", "rss_kb": 100_000, "reloads": 0} for n in range(10)]
    rows += [{"t_s": 50 + 5.0 * n, "phase": "unrest", "rss_kb": 100_000 + 50 * n, "reloads": n} for n in range(60)]
    found = memory_of(rows)
    assert found["second_half_from_s"] == 50 + 5 * 29.5
    assert found["slope_kb_per_hour"].per_unit == pytest.approx(36_000)
    assert found["kb_per_reload"].per_unit == pytest.approx(50)
    assert memory_of(rows[:10])["slope_kb_per_hour"] is None


def test_places_in_the_page_are_filled_and_those_without_a_word_named():
    text, unknown = filled("ran @SECONDS@ s, @TRIM@, a@b.c", {"SECONDS": "3600"})
    assert text == "ran 3600 s, @TRIM@, a@b.c"
    assert unknown == ["TRIM"]

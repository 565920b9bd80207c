from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opinions import RATE, WINDOW_S, check_lives, context, of, posterior
from pydantic import ValidationError

from streamcls.interfaces import Policy
from streamcls.types import Event, Levels
from streamcls_moderation import register_policies
from streamcls_moderation.config import DEFAULT_RULES, ModerationConfig, Rule
from streamcls_moderation.policy import ModerationPolicy

LABELS = ("siren", "gun_shot", "rain")


def _policy(
    stride_s: float = 1.0, *, labels: dict | None = None, thresholds: dict | None = None, **keys: object
) -> ModerationPolicy:
    rules = {"siren": {"enter": 0.6, "leave": 0.3, "k": 2, "n": 3, "cool_down_s": 2.0}} if labels is None else labels
    config = ModerationConfig.model_validate({"window_events": False, "labels": rules, **keys})
    where = context(
        LABELS,
        stride_s,
        task="moderation",
        exclusive=False,
        taxonomy={"siren": "audioset:/m/03kmc9"},
        thresholds=thresholds or {},
    )
    return ModerationPolicy(config, where)


def _play(
    policy: ModerationPolicy, sirens: list[float], begin_s: float = 0.0, level_dbfs: float = -20.0
) -> list[Event]:
    """Return the events of windows a second apart, the first ending three seconds after the beginning."""
    events = []
    for i, value in enumerate(sirens):
        events += policy.update(posterior(LABELS, [value, 0.0, 0.0], begin_s + WINDOW_S + i, level_dbfs))
    return events


def _phases(events: list[Event]) -> list[tuple[str, str]]:
    return [(data["phase"], data["label"]) for data in of(events, "moderation.alert")]


def test_the_plugin_offers_a_policy() -> None:
    assert register_policies() == [ModerationPolicy]
    assert isinstance(_policy(), Policy)


def test_it_listens_to_moderation_models_or_to_those_it_names() -> None:
    moderation, genre = (context(LABELS, task=task).model for task in ("moderation", "genre"))
    assert ModerationPolicy.accepts(ModerationConfig(), moderation)
    assert not ModerationPolicy.accepts(ModerationConfig(), genre)
    assert ModerationPolicy.accepts(ModerationConfig(models=("net",)), genre)
    assert not ModerationPolicy.accepts(ModerationConfig(models=("other",)), moderation)


@pytest.mark.parametrize(
    ("values", "opens_at"),
    [
        ([0.6, 0.6], 1),
        ([0.6, 0.0, 0.6], 2),
        ([0.6, 0.0, 0.0, 0.6], None),
        ([0.6, 0.0, 0.0, 0.6, 0.6], 4),
        ([0.59, 0.59, 0.59], None),
        ([1.0], None),
    ],
)
def test_an_alert_opens_when_k_of_the_last_n_windows_speak_for_it(values: list[float], opens_at: int | None) -> None:
    events = _play(_policy(), values)
    assert _phases(events) == ([("opened", "siren")] if opens_at is not None else [])
    if opens_at is not None:
        assert events[0].sample == 3000 + opens_at * 1000


def test_an_alert_begins_with_the_first_window_that_spoke_and_counts_those_that_did() -> None:
    (opened,) = of(_play(_policy(), [0.0, 0.7, 0.1, 0.9]), "moderation.alert")
    assert (opened["first_sample"], opened["end_sample"], opened["windows"]) == (1000, 6000, 2)
    assert opened["probability"] == {"mean": 0.8, "peak": 0.9}


def test_a_lone_window_long_before_is_no_part_of_the_alert() -> None:
    (opened,) = of(_play(_policy(), [0.9, 0.0, 0.0, 0.0, 0.7, 0.7]), "moderation.alert")
    assert (opened["first_sample"], opened["windows"]) == (4000, 2)


@pytest.mark.parametrize(("min_duration_s", "windows"), [(0, 2), (4, 2), (4.5, 3), (6, 4)])
def test_an_alert_must_span_its_minimum_duration(min_duration_s: float, windows: int) -> None:
    rule = {"siren": {"enter": 0.6, "k": 2, "n": 3, "min_duration_s": min_duration_s}}
    events = _play(_policy(labels=rule), [0.9] * 8)
    assert _phases(events) == [("opened", "siren")]
    assert of(events, "moderation.alert")[0]["windows"] == windows


def test_what_does_not_last_is_forgotten() -> None:
    rule = {"siren": {"enter": 0.6, "k": 1, "n": 1, "min_duration_s": 5}}
    assert _play(_policy(labels=rule), [0.9, 0.9, 0.0, 0.9, 0.9, 0.0]) == []


def test_an_open_alert_lasts_from_leave_upwards_and_closes_after_its_cool_down() -> None:
    events = _play(_policy(), [0.9, 0.9, 0.3, 0.3, 0.29, 0.29, 0.29])
    assert _phases(events) == [("opened", "siren"), ("closed", "siren")]
    closed = of(events, "moderation.alert")[1]
    assert (closed["reason"], closed["end_sample"], closed["windows"]) == ("over", 6000, 4)
    assert events[1].sample == 8000


def test_a_pause_shorter_than_the_cool_down_does_not_close_it() -> None:
    events = _play(_policy(), [0.9, 0.9, 0.0, 0.9, 0.0, 0.9])
    assert _phases(events) == [("opened", "siren")]


def test_after_closing_it_takes_k_of_n_anew_and_a_new_id() -> None:
    events = _play(_policy(), [0.9] * 2 + [0.0] * 3 + [0.9] * 2)
    assert _phases(events) == [("opened", "siren"), ("closed", "siren"), ("opened", "siren")]
    first, _, second = of(events, "moderation.alert")
    assert first["id"] != second["id"]
    assert _phases(_play(_policy(), [0.9] * 2 + [0.0] * 2 + [0.9])) == [("opened", "siren"), ("closed", "siren")]


@pytest.mark.parametrize("update_s", [2.0, 5.0])
def test_an_open_alert_is_reported_again_in_its_interval(update_s: float) -> None:
    events = _play(_policy(update_s=update_s), [0.9] * 20)
    assert {data["phase"] for data in of(events[1:], "moderation.alert")} == {"updated"}
    samples = [event.sample for event in events]
    assert all(b - a == update_s * RATE for a, b in pairwise(samples))


def test_several_alerts_are_open_at_once_and_each_has_its_own_life() -> None:
    rules = {
        "siren": {"enter": 0.6, "k": 1, "n": 1, "cool_down_s": 1},
        "gun_shot": {"enter": 0.5, "k": 1, "n": 1, "cool_down_s": 3},
    }
    policy, events = _policy(labels=rules), []
    for i, values in enumerate([[0.9, 0.9, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]):
        events += policy.update(posterior(LABELS, values, WINDOW_S + i))
    assert _phases(events) == [("opened", "siren"), ("opened", "gun_shot"), ("closed", "siren"), ("closed", "gun_shot")]
    assert [event.sample for event in events] == [3000, 3000, 4000, 6000]
    check_lives(events, "moderation.alert")


def test_an_alert_states_severity_action_taxonomy_hashes_and_thresholds() -> None:
    rule = {
        "siren": {
            "enter": 0.7,
            "leave": 0.2,
            "k": 1,
            "n": 2,
            "severity": "critical",
            "action": "block",
            "min_duration_s": 1.0,
        }
    }
    (opened,) = of(_play(_policy(labels=rule), [0.9]), "moderation.alert")
    assert {
        name: opened[name]
        for name in ("severity", "action", "taxonomy", "model_sha256", "front_end_sha256", "thresholds")
    } == {
        "severity": "critical",
        "action": "block",
        "taxonomy": ["audioset:/m/03kmc9"],
        "model_sha256": "model-hash",
        "front_end_sha256": "front-hash",
        "thresholds": {"enter": 0.7, "leave": 0.2, "k": 1, "n": 2, "min_duration_s": 1.0, "cool_down_s": 5.0},
    }


@pytest.mark.parametrize(
    ("rule", "thresholds", "enter", "leave"),
    [
        ({}, {}, 0.6, 0.36),
        ({}, {"siren": 0.8}, 0.8, 0.48),
        ({"enter": 0.7}, {"siren": 0.8}, 0.7, 0.42),
        ({"leave": 0.1}, {"siren": 0.8}, 0.8, 0.1),
        ({"leave": 0.5}, {"siren": 0.3}, 0.3, 0.3),
        ({"enter": 0.5, "leave": 0.5}, {}, 0.5, 0.5),
        ({}, {"gun_shot": 0.1}, 0.6, 0.36),
    ],
)
def test_thresholds_come_from_the_configuration_then_the_bundle_then_the_default(
    rule: dict, thresholds: dict, enter: float, leave: float
) -> None:
    policy = _policy(labels={"siren": {"k": 1, "n": 1, **rule}}, thresholds=thresholds)
    assert _play(policy, [enter - 0.01]) == []
    (opened,) = of(_play(policy, [enter + 1e-6], begin_s=1), "moderation.alert")
    assert (opened["thresholds"]["enter"], opened["thresholds"]["leave"]) == (enter, leave)


def test_built_in_rules_hold_for_the_labels_that_the_model_has() -> None:
    policy = ModerationPolicy(
        ModerationConfig(window_events=False), context(("siren", "rain"), task="moderation", exclusive=False)
    )
    events = []
    for i in range(4):
        events += policy.update(posterior(("siren", "rain"), [0.9, 0.9], WINDOW_S + i))
    assert _phases(events) == [("opened", "siren")]
    assert events[0].data["thresholds"]["k"] == DEFAULT_RULES["siren"].k
    assert _play(_policy(labels={}), [1.0] * 5) == []


def test_a_rule_for_a_label_that_the_model_lacks_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match="labels names 'scream', which net does not put out; it has siren, gun_shot, rain"
    ):
        _policy(labels={"scream": {}})
    with pytest.raises(ValueError, match="map names 'horn'"):
        _policy(map={"horn": "siren"})


def test_mapped_labels_take_the_maximum_and_all_their_taxonomy_ids() -> None:
    config = ModerationConfig.model_validate(
        {
            "map": {"siren": "alarm", "gun_shot": "alarm"},
            "labels": {"alarm": {"enter": 0.6, "k": 1, "n": 1}},
            "window_events": False,
        }
    )
    where = context(
        LABELS, task="moderation", exclusive=False, taxonomy={"siren": "a:1", "gun_shot": "a:2", "rain": "a:3"}
    )
    (opened,) = of(ModerationPolicy(config, where).update(posterior(LABELS, [0.3, 0.7, 0.9], 3)), "moderation.alert")
    assert (opened["label"], opened["probability"]["peak"], opened["taxonomy"]) == ("alarm", 0.7, ["a:1", "a:2"])


def test_silence_speaks_for_nothing() -> None:
    policy = _policy(window_events=True)
    events = _play(policy, [0.9] * 4, level_dbfs=-70.1)
    assert _phases(events) == []
    assert of(events, "moderation.window")[0]["labels"] == []
    assert _phases(_play(_policy(), [0.9] * 2, level_dbfs=-70.0)) == [("opened", "siren")]


def test_a_window_event_says_what_the_window_is() -> None:
    (event,) = _policy(window_events=True).update(posterior(LABELS, [0.6, 0.2, 0.9], 5.5, level_dbfs=-23.456))
    assert (event.kind, event.stream, event.sample) == ("moderation.window", "radio", 5500)
    assert event.data == {
        "policy": "rules",
        "model": "net",
        "model_version": "7",
        "first_sample": 2500,
        "end_sample": 5500,
        "sample_rate": RATE,
        "labels": ["siren"],
        "posterior": {"siren": 0.6, "gun_shot": 0.2, "rain": 0.9},
        "level_dbfs": -23.5,
    }


def test_window_events_can_be_turned_off() -> None:
    assert of(_play(_policy(window_events=False), [0.9] * 5), "moderation.window") == []


@pytest.mark.parametrize(("hole_s", "bridged"), [(1.9, True), (2.0, True), (2.1, False), (100.0, False)])
def test_a_gap_is_bridged_up_to_its_limit(hole_s: float, bridged: bool) -> None:
    policy = _policy(bridge_gap_s=2)
    _play(policy, [0.9] * 2)
    events = policy.gap(4500, 4500 + round(hole_s * RATE))
    if bridged:
        assert events == []
        assert _play(policy, [0.9] * 2, begin_s=4.5 + hole_s) == [], "the same alert goes on"
    else:
        assert [(d["phase"], d["reason"], d["end_sample"]) for d in of(events, "moderation.alert")] == [
            ("closed", "gap", 4000)
        ]
        assert events[0].sample == 4500
        assert policy.close(99_000, "end") == []


def test_gaps_that_leave_no_window_whole_close_the_alert_in_the_end() -> None:
    policy = _policy(bridge_gap_s=2)
    _play(policy, [0.9] * 2)
    events, at = [], 5000
    for _ in range(10):
        events += policy.gap(at, at + 500)
        at += 2500
    assert [(d["phase"], d["reason"]) for d in of(events, "moderation.alert")] == [("closed", "gap")]


def test_a_gap_forgets_the_votes() -> None:
    policy = _policy()
    _play(policy, [0.9])
    assert policy.gap(3500, 3600) == []
    assert _play(policy, [0.9], begin_s=3.6) == []
    assert _phases(_play(policy, [0.9], begin_s=4.6)) == [("opened", "siren")]


def test_closing_closes_what_is_open_once() -> None:
    policy = _policy()
    _play(policy, [0.9] * 2)
    events = policy.close(4444, "shutdown")
    assert [(d["phase"], d["reason"]) for d in of(events, "moderation.alert")] == [("closed", "shutdown")]
    assert policy.close(4444, "shutdown") == []


def test_levels_are_none_of_its_business() -> None:
    assert _policy().update(Levels("radio", 0, 1000, RATE, (-3.0,), (-6.0,))) == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"enter": 0.4, "leave": 0.5}, r"leave is 0\.5, expected at most enter \(0\.4\)"),
        ({"k": 4, "n": 3}, r"k is 4, expected at most n \(3\)"),
        ({"enter": 1.5}, "enter"),
        ({"severity": "grave"}, "severity"),
        ({"action": "delete"}, "action"),
        ({"cool_down_s": -1}, "cool_down_s"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_rule_is_refused(keys: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Rule.model_validate(keys)


VALUES = st.lists(st.sampled_from([0.0, 0.25, 0.45, 0.7, 1.0]), min_size=3, max_size=3)
STEP = st.one_of(st.tuples(st.just("window"), VALUES), st.tuples(st.just("gap"), st.sampled_from([0.2, 2.0, 3.0])))


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(STEP, max_size=60),
    votes=st.tuples(st.integers(1, 3), st.integers(0, 2)),
    spans=st.tuples(st.sampled_from([0, 4, 6]), st.sampled_from([0, 2, 5])),
    stride_s=st.sampled_from([0.5, 1.0, 4.0]),
    bundle=st.dictionaries(st.sampled_from(LABELS), st.floats(0, 1)),
)
def test_alerts_obey_their_laws_whatever_is_heard(
    steps: list, votes: tuple[int, int], spans: tuple[int, int], stride_s: float, bundle: dict
) -> None:
    (k, more), (min_duration_s, cool_down_s) = votes, spans
    rule = {"k": k, "n": k + more, "min_duration_s": min_duration_s, "cool_down_s": cool_down_s, "leave": 0.4}
    policy = _policy(stride_s, labels=dict.fromkeys(LABELS, rule), thresholds=bundle, update_s=2)
    events: list[Event] = []
    now = WINDOW_S
    for what, value in steps:
        if what == "gap":
            events += policy.gap(round((now + 0.1) * RATE), round((now + 0.1 + value) * RATE))
            now += 0.1 + value + WINDOW_S
        else:
            events += policy.update(posterior(LABELS, value, now))
            now += stride_s
    events += policy.close(round(now * RATE), "end")
    check_lives(events, "moderation.alert")
    open_now: dict[str, str] = {}
    for data in of(events, "moderation.alert"):
        assert data["thresholds"]["leave"] <= data["thresholds"]["enter"]
        if data["phase"] == "opened":
            assert data["label"] not in open_now
            assert data["duration_s"] >= min_duration_s
            assert data["windows"] >= k
            assert data["probability"]["peak"] >= round(data["thresholds"]["enter"], 4) - 1e-4
            open_now[data["label"]] = data["id"]
        assert open_now[data["label"]] == data["id"]
        if data["phase"] == "closed":
            del open_now[data["label"]]
    assert not open_now

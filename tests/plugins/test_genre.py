from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opinions import RATE, WINDOW_S, check_lives, context, of, posterior
from pydantic import ValidationError

from streamcls.interfaces import Policy
from streamcls.types import Event, Levels
from streamcls_genre import register_policies
from streamcls_genre.config import GenreConfig
from streamcls_genre.policy import UNSURE, GenrePolicy

LABELS = ("rock", "jazz", "pop")
ROCK, JAZZ, POP, NOBODY = [0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9], [0.34, 0.33, 0.33]


def _policy(stride_s: float = 1.0, **keys: object) -> GenrePolicy:
    return GenrePolicy(
        GenreConfig.model_validate({"smooth_s": 0, "window_events": False, **keys}), context(LABELS, stride_s)
    )


def _play(
    policy: GenrePolicy, programme: list[list[float]], stride_s: float = 1.0, begin_s: float = 0.0
) -> list[Event]:
    """Return the events of windows that follow each other, the first ending three seconds after the beginning."""
    events = []
    for i, values in enumerate(programme):
        events += policy.update(posterior(LABELS, values, begin_s + WINDOW_S + i * stride_s))
    return events


def _phases(events: list[Event]) -> list[tuple[str, str]]:
    return [(data["phase"], data["label"]) for data in of(events, "genre.segment")]


def test_the_plugin_offers_a_policy() -> None:
    assert register_policies() == [GenrePolicy]
    assert isinstance(_policy(), Policy)


def test_it_listens_to_genre_models_or_to_those_it_names() -> None:
    genre, tagging = context(LABELS).model, context(LABELS, task="tagging").model
    assert GenrePolicy.accepts(GenreConfig(), genre)
    assert not GenrePolicy.accepts(GenreConfig(), tagging)
    assert GenrePolicy.accepts(GenreConfig(models=("net",)), tagging)
    assert not GenrePolicy.accepts(GenreConfig(models=("other",)), genre)


@pytest.mark.parametrize(
    ("stride_s", "min_duration_s", "needed"),
    [(1.0, 4.0, 4), (0.5, 4.0, 8), (0.5, 1.2, 3), (1.0, 0.0, 1), (2.0, 3.0, 2)],
)
def test_a_segment_opens_after_its_minimum_duration_in_seconds(
    stride_s: float, min_duration_s: float, needed: int
) -> None:
    policy = _policy(stride_s, min_duration_s=min_duration_s)
    before = _play(policy, [ROCK] * (needed - 1), stride_s)
    assert before == []
    (event,) = policy.update(posterior(LABELS, ROCK, WINDOW_S + (needed - 1) * stride_s))
    assert (event.data["phase"], event.data["label"], event.data["first_sample"]) == ("opened", "rock", 0)
    assert event.data["windows"] == needed
    assert event.sample == event.data["end_sample"] == round((WINDOW_S + (needed - 1) * stride_s) * RATE)


def test_a_genre_that_does_not_hold_opens_nothing() -> None:
    assert _play(_policy(min_duration_s=3), [ROCK, ROCK, JAZZ, JAZZ, ROCK, ROCK]) == []


def test_another_genre_closes_the_segment_and_takes_over_where_it_ended() -> None:
    events = _play(_policy(min_duration_s=2), [ROCK] * 4 + [JAZZ] * 3)
    assert _phases(events) == [("opened", "rock"), ("closed", "rock"), ("opened", "jazz")]
    _, closed, opened = of(events, "genre.segment")
    assert closed["reason"] == "changed"
    assert closed["end_sample"] == opened["first_sample"] == 6000
    assert closed["windows"] == 4
    assert events[1].sample == events[2].sample == 8000


def test_an_interlude_that_does_not_hold_belongs_to_the_genre_that_does() -> None:
    """While others come and go the segment stays decided, so that the next one begins where it ends."""
    events = _play(_policy(min_duration_s=5), [ROCK] * 6 + [JAZZ] * 4 + [POP] * 5)
    assert _phases(events) == [("opened", "rock"), ("closed", "rock"), ("opened", "pop")]
    _, closed, opened = of(events, "genre.segment")
    assert closed["end_sample"] == opened["first_sample"] == 10_000
    assert _phases(_play(_policy(min_duration_s=5), [ROCK] * 6 + [JAZZ] * 4 + [ROCK] * 9)) == [("opened", "rock")]


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ([0.46, 0.3, 0.24], "rock"),
        ([0.45, 0.3, 0.25], "rock"),
        ([0.44, 0.3, 0.26], UNSURE),
    ],
)
def test_a_genre_begins_at_enter(values: list[float], label: str) -> None:
    assert _phases(_play(_policy(min_duration_s=1), [values])) == [("opened", label)]


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ([0.3, 0.35, 0.35], "rock"),
        ([0.29, 0.35, 0.36], UNSURE),
        ([0.36, 0.45, 0.19], "rock"),  # jazz reaches enter, but not the margin
        ([0.35, 0.46, 0.19], "jazz"),
        ([0.3, 0.44, 0.26], "rock"),  # the margin is there, enter is not
        ([0.29, 0.45, 0.26], "jazz"),
    ],
)
def test_a_genre_that_holds_ends_below_leave_or_when_beaten_by_the_margin(values: list[float], label: str) -> None:
    events = _play(_policy(min_duration_s=1, enter=0.45, leave=0.3, margin=0.1), [ROCK, values])
    assert _phases(events)[-1][1] == label


def test_unsure_is_a_segment_with_a_cause() -> None:
    policy = _policy(min_duration_s=2)
    events = _play(policy, [NOBODY] * 2)
    (opened,) = of(events, "genre.segment")
    assert (opened["label"], opened["cause"]) == (UNSURE, "nothing stands out")
    assert opened["probability"]["mean"] == pytest.approx(0.66, abs=1e-3)
    quiet = _policy(min_duration_s=2)
    for second in (3, 4):
        events = quiet.update(posterior(LABELS, ROCK, second, level_dbfs=-60.1))
    (opened,) = of(events, "genre.segment")
    assert (opened["label"], opened["cause"], opened["probability"]["mean"]) == (UNSURE, "silence", 1.0)


def test_a_level_at_the_threshold_is_no_silence() -> None:
    policy = _policy(min_duration_s=1, silence_dbfs=-60)
    assert _phases(policy.update(posterior(LABELS, ROCK, 3, level_dbfs=-60.0))) == [("opened", "rock")]


def test_smoothing_averages_over_seconds_and_begins_anew_after_silence() -> None:
    policy = _policy(min_duration_s=1, smooth_s=2, window_events=True)
    seen = [
        of(_play(policy, [values], begin_s=i), "genre.window")[0]
        for i, values in enumerate([ROCK, ROCK, JAZZ, JAZZ, JAZZ])
    ]
    assert [w["label"] for w in seen] == ["rock", "rock", "rock", "jazz", "jazz"]
    assert [w["probability"] for w in seen] == [0.9, 0.9, 0.6167, 0.6167, 0.9]
    assert seen[2]["posterior"] == {"rock": 0.05, "jazz": 0.9, "pop": 0.05}
    policy.update(posterior(LABELS, JAZZ, 8, level_dbfs=-90))
    (window,) = of(policy.update(posterior(LABELS, ROCK, 9)), "genre.window")
    assert window["probability"] == 0.9


def test_a_window_event_says_what_the_window_is() -> None:
    policy = _policy(window_events=True)
    (event,) = policy.update(posterior(LABELS, ROCK, 5.5, level_dbfs=-23.456))
    assert (event.kind, event.stream, event.sample) == ("genre.window", "radio", 5500)
    assert event.data == {
        "policy": "rules",
        "model": "net",
        "model_version": "7",
        "first_sample": 2500,
        "end_sample": 5500,
        "sample_rate": RATE,
        "label": "rock",
        "probability": 0.9,
        "posterior": {"rock": 0.9, "jazz": 0.05, "pop": 0.05},
        "level_dbfs": -23.5,
    }
    (silent,) = of(policy.update(posterior(LABELS, ROCK, 6.5, level_dbfs=-80)), "genre.window")
    assert (silent["label"], silent["probability"], silent["posterior"]["rock"]) == (UNSURE, 0.0, 0.9)


def test_window_events_can_be_turned_off() -> None:
    assert of(_play(_policy(window_events=False), [ROCK] * 9), "genre.window") == []


@pytest.mark.parametrize(("stride_s", "update_s"), [(1.0, 5.0), (0.5, 5.0), (1.0, 7.0)])
def test_an_open_segment_is_reported_again_in_its_interval(stride_s: float, update_s: float) -> None:
    events = _play(_policy(stride_s, min_duration_s=1, update_s=update_s), [ROCK] * round(40 / stride_s), stride_s)
    samples = [event.sample for event in events]
    assert all(b - a == update_s * RATE for a, b in pairwise(samples))
    assert [data["phase"] for data in of(events, "genre.segment")] == ["opened"] + ["updated"] * (len(events) - 1)
    assert len(events) >= 5


@pytest.mark.parametrize(("hole_s", "bridged"), [(1.999, True), (2.0, True), (2.001, False), (60.0, False)])
def test_a_gap_is_bridged_up_to_its_limit(hole_s: float, bridged: bool) -> None:
    policy = _policy(min_duration_s=2, bridge_gap_s=2)
    _play(policy, [ROCK] * 3)
    end = 5400
    events = policy.gap(end, end + round(hole_s * RATE))
    if bridged:
        assert events == []
        later = _play(policy, [ROCK] * 3, begin_s=end / RATE + hole_s)
        assert later == [], "the same segment goes on"
    else:
        assert [(d["phase"], d["reason"], d["end_sample"]) for d in of(events, "genre.segment")] == [
            ("closed", "gap", 5000)
        ]
        assert events[0].sample == end
        assert _phases(_play(policy, [ROCK] * 2, begin_s=end / RATE + hole_s)) == [("opened", "rock")]


def test_gaps_that_leave_no_window_whole_close_the_segment_in_the_end() -> None:
    policy = _policy(min_duration_s=2, bridge_gap_s=2)
    _play(policy, [ROCK] * 3)
    events, at = [], 6000
    for _ in range(10):
        events += policy.gap(at, at + 500)
        at += 2500
    assert [(d["phase"], d["reason"]) for d in of(events, "genre.segment")] == [("closed", "gap")]


def test_a_gap_forgets_the_smoothing_and_what_was_about_to_open() -> None:
    policy = _policy(min_duration_s=3, smooth_s=10)
    _play(policy, [ROCK] * 2)
    assert policy.gap(4000, 4100) == []
    assert _play(policy, [JAZZ] * 2, begin_s=5) == []
    (opened,) = of(policy.update(posterior(LABELS, JAZZ, 10)), "genre.segment")
    assert (opened["label"], opened["windows"], opened["probability"]["peak"]) == ("jazz", 3, 0.9)


def test_a_gap_before_anything_says_nothing() -> None:
    assert _policy().gap(0, 100_000) == []


def test_closing_closes_what_is_open_once() -> None:
    policy = _policy(min_duration_s=1)
    _play(policy, [ROCK] * 2)
    events = policy.close(4444, "shutdown")
    assert [(d["phase"], d["reason"]) for d in of(events, "genre.segment")] == [("closed", "shutdown")]
    assert events[0].sample == 4444
    assert policy.close(4444, "shutdown") == []
    assert _policy().close(0, "shutdown") == []


def test_levels_are_none_of_its_business() -> None:
    assert _policy().update(Levels("radio", 0, 1000, RATE, (-3.0,), (-6.0,))) == []


def test_mapped_labels_are_what_it_speaks_of() -> None:
    config = GenreConfig(smooth_s=0, min_duration_s=1, map={"rock": "loud", "pop": "loud"})
    policy = GenrePolicy(config, context(LABELS))
    window, segment = policy.update(posterior(LABELS, [0.4, 0.3, 0.3], 3))
    assert window.data["posterior"] == {"loud": 0.7}
    assert segment.data["label"] == "loud"
    with pytest.raises(ValueError, match="map names 'opera'"):
        GenrePolicy(GenreConfig(map={"opera": "x"}), context(LABELS))


@pytest.mark.parametrize(
    "keys",
    [
        {"leave": 0.5, "enter": 0.4},
        {"enter": 1.1},
        {"smooth_s": -1},
        {"update_s": 0},
        {"silence_dbfs": 1},
        {"surprise": 1},
    ],
)
def test_a_wrong_configuration_is_refused(keys: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(keys))):
        GenreConfig.model_validate(keys)


STEP = st.one_of(
    st.tuples(
        st.just("window"),
        st.sampled_from([ROCK, JAZZ, POP, NOBODY, [0.5, 0.45, 0.05]]),
        st.sampled_from([-20.0, -20.0, -20.0, -90.0]),
    ),
    st.tuples(st.just("gap"), st.sampled_from([0.2, 1.0, 2.0, 3.0]), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(st.tuples(STEP, st.integers(1, 6)), max_size=20),
    keys=st.fixed_dictionaries(
        {
            "smooth_s": st.sampled_from([0, 2, 4]),
            "min_duration_s": st.sampled_from([0, 1, 3]),
            "update_s": st.sampled_from([1, 4, 30]),
            "bridge_gap_s": st.sampled_from([0, 2]),
        }
    ),
    stride_s=st.sampled_from([0.5, 1.0, 5.0]),
)
def test_segments_follow_each_other_whatever_is_played(steps: list, keys: dict, stride_s: float) -> None:
    policy = _policy(stride_s, **keys)
    events: list[Event] = []
    now = WINDOW_S
    for (what, value, level), times in steps:
        if what == "gap":
            events += policy.gap(round((now + 0.1) * RATE), round((now + 0.1 + value) * RATE))
            now += 0.1 + value + WINDOW_S
        else:
            for _ in range(times):
                events += policy.update(posterior(LABELS, value, now, level))
                now += stride_s
    events += policy.close(round(now * RATE), "end")
    lives = check_lives(events, "genre.segment")
    segments = sorted((p[-1]["first_sample"], p[-1]["end_sample"], p[-1]["reason"]) for p in lives.values())
    for (_, end_of_one, reason), (begin_of_next, _, _) in pairwise(segments):
        assert end_of_one <= begin_of_next
        if reason == "changed":
            assert end_of_one == begin_of_next
    open_now: set[str] = set()
    for data in of(events, "genre.segment"):
        if data["phase"] == "opened":
            open_now.add(data["id"])
        assert len(open_now) <= 1
        if data["phase"] == "closed":
            open_now.remove(data["id"])


@pytest.mark.parametrize("stride_s", [0.25, 0.5, 1.0])
def test_segments_hardly_depend_on_the_stride(stride_s: float) -> None:
    """Twenty seconds of each: the same segments, beginning and ending within a stride of one second."""

    def values(end_s: float) -> list[float]:
        return [ROCK, JAZZ, [0.4, 0.2, 0.4]][min(2, int((end_s - 3.0) // 20))]

    policy = _policy(stride_s, min_duration_s=4, smooth_s=4)
    events: list[Event] = []
    for i in range(round(60 / stride_s)):
        end_s = WINDOW_S + i * stride_s
        events += policy.update(posterior(LABELS, values(end_s), end_s))
    events += policy.close(63_000, "end")
    closed = [d for d in of(events, "genre.segment") if d["phase"] == "closed"]
    assert [d["label"] for d in closed] == ["rock", "jazz", UNSURE]
    assert [d["first_sample"] / RATE for d in closed] == [0, pytest.approx(24.5, abs=1.5), pytest.approx(45.5, abs=1.5)]


WITH_OTHER = ("rock", "jazz", "other")


def _with_background(**keys: object) -> GenrePolicy:
    return GenrePolicy(
        GenreConfig.model_validate({"smooth_s": 0, "min_duration_s": 2, **keys}),
        context(WITH_OTHER, background=("other",)),
    )


def test_where_the_background_wins_the_stream_is_unsure_however_sure_the_model_is() -> None:
    policy = _with_background()
    events = [e for i in range(4) for e in policy.update(posterior(WITH_OTHER, [0.05, 0.05, 0.9], WINDOW_S + i))]
    (opened,) = of(events, "genre.segment")
    assert (opened["label"], opened["cause"]) == (UNSURE, "none of its genres")
    assert opened["probability"]["mean"] == pytest.approx(0.95, abs=1e-3)
    for window in of(events, "genre.window"):
        assert (window["label"], window["probability"]) == (UNSURE, 0.05)
        assert window["posterior"] == {"rock": 0.05, "jazz": 0.05, "other": 0.9}


def test_a_genre_ends_when_the_background_takes_over() -> None:
    policy = _with_background(window_events=False)
    programme = [[0.9, 0.05, 0.05]] * 4 + [[0.05, 0.05, 0.9]] * 3
    events = [e for i, v in enumerate(programme) for e in policy.update(posterior(WITH_OTHER, v, WINDOW_S + i))]
    assert _phases(events) == [("opened", "rock"), ("closed", "rock"), ("opened", UNSURE)]


def test_a_genre_that_the_background_outweighs_is_not_reported() -> None:
    policy = _with_background(window_events=False)
    events = [e for i in range(4) for e in policy.update(posterior(WITH_OTHER, [0.46, 0.04, 0.5], WINDOW_S + i))]
    assert _phases(events) == [("opened", UNSURE)]

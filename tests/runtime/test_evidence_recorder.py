from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcls import Event
from streamcls.audio import Run
from streamcls.config.schema import EvidenceSettings
from streamcls.runtime.evidence import Clip, EvidenceRecorder

if TYPE_CHECKING:
    from streamcls.audio.capture import PcmArray

RATE = 100
SETTINGS = EvidenceSettings(capture_s=10, pre_s=3, post_s=2, max_clip_s=20)


def pcm(first: int, n: int, channels: int = 1) -> PcmArray:
    """Return samples that tell their own index and are never zero."""
    column = (np.arange(first, first + n) % 30_000 + 1).astype(np.int16)
    return np.stack([column] * channels, axis=1)


def run(first: int, n: int, rate: int = RATE, channels: int = 1, captured_at: float | None = None) -> Run:
    return Run(pcm(first, n, channels).astype(np.float32) / np.float32(1 << 15), rate, first, captured_at)


def alert(
    phase: str,
    first: int,
    end: int,
    *,
    identifier: str = "a1",
    at: int | None = None,
    rate: int = RATE,
    kind: str = "moderation.alert",
) -> Event:
    data = {"id": identifier, "phase": phase, "label": "siren", "policy": "moderation", "model": "m"}
    data |= {"first_sample": first, "end_sample": end, "sample_rate": rate, "model_version": "1", "windows": 3}
    return Event(kind, "radio-1", data, sample=at if at is not None else end)


def status(state: str) -> Event:
    return Event("stream.status", "radio-1", {"state": state, "reason": ""})


class Sink:
    """Keeps what it is handed, as the writer would."""

    def __init__(self) -> None:
        self.clips: list[Clip] = []
        self.given_up: list[tuple[str, str]] = []
        self.going_on: set[str] = set()
        self.unwritten: set[str] = set()

    def opened(self, alert_id: str) -> None:
        self.going_on.add(alert_id)

    def closed(self, alert_id: str) -> None:
        self.going_on.remove(alert_id)

    def offer(self, clip: Clip) -> bool:
        self.clips.append(clip)
        return True

    def waits(self, alert_id: str) -> bool:
        return alert_id in self.unwritten

    def give_up(self, stream: str, alert_id: str, reason: str) -> None:
        self.given_up.append((alert_id, reason))


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def recorder(sink: Sink) -> EvidenceRecorder:
    return EvidenceRecorder("radio-1", SETTINGS, sink)


def feed(recorder: EvidenceRecorder, first: int, end: int, *events: Event, piece: int = 50) -> None:
    """Push from one index to another; the events come with the last piece."""
    for at in range(first, end, piece):
        recorder.push(run(at, min(piece, end - at)))
        recorder.observe(events if at + piece >= end else [])
        recorder.hand_over()


def only(sink: Sink) -> Clip:
    (clip,) = sink.clips
    expected = pcm(clip.audio.first_sample, len(clip.audio.samples), clip.audio.samples.shape[1])
    for first, end in clip.audio.gaps:
        expected[first - clip.audio.first_sample : end - clip.audio.first_sample] = 0
    np.testing.assert_array_equal(clip.audio.samples, expected)
    return clip


def test_a_clip_reaches_from_before_the_alert_to_after_its_end(recorder: EvidenceRecorder, sink: Sink) -> None:
    feed(recorder, 0, 1_000, alert("opened", 800, 950))
    feed(recorder, 1_000, 1_200, alert("updated", 800, 1_200))
    assert sink.going_on == {"a1"}
    feed(recorder, 1_200, 1_800, alert("closed", 800, 1_300))
    clip = only(sink)
    assert (clip.audio.first_sample, clip.audio.end_sample) == (500, 1_500)
    facts = clip.facts()
    assert (facts["offset_samples"], facts["offset_s"], facts["duration_s"]) == (300, 3.0, 10.0)
    assert (facts["reason"], facts["gaps"], facts["channels"]) == ("over", [], 1)
    assert (facts["alert_id"], facts["alert_kind"], facts["label"]) == ("a1", "moderation.alert", "siren")
    assert "model_sha256" not in facts, "the alert did not say"
    assert not sink.going_on


def test_a_clip_waits_for_what_is_wanted_after_the_alert(recorder: EvidenceRecorder, sink: Sink) -> None:
    feed(recorder, 0, 500, alert("opened", 400, 480), alert("closed", 400, 480))
    assert sink.clips == []
    feed(recorder, 500, 650)
    assert sink.clips == []
    feed(recorder, 650, 700)
    assert only(sink).audio.end_sample == 680


def test_an_alert_that_goes_on_gets_a_clip_of_the_greatest_length_and_only_one(
    recorder: EvidenceRecorder, sink: Sink
) -> None:
    feed(recorder, 0, 500, alert("opened", 400, 480))
    feed(recorder, 500, 9_000, alert("updated", 400, 8_900))
    clip = only(sink)
    assert (clip.audio.first_sample, len(clip.audio.samples), clip.reason) == (100, 2_000, "max_clip_s")
    assert sink.going_on == {"a1"}, "its clip must not be removed yet"
    feed(recorder, 9_000, 9_500, alert("closed", 400, 9_000))
    assert len(sink.clips) == 1
    assert not sink.going_on


def test_what_is_no_longer_held_is_missing_and_the_offset_says_so(recorder: EvidenceRecorder, sink: Sink) -> None:
    feed(recorder, 0, 2_000, alert("opened", 700, 1_900), alert("closed", 700, 1_900))
    recorder.finish("shutdown")
    recorder.hand_over()
    clip = only(sink)
    assert (clip.audio.first_sample, clip.audio.end_sample) == (1_000, 2_000)
    assert clip.facts()["offset_samples"] == -300
    assert clip.reason == "shutdown"


def test_a_gap_is_filled_with_zeros_and_stated(recorder: EvidenceRecorder, sink: Sink) -> None:
    feed(recorder, 0, 300)
    feed(recorder, 320, 500, alert("opened", 400, 480))
    feed(recorder, 507, 900, alert("closed", 400, 600))
    clip = only(sink)
    assert clip.audio.gaps == ((300, 320), (500, 507))
    assert (clip.audio.first_sample, clip.audio.end_sample) == (100, 800)


def test_a_clip_ends_with_sound_not_with_the_zeros_of_a_gap(recorder: EvidenceRecorder, sink: Sink) -> None:
    feed(recorder, 0, 500, alert("opened", 400, 480))
    recorder.push(run(50_000, 50))
    recorder.observe([status("gap"), alert("closed", 400, 480, at=500)])
    recorder.hand_over()
    clip = only(sink)
    assert (clip.audio.end_sample, clip.audio.gaps) == (500, ())


@pytest.mark.parametrize(
    ("follows", "reason"),
    [
        (run(500, 50, rate=200), "format changed"),
        (run(500, 50, channels=2), "format changed"),
        (run(200, 50), "index went back"),
    ],
)
def test_where_the_audio_begins_anew_the_clip_ends_and_what_follows_has_its_own(
    recorder: EvidenceRecorder, sink: Sink, follows: Run, reason: str
) -> None:
    """The old audio's last windows are decided with the first piece of the new: their alert belongs to the old."""
    feed(recorder, 0, 500)
    rate = follows.sample_rate
    recorder.push(follows)
    old = [alert("opened", 450, 490), alert("closed", 450, 500, at=500)]
    new = alert("opened", follows.first_sample, follows.end_sample, identifier="b2", rate=rate)
    recorder.observe([*old, status("running"), new])
    recorder.hand_over()
    clip = only(sink)
    assert (clip.audio.first_sample, clip.audio.end_sample, clip.reason) == (150, 500, reason)
    sink.clips.clear()
    assert sink.going_on == {"b2"}
    recorder.finish("end of stream")
    recorder.hand_over()
    assert only(sink).audio.first_sample == follows.first_sample
    assert sink.given_up == []


def test_what_breaks_off_is_written_as_far_as_it_goes(recorder: EvidenceRecorder, sink: Sink) -> None:
    feed(recorder, 0, 500, alert("opened", 400, 480), alert("closed", 400, 480))
    recorder.finish("source lost")
    recorder.hand_over()
    assert (only(sink).audio.end_sample, only(sink).reason) == (500, "source lost")
    feed(recorder, 600, 700, alert("opened", 620, 650, identifier="b2"))
    recorder.finish("shutdown")
    recorder.hand_over()
    assert sink.clips[1].audio.gaps == ((500, 600),), "the same index went on"


def test_alerts_at_the_same_time_have_a_clip_each(recorder: EvidenceRecorder, sink: Sink) -> None:
    feed(recorder, 0, 500, alert("opened", 400, 480), alert("opened", 450, 490, identifier="b2", kind="my.alert"))
    feed(recorder, 500, 900, alert("closed", 400, 600), alert("closed", 450, 500, identifier="b2"))
    assert {c.alert["alert_id"]: (c.audio.first_sample, c.audio.end_sample) for c in sink.clips} == {
        "a1": (100, 800),
        "b2": (150, 700),
    }
    assert {c.alert["alert_kind"] for c in sink.clips} == {"moderation.alert", "my.alert"}


def test_too_many_at_a_time_are_given_up_one_by_one(recorder: EvidenceRecorder, sink: Sink) -> None:
    feed(recorder, 0, 500, *(alert("opened", 400, 480, identifier=f"x{n}") for n in range(20)))
    assert [identifier for identifier, _ in sink.given_up] == ["x16", "x17", "x18", "x19"]
    recorder.finish("shutdown")
    recorder.hand_over()
    assert len(sink.clips) == 16
    assert not sink.going_on


def test_more_channels_than_flac_holds_are_not_kept_and_that_is_said(recorder: EvidenceRecorder, sink: Sink) -> None:
    recorder.push(run(0, 500, channels=9))
    recorder.observe([alert("opened", 400, 480)])
    recorder.hand_over()
    recorder.observe([alert("closed", 400, 480)])
    recorder.hand_over()
    assert sink.clips == []
    assert "9 channels" in sink.given_up[0][1]


def test_a_clip_has_the_wall_clock_of_its_first_sample(recorder: EvidenceRecorder, sink: Sink) -> None:
    recorder.push(run(0, 500, captured_at=1_767_225_600.0))
    recorder.observe([alert("opened", 400, 480)])
    recorder.hand_over()
    recorder.finish("shutdown")
    recorder.hand_over()
    facts = only(sink).facts()
    assert facts["started_at"] == "2026-01-01T00:00:01.000Z"
    assert facts["ended_at"] == "2026-01-01T00:00:05.000Z"


@given(
    cuts=st.lists(st.integers(1, 3_999), max_size=12, unique=True),
    hole=st.tuples(st.integers(0, 3_900), st.integers(0, 300)),
    first=st.integers(0, 2_500),
    heard=st.integers(1, 1_500),
)
def test_the_chunking_does_not_change_the_clip(cuts: list[int], hole: tuple[int, int], first: int, heard: int) -> None:
    """Whatever the pieces, the clip holds what the source delivered of the wanted stretch, and nothing else."""
    missing = range(hole[0], hole[0] + hole[1])
    opened, closed = first + heard // 2, first + heard
    edges = sorted({0, 4_000, opened + 1, closed + 1, missing.start, missing.stop, *cuts} & set(range(4_001)))
    sink = Sink()
    recorder = EvidenceRecorder("radio-1", EvidenceSettings(capture_s=40, pre_s=3, post_s=2, max_clip_s=20), sink)
    for begin, end in pairwise(edges):
        if begin in missing:
            continue
        recorder.push(run(begin, end - begin))
        events = [alert("opened", first, opened)] if begin <= opened < end else []
        events += [alert("closed", first, closed)] if begin <= closed < end else []
        recorder.observe(events)
        recorder.hand_over()
    recorder.finish("end of stream")
    recorder.hand_over()
    if opened in missing or closed in missing:
        return
    clip = only(sink)
    wanted = range(max(0, first - 300), min(4_000, closed + 200, max(0, first - 300) + 2_000))
    there = [index for index in wanted if index not in missing]
    limit = there[0] + 2_000
    there = [index for index in range(there[0], min(4_000, closed + 200, limit)) if index not in missing]
    assert (clip.audio.first_sample, clip.audio.end_sample) == (there[0], there[-1] + 1)
    assert sum(end - begin for begin, end in clip.audio.gaps) == len(clip.audio.samples) - len(there)


def killed_and_resumed(at: int, again_from: int, sink: Sink) -> Any:
    """Record until a sample, forget everything but the state, and go on from an earlier sample."""
    events = {500: [alert("opened", 400, 480)], 1_000: [alert("closed", 400, 900)]}
    recorder = EvidenceRecorder("radio-1", SETTINGS, sink)

    def go_on(first: int, end: int, decided: int) -> None:
        for begin in range(first, end, 50):
            recorder.push(run(begin, 50))
            recorder.observe(events.get(begin + 50, []) if begin + 50 > decided else [])
            recorder.hand_over()

    go_on(0, at, 0)
    state = json.loads(json.dumps(recorder.state()))
    sink.going_on.clear()
    recorder = EvidenceRecorder("radio-1", SETTINGS, sink)
    recorder.restore(state)
    assert recorder.needs_from is None or recorder.needs_from >= 100
    go_on(again_from, 1_500, at)
    return recorder


@pytest.mark.parametrize("at", [500, 700, 1_000, 1_050])
@pytest.mark.parametrize("again_from", [0, 100])
def test_over_a_crash_a_clip_is_what_it_would_have_been(at: int, again_from: int, sink: Sink) -> None:
    killed_and_resumed(at, again_from, sink)
    clip = only(sink)
    assert (clip.audio.first_sample, clip.audio.end_sample, clip.reason) == (100, 1_100, "over")
    assert not sink.going_on


def test_over_a_crash_what_is_not_delivered_again_is_missing(sink: Sink) -> None:
    killed_and_resumed(700, 600, sink)
    assert only(sink).audio.first_sample == 600
    assert only(sink).facts()["offset_samples"] == -200


def test_a_clip_that_was_handed_over_is_not_recorded_again_after_a_crash(sink: Sink) -> None:
    killed_and_resumed(1_300, 900, sink)
    assert len(sink.clips) == 1


def test_a_resumed_alert_whose_format_is_another_is_dropped(recorder: EvidenceRecorder, sink: Sink) -> None:
    feed(recorder, 0, 500, alert("opened", 400, 480))
    other = EvidenceRecorder("radio-1", SETTINGS, sink)
    other.restore(recorder.state())
    other.push(run(400, 50, rate=200))
    other.finish("end of stream")
    other.hand_over()
    assert sink.clips == []


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"rate": 1, "open": [], "recordings": [{}]},
        {"rate": 1, "open": 3, "recordings": []},
        {"rate": 1, "open": [], "recordings": [{"alert": {"alert_id": "a"}, "begin": 0, "until": None, "reason": ""}]},
    ],
)
def test_a_state_of_something_else_is_refused(recorder: EvidenceRecorder, state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no state of a recorder"):
        recorder.restore(state)


def test_a_clip_goes_out_only_once_the_events_before_it_have(recorder: EvidenceRecorder, sink: Sink) -> None:
    feed(recorder, 0, 500, alert("opened", 400, 450))
    recorder.push(run(500, 500))
    recorder.observe([alert("closed", 400, 480)])
    assert sink.clips == []
    recorder.hand_over()
    assert len(sink.clips) == 1
    recorder.hand_over()
    assert len(sink.clips) == 1


@pytest.mark.parametrize("handed_over", [False, True])
@pytest.mark.parametrize(
    ("events", "over"),
    [
        ([alert("opened", 400, 450), alert("closed", 400, 480)], ""),
        ([alert("opened", 400, 450), alert("closed", 400, 480)], "source lost"),
        ([alert("opened", 100, 450)], "shutdown"),
    ],
)
def test_a_clip_that_is_not_on_the_disk_at_a_crash_is_recorded_again_the_same(
    recorder: EvidenceRecorder, sink: Sink, events: list[Event], over: str, handed_over: bool
) -> None:
    for at in range(0, 1_000, 50):
        recorder.push(run(at, 50))
        recorder.observe(events if at == 450 else [])
    if over:
        recorder.finish(over)
    if handed_over:
        recorder.hand_over()
        sink.unwritten.add("a1")
    state = json.loads(json.dumps(recorder.state()))
    recorder.hand_over()
    again = Sink()
    other = EvidenceRecorder("radio-1", SETTINGS, again)
    other.restore(state)
    feed(other, other.needs_from or 0, 3_000)
    (before,), (after,) = sink.clips, again.clips
    np.testing.assert_array_equal(before.audio.samples, after.audio.samples)
    assert (before.audio.first_sample, before.audio.gaps) == (after.audio.first_sample, after.audio.gaps)
    assert before.alert == after.alert
    sink.unwritten.clear()
    assert recorder.state()["recordings"] == [], "what is on the disk is not recorded again"
    assert recorder.needs_from is None

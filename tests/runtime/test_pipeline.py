"""The pipeline with a classifier that is a plain function of its window, and once with a real model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opinions import check_lives
from signals import chunkings, noise, programme, real_signal
from witness import (
    WITNESS,
    component,
    four_models,
    pipeline_of,
    push_in_pieces,
    run_of,
    statuses,
    told,
)

from streamcls.audio import Run
from streamcls.bus.wire import to_json
from streamcls.frontend import StreamingFrontEnd
from streamcls.inference import load_bundle
from streamcls.runtime.models import LoadedModel, StreamPlan
from streamcls.runtime.offline import OfflinePool, classify_chunks
from streamcls.runtime.pipeline import StreamPipeline
from streamcls.types import Chunk, Event, FloatArray, StreamStatus
from streamcls_genre.policy import GenrePolicy
from streamcls_moderation.policy import ModerationPolicy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    return four_models(tmp_path_factory.mktemp("models"))


def test_a_stream_says_that_it_runs_with_its_format_models_and_tags(models: dict[str, LoadedModel]) -> None:
    pipeline = pipeline_of([models["a16"]], format="jazz")
    (running,) = statuses(pipeline.push(run_of(noise(100, channels=2), 5000)))
    assert running["state"] == "running"
    assert running["reason"] == "16000 Hz, 2 channels"
    assert (running["sample_rate"], running["channels"], running["first_sample"]) == (16_000, 2, 5000)
    assert running["models"] == [{"name": "a16", "version": "1.2", "sha256": models["a16"].bundle.digest}]
    assert running["tags"] == {"format": "jazz"}
    assert pipeline.next_sample == 5100
    assert statuses(pipeline.push(run_of(noise(100, channels=2), 5100))) == []


@pytest.mark.parametrize("rate", [16_000, 44_100])
@settings(max_examples=12, deadline=None)
@given(sizes=chunkings(60_000), first=st.sampled_from([0, 123_457]))
def test_everything_and_its_order_is_the_same_for_any_chunking(
    models: dict[str, LoadedModel], rate: int, sizes: list[int], first: int
) -> None:
    """Four models at three rates: levels and windows of all of them, in the order in which they end."""
    samples = programme(rate, 3.2)[:, None]
    used = [models[name] for name in ("a16", "c22", "b16", "d8")]
    whole, streamed = pipeline_of(used), pipeline_of(used)
    expected = whole.push(run_of(samples, first, rate)) + whole.close("end", flush=True)
    got = push_in_pieces(streamed, samples, sizes, first, rate) + streamed.close("end", flush=True)
    assert got == expected
    ends = [said["at"] for said in told(expected, "levels", "posterior")]
    assert ends == sorted(ends)
    assert {said["model"] for said in told(expected, "posterior")} == {"a16", "b16", "c22", "d8"}
    assert (streamed.windows, streamed.gaps) == (whole.windows, 0)
    assert whole.windows == len(told(expected, "posterior"))


@settings(max_examples=12, deadline=None)
@given(
    sizes=chunkings(60_000),
    holes=st.lists(st.tuples(st.integers(1, 70_000), st.integers(-30_000, 90_000)), min_size=1, max_size=4),
)
def test_gaps_and_steps_back_give_the_same_events_for_any_chunking(
    models: dict[str, LoadedModel], sizes: list[int], holes: list[tuple[int, int]]
) -> None:
    used = [models["a16"], models["c22"]]
    genre = component(GenrePolicy, min_duration_s=0.5, smooth_s=0, enter=0.4)
    parts = (WITNESS, genre, component(ModerationPolicy, labels={"rock": {"k": 1, "n": 1}}))
    samples = programme(44_100, 6.0)[:, None]
    whole, streamed = pipeline_of(used, *parts), pipeline_of(used, *parts)
    expected: list[Event] = []
    got: list[Event] = []
    position = first = 0
    for heard, hole in holes:
        stretch = samples[position : position + heard]
        if not len(stretch):
            break
        expected += whole.push(run_of(stretch, first, 44_100))
        got += push_in_pieces(streamed, stretch, sizes, first, 44_100)
        position += len(stretch)
        first = max(0, first + len(stretch) + hole)
    expected += whole.close("end", flush=True)
    got += streamed.close("end", flush=True)
    assert got == expected
    check_lives(expected, "genre.segment")
    check_lives(expected, "moderation.alert")
    for event in expected:
        to_json(event.data)


@settings(max_examples=8, deadline=None)
@given(sizes=chunkings(100_000))
def test_real_music_gives_the_same_genre_and_moderation_events_for_any_chunking(
    models: dict[str, LoadedModel], sizes: list[int]
) -> None:
    samples = real_signal("gtzan_full30/blues/*.ogg", 12.0)[:, None]
    parts = (
        component(GenrePolicy, min_duration_s=1, enter=0.4),
        component(ModerationPolicy, labels={"jazz": {"enter": 0.5}}),
    )
    whole, streamed = (pipeline_of([models["c22"], models["a16"]], *parts) for _ in range(2))
    expected = whole.push(run_of(samples, 0, 22_050)) + whole.close("end", flush=True)
    got = push_in_pieces(streamed, samples, sizes, 0, 22_050) + streamed.close("end", flush=True)
    assert [to_json(event.data) for event in got] == [to_json(event.data) for event in expected]
    assert {event.kind for event in expected} >= {
        "genre.window",
        "genre.segment",
        "moderation.window",
        "moderation.alert",
    }
    check_lives(expected, "genre.segment")
    check_lives(expected, "moderation.alert")


def test_a_gap_is_announced_counted_and_told_to_the_policies_after_what_was_heard_before_it(
    models: dict[str, LoadedModel],
) -> None:
    pipeline = pipeline_of([models["a16"], models["c22"]])
    pipeline.push(run_of(noise(50_000)))
    events = pipeline.push(run_of(noise(30_000), 60_000))
    gap = next(data for data in statuses(events) if data["state"] == "gap")
    assert gap["reason"] == "10000 samples are missing"
    assert (gap["first_sample"], gap["end_sample"], gap["sample_rate"]) == (50_000, 60_000, 16_000)
    assert (pipeline.gaps, pipeline.lost_samples, pipeline.next_sample) == (1, 10_000, 90_000)
    assert [(said["at"], said["until"]) for said in told(events, "gap")] == [(50_000, 60_000)] * 2
    kinds = [event.data.get("what", event.data.get("state")) for event in events]
    before, after = events[: kinds.index("gap")], events[kinds.index("gap") :]
    assert all(said["at"] <= 50_000 for said in told(before, "levels", "posterior"))
    assert all(said["first"] >= 60_000 for said in told(after, "levels", "posterior"))
    assert [said["at"] for said in told(after, "close")] == []


def test_samples_that_are_no_numbers_are_a_gap_and_spoil_nothing(models: dict[str, LoadedModel]) -> None:
    rate, signal = 16_000, noise(3 * 16_000, seed=1)[:, None]
    pool = OfflinePool()
    pipeline = StreamPipeline("radio-1", StreamPlan((), {}), pool)
    pipeline.push(Run(signal[:rate], rate, 0, None))
    bad = signal[rate : 2 * rate].copy()
    bad[7] = np.nan
    (told,) = pipeline.push(Run(bad, rate, rate, None))
    assert told.data["state"] == "gap"
    assert "no numbers" in told.data["reason"]
    assert pipeline.push(Run(np.full_like(bad, np.inf), rate, 2 * rate, None)) == []
    gap, *_ = pipeline.push(Run(signal[2 * rate :], rate, 3 * rate, None))
    assert (gap.data["first_sample"], gap.data["end_sample"]) == (rate, 3 * rate)
    assert pipeline.levels is not None
    assert np.isfinite(pipeline.levels.rms_dbfs).all()
    pool.close()


def test_every_window_that_lies_wholly_in_intact_audio_is_classified(models: dict[str, LoadedModel]) -> None:
    """Also those that end shortly before a gap, where the resampler still holds back their last samples."""
    whole, holed = pipeline_of([models["c22"]]), pipeline_of([models["c22"]])
    samples = noise(120_000)
    every = told(whole.push(run_of(samples)) + whole.close("end", flush=True), "posterior")
    got = told(
        holed.push(run_of(samples[:50_000]))
        + holed.push(run_of(samples[60_000:], 60_000))
        + holed.close("end", flush=True),
        "posterior",
    )
    slack = 320  # source samples until both grids meet again
    wanted = {(w["first"], w["at"]) for w in every if w["at"] <= 50_000 or w["first"] >= 60_000 + slack}
    possible = {(w["first"], w["at"]) for w in every if w["at"] <= 50_000 or w["first"] >= 60_000}
    assert wanted <= {(w["first"], w["at"]) for w in got} <= possible


def test_windows_in_intact_audio_are_the_same_with_and_without_a_gap(models: dict[str, LoadedModel]) -> None:
    whole, holed = pipeline_of([models["a16"]]), pipeline_of([models["a16"]])
    samples = noise(160_000)
    every = {said["at"]: said for said in told(whole.push(run_of(samples)), "posterior")}
    got = told(holed.push(run_of(samples[:70_001])) + holed.push(run_of(samples[71_111:], 71_111)), "posterior")
    assert got == [said for said in every.values() if said["at"] <= 70_001 or said["first"] >= 71_111]


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 2), (44_100, 1)])
def test_a_change_of_format_closes_what_is_open_and_begins_anew(
    models: dict[str, LoadedModel], rate: int, channels: int
) -> None:
    pipeline = pipeline_of([models["a16"]])
    pipeline.push(run_of(noise(40_000)))
    events = pipeline.push(run_of(noise(50_000, channels=2)[:, :channels], 40_000, rate))
    assert [(said["at"], said["reason"]) for said in told(events, "close")] == [(40_000, "format changed")]
    (running,) = statuses(events)
    assert (running["state"], running["sample_rate"], running["channels"]) == ("running", rate, channels)
    assert all(said["first"] >= 40_000 for said in told(events, "posterior"))
    assert told(events, "posterior")


def test_an_index_that_goes_back_closes_what_is_open_and_gives_new_findings_new_ids(
    models: dict[str, LoadedModel],
) -> None:
    genre = component(GenrePolicy, min_duration_s=0.1, smooth_s=0, enter=0.0, leave=0.0)
    pipeline = pipeline_of([models["a16"]], genre, WITNESS)
    samples = noise(40_000)
    events = pipeline.push(run_of(samples))
    again = pipeline.push(run_of(samples))
    gap = next(data for data in statuses(again) if data["state"] == "gap")
    assert gap["reason"] == "the index went back from 40000 to 0"
    assert [said["reason"] for said in told(again, "close")] == ["index went back"]
    assert pipeline.gaps == 0
    events += again + pipeline.close("end")
    lives = check_lives(events, "genre.segment")
    firsts = [phases[0]["first_sample"] for phases in lives.values()]
    assert len(firsts) == 2 * len(set(firsts)), "the same findings, under other ids"
    assert {said["origin"] for said in told(events, "posterior")} == {"", "+1"}


def test_after_a_loss_of_the_source_the_stream_goes_on_with_fresh_policies(models: dict[str, LoadedModel]) -> None:
    pipeline = pipeline_of([models["a16"]], origin="epoch")
    pipeline.push(run_of(noise(40_000)))
    events = pipeline.close("source lost")
    assert [said["reason"] for said in told(events, "close")] == ["source lost"]
    assert [(data["state"], data["reason"]) for data in statuses(events)] == [("ended", "source lost")]
    assert pipeline.next_sample is None
    assert pipeline.close("again", flush=True) == []
    later = pipeline.push(run_of(noise(40_000), 900_000))
    gap, running = statuses(later)
    assert (gap["state"], gap["first_sample"], gap["end_sample"], gap["sample_rate"]) == (
        "gap",
        40_000,
        900_000,
        16_000,
    )
    assert gap["reason"] == "860000 samples are missing while the source was lost"
    assert running["state"] == "running"
    assert (pipeline.gaps, pipeline.lost_samples) == (1, 860_000)
    assert told(later, "posterior")[0]["origin"] == "epoch"
    restarted = pipeline.close("source lost") + pipeline.push(run_of(noise(40_000), 0))
    assert told(restarted, "posterior")[0]["origin"] == "epoch+1"


def test_nothing_is_opened_behind_the_end_of_a_stream(models: dict[str, LoadedModel]) -> None:
    """What the resampler holds back when a source is lost is not classified when the stream ends later."""
    pipeline = pipeline_of(
        [models["c22"]], component(GenrePolicy, min_duration_s=0, smooth_s=0, enter=0, leave=0), WITNESS
    )
    events = (
        pipeline.push(run_of(noise(20_000)))
        + pipeline.close("source lost")
        + pipeline.close("end of stream", flush=True)
    )
    check_lives(events, "genre.segment")
    assert events[-1].data["state"] == "ended"


def test_closing_before_any_audio_says_nothing(models: dict[str, LoadedModel]) -> None:
    assert pipeline_of([models["a16"]]).close("end", flush=True) == []


def test_flush_classifies_the_last_window_of_a_file(models: dict[str, LoadedModel]) -> None:
    bundle = models["c22"].bundle
    frames = 20 + 6 * 5
    n = -(-((frames - 1) * 256 + 512) * 44_100 // 22_050)
    with_flush, without = (pipeline_of([models["c22"]]) for _ in range(2))
    for pipeline in (with_flush, without):
        pipeline.push(run_of(noise(n), rate=44_100))
    last = told(with_flush.close("end", flush=True), "posterior")
    assert [said["at"] for said in last][-1] == n
    assert told(without.close("end"), "posterior") == []
    assert bundle.spec.sample_rate == 22_050


def test_features_are_computed_once_for_models_that_share_a_front_end(
    models: dict[str, LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[tuple[int, int]] = []
    push = StreamingFrontEnd.push

    def counting(self: StreamingFrontEnd, samples: FloatArray) -> Any:
        pushed.append((self.spec.sample_rate, len(samples)))
        return push(self, samples)

    monkeypatch.setattr(StreamingFrontEnd, "push", counting)
    pipeline = pipeline_of([models["a16"], models["b16"]])
    said = told(pipeline.push(run_of(noise(50_000))), "posterior")
    assert {entry["model"] for entry in said} == {"a16", "b16"}
    assert pushed == [(16_000, 50_000)]
    pushed.clear()
    pipeline_of([models["a16"], models["b16"], models["c22"], models["d8"]]).push(run_of(noise(50_000)))
    assert sorted(rate for rate, _ in pushed) == [8000, 16_000, 22_050]


def test_models_side_by_side_give_what_each_gives_alone(models: dict[str, LoadedModel]) -> None:
    samples = programme(44_100, 3.0)
    names = ("a16", "b16", "c22", "d8")

    def play(used: list[LoadedModel]) -> list[dict]:
        pipeline = pipeline_of(used)
        return told(pipeline.push(run_of(samples, rate=44_100)) + pipeline.close("end", flush=True), "posterior")

    together = play([models[name] for name in names])
    for name in names:
        assert [said for said in together if said["model"] == name] == play([models[name]])


def test_wall_clock_times_follow_the_chunks_and_a_beginning_stays(models: dict[str, LoadedModel]) -> None:
    genre = component(
        GenrePolicy, min_duration_s=0.1, smooth_s=0, enter=0.0, leave=0.0, margin=1.0, update_s=0.4, window_events=False
    )
    pipeline = pipeline_of([models["a16"]], genre)
    events = []
    for i in range(10):  # a source whose clock runs one percent fast
        events += pipeline.push(run_of(noise(16_000, seed=i), i * 16_000, captured_at=1_700_000_000 + i * 1.01))
    events += pipeline.close("end")
    (phases,) = check_lives(events, "genre.segment").values()
    assert len({phase["started_at"] for phase in phases}) == 1
    assert phases[0]["started_at"] == "2023-11-14T22:13:20.000Z"
    assert [phase["ended_at"] for phase in phases] == sorted(phase["ended_at"] for phase in phases)
    assert events[-1].time == pytest.approx(1_700_000_000 + 9 * 1.01 + 1)
    gap = next(e for e in pipeline.push(run_of(noise(100), 0, captured_at=5.0)) if e.kind == "stream.status")
    assert gap.time == pytest.approx(5.0)


def test_audio_without_a_clock_gives_events_without_times(models: dict[str, LoadedModel]) -> None:
    pipeline = pipeline_of([models["a16"]], component(GenrePolicy, min_duration_s=0, smooth_s=0, enter=0, leave=0))
    events = pipeline.push(run_of(noise(40_000))) + pipeline.close("end")
    assert {event.time for event in events} == {None}
    timed = [event.data for event in events if "first_sample" in event.data]
    assert {(data["started_at"], data["ended_at"]) for data in timed} == {(None, None)}


def test_a_gap_is_timed_by_the_clock_before_it(models: dict[str, LoadedModel]) -> None:
    pipeline = pipeline_of([models["a16"]])
    pipeline.push(run_of(noise(16_000), 0, captured_at=1000.0))
    events = pipeline.push(run_of(noise(16_000), 32_000, captured_at=5000.0))
    gap = next(event for event in events if event.data.get("state") == "gap")
    assert gap.time == pytest.approx(1001.0)
    assert json.loads(to_json(gap.data))["started_at"] == "1970-01-01T00:16:41.000Z"


def test_the_newest_levels_are_kept_for_whoever_asks(models: dict[str, LoadedModel]) -> None:
    pipeline = pipeline_of([models["a16"]])
    pipeline.push(run_of(np.full(16_000, 0.5, np.float32)))
    assert pipeline.levels is not None
    assert pipeline.levels.peak_dbfs == (-6.02,)


def test_the_word_of_a_source_becomes_an_event(models: dict[str, LoadedModel]) -> None:
    (event,) = pipeline_of([models["a16"]]).status(StreamStatus("radio", "retrying", "unplugged", {"device": "hw:0"}))
    assert (event.kind, event.stream) == ("stream.status", "radio")
    assert event.data == {"state": "retrying", "reason": "unplugged", "device": "hw:0"}


def test_a_stream_without_models_still_says_what_happens() -> None:
    pipeline = pipeline_of([])
    events = (
        pipeline.push(run_of(noise(100))) + pipeline.push(run_of(noise(100), 200)) + pipeline.close("end", flush=True)
    )
    assert [data["state"] for data in statuses(events)] == ["running", "gap", "ended"]


def test_finished_audio_goes_through_the_same_pipeline(models: dict[str, LoadedModel]) -> None:
    samples = noise(60_000)[:, None]
    plan = StreamPlan(((models["c22"], (WITNESS,)),), {})
    chunks = [Chunk("tape", samples[i : i + 1000], 16_000, i) for i in range(0, 60_000, 1000)]
    pool = OfflinePool()
    events = list(classify_chunks("tape", chunks, plan, pool))
    pool.close()
    pipeline = StreamPipeline("tape", plan, OfflinePool())
    assert events == pipeline.push(run_of(samples)) + pipeline.close("end of stream", flush=True)
    assert events[-1].data["reason"] == "end of stream"


def test_a_real_model_gives_the_same_events_for_any_chunking(data: Path, tmp_path: Path) -> None:
    from yamnet import GENRE_MAP, MODERATION_MAP, write_yamnet_bundle

    from streamcls_tflite.backends import LiteRtBackend

    if LiteRtBackend.unavailable():
        pytest.skip(f"litert: {LiteRtBackend.unavailable()}")
    bundle = load_bundle(write_yamnet_bundle(data, tmp_path))
    model = LoadedModel("yamnet", bundle, LiteRtBackend(), 1)
    parts = (
        component(GenrePolicy, map=GENRE_MAP, enter=0.05, leave=0.03, margin=0.02, min_duration_s=1),
        component(ModerationPolicy, map=MODERATION_MAP, labels={"siren": {"enter": 0.3, "k": 1, "n": 2}}),
    )
    siren = real_signal("esc50_part/siren/1-76831-C.ogg", 4.0)
    samples = np.concatenate([real_signal("gtzan_full30/rock/*.ogg", 6.0), siren])[:, None]
    played = []
    for sizes in ([len(samples)], [441], [10_007, 3, 2205]):
        pipeline = pipeline_of([model], *parts)
        events = push_in_pieces(pipeline, samples, sizes, 0, 22_050) + pipeline.close("end", flush=True)
        played.append([(event.kind, event.sample, to_json(event.data)) for event in events])
        check_lives(events, "genre.segment")
        alerts = check_lives(events, "moderation.alert")
    assert played[0] == played[1] == played[2]
    assert sum(kind == "genre.window" for kind, _, _ in played[0]) == (len(samples) * 16_000 // 22_050) // 7800 - 1
    assert [phases[0]["label"] for phases in alerts.values()] == ["siren"]


def test_the_facts_of_a_status_replace_neither_its_state_nor_its_reason() -> None:
    pipeline = StreamPipeline("s", StreamPlan((), {}), OfflinePool())
    (event,) = pipeline.status(StreamStatus("s", "stalled", "silent", {"state": "running", "reason": "", "since_s": 3}))
    assert event.data == {"state": "stalled", "reason": "silent", "since_s": 3}

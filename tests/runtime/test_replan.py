"""Another plan for a stream that runs: what is the same in both must not notice, and where a model takes another's place no window is
missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import chunkings, programme
from witness import WITNESS, Everything, FormulaBackend, Witness, component, four_models, push_in_pieces, run_of, told

from streamcls.config.resolve import ResolvedComponent
from streamcls.runtime.models import LoadedModel, StreamPlan
from streamcls.runtime.offline import OfflinePool
from streamcls.runtime.pipeline import StreamPipeline
from streamcls_genre.policy import GenrePolicy

if TYPE_CHECKING:
    from streamcls.types import Event

RATE = 44_100
SECOND = ResolvedComponent("second", "witness", Witness, Everything())
REASON = "configuration changed"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    return four_models(tmp_path_factory.mktemp("models"))


def made(plan: StreamPlan) -> StreamPipeline:
    return StreamPipeline("radio", plan, OfflinePool())


def plan_of(*models: LoadedModel, parts: tuple[ResolvedComponent, ...] = (WITNESS,), **more: Any) -> StreamPlan:
    return StreamPlan(tuple((model, parts) for model in models), {}, **more)


def copy_of(model: LoadedModel, stride: int | None = None) -> LoadedModel:
    """Return what a reload makes of a bundle that was replaced: the same name, another model."""
    return LoadedModel(model.name, model.bundle, FormulaBackend(), stride or model.stride_frames)


def posteriors(events: list[Event], name: str) -> list[dict[str, Any]]:
    return [one for one in told(events, "posterior") if one["model"] == name]


def changed_at(
    before: StreamPlan, after: StreamPlan, at: int, sizes: list[int], end: int = 132_300
) -> tuple[list[Event], list[Event], list[Event]]:
    """Return what a pipeline says before, at and after a change of its plan."""
    samples = programme(RATE, end / RATE)[:, None]
    pipeline = made(before)
    first = push_in_pieces(pipeline, samples[:at], sizes, rate=RATE)
    there = pipeline.replan(after, REASON)
    rest = push_in_pieces(pipeline, samples[at:], sizes, at, RATE)
    return first, there, rest + pipeline.close("end", flush=True)


def undisturbed(plan: StreamPlan, end: int = 132_300) -> list[Event]:
    pipeline = made(plan)
    return pipeline.push(run_of(programme(RATE, end / RATE), rate=RATE)) + pipeline.close("end", flush=True)


@settings(max_examples=15, deadline=None)
@given(at=st.integers(1, 132_299), sizes=chunkings(30_000))
def test_a_model_that_stays_gives_the_same_whatever_comes_and_goes_beside_it(
    models: dict[str, LoadedModel], at: int, sizes: list[int]
) -> None:
    """Beside b16 and c22 leave a16, of the front end of one of them, and d8; then come a copy of a16 and d8 with other policies."""
    staying = [models["b16"], models["c22"]]
    before = plan_of(models["a16"], *staying, models["d8"])
    after = StreamPlan(
        ((copy_of(models["a16"]), (SECOND,)), *before.models[1:3], (copy_of(models["d8"]), (WITNESS, SECOND))), {}
    )
    events = [event for part in changed_at(before, after, at, sizes) for event in part]
    expected = undisturbed(before)
    for model in staying:
        assert posteriors(events, model.name) == posteriors(expected, model.name)
        assert all(one["reason"] == "end" for one in told(events, "close") if one["model"] == model.name)


@settings(max_examples=15, deadline=None)
@given(at=st.integers(1, 132_299), sizes=chunkings(30_000))
def test_where_a_model_takes_anothers_place_no_window_is_missing_or_doubled(
    models: dict[str, LoadedModel], at: int, sizes: list[int]
) -> None:
    before = plan_of(models["a16"], models["d8"])
    old, there, new = changed_at(before, plan_of(copy_of(models["a16"]), models["d8"]), at, sizes)
    assert posteriors(old + there + new, "a16") == posteriors(undisturbed(before), "a16")
    assert all(one["at"] <= at for one in posteriors(old + there, "a16"))
    assert [one["reason"] for one in told(there, "close")] == [REASON]
    assert told(new, "gap") == []


@pytest.mark.parametrize("stride", [1, 3, 14])
def test_another_stride_begins_with_the_frames_that_are_there(models: dict[str, LoadedModel], stride: int) -> None:
    model, at = models["a16"], 70_000
    _, _, new = changed_at(plan_of(model), plan_of(copy_of(model, stride)), at, [9_999])
    expected = posteriors(undisturbed(plan_of(copy_of(model, stride))), "a16")
    oldest = min(one["first"] for one in posteriors(undisturbed(plan_of(model)), "a16") if one["at"] > at)
    assert posteriors(new, "a16") == [one for one in expected if one["at"] > at and one["first"] >= oldest]


def test_a_model_with_a_front_end_of_its_own_begins_at_the_change(models: dict[str, LoadedModel]) -> None:
    at = 60_000
    _, _, new = changed_at(plan_of(models["a16"]), plan_of(models["a16"], models["d8"]), at, [11_111])
    expected = posteriors(undisturbed(plan_of(models["d8"])), "d8")
    grid = [(one["first"], one["at"]) for one in expected if one["first"] > at + RATE // 10]
    got = [(one["first"], one["at"]) for one in posteriors(new, "d8")]
    assert got[-len(grid) :] == grid
    assert min(first for first, _ in got) >= at - RATE // 100


def test_a_policy_that_changed_closes_what_it_has_open_and_another_of_the_same_model_goes_on(
    models: dict[str, LoadedModel],
) -> None:
    keys: dict[str, Any] = {"smooth_s": 0, "enter": 0.2, "leave": 0.0, "margin": 0.9, "min_duration_s": 0}
    genre, other = component(GenrePolicy, **keys), component(GenrePolicy, **keys, update_s=3)
    before, at = plan_of(models["a16"], parts=(genre, WITNESS)), 80_000
    old, there, new = changed_at(before, plan_of(models["a16"], parts=(other, WITNESS)), at, [5_000])
    opened = [event.data for event in old if event.data.get("phase") == "opened"][-1]
    (closed,) = [event.data for event in there if event.data.get("phase") == "closed"]
    assert (closed["id"], closed["reason"]) == (opened["id"], REASON)
    again = [event.data for event in new if event.data.get("phase") == "opened"]
    assert again[0]["id"] not in {event.data.get("id") for event in old}
    assert again[0]["first_sample"] > opened["first_sample"]
    assert told(there, "close") == []


def test_a_model_that_leaves_closes_its_policies_and_is_asked_no_more(models: dict[str, LoadedModel]) -> None:
    _, there, new = changed_at(plan_of(models["a16"], models["d8"]), plan_of(models["d8"]), 70_000, [7_777])
    assert [(one["model"], one["reason"]) for one in told(there, "close")] == [("a16", REASON)]
    assert posteriors(new, "a16") == []
    assert posteriors(new, "d8")


def test_the_stream_says_what_is_done_with_it_now(models: dict[str, LoadedModel]) -> None:
    after = replace(plan_of(models["d8"]), tags={"station": "FM 1"})
    _, there, new = changed_at(plan_of(models["a16"]), after, 70_000, [50_000])
    running = there[-1].data
    assert (running["state"], running["reason"], running["first_sample"]) == ("running", REASON, 70_000)
    assert [one["name"] for one in running["models"]] == ["d8"]
    assert running["tags"] == {"station": "FM 1"}
    assert [event.data["state"] for event in new if event.kind == "stream.status"] == ["ended"]


def test_before_the_first_sample_nothing_is_said_of_a_change(models: dict[str, LoadedModel]) -> None:
    pipeline = made(plan_of(models["a16"]))
    assert [event.kind for event in pipeline.replan(plan_of(models["d8"]), REASON)] == ["witness"]  # its policy closes
    events = pipeline.push(run_of(programme(RATE, 3.0), rate=RATE))
    assert {one["model"] for one in told(events, "posterior")} == {"d8"}


@settings(max_examples=10, deadline=None)
@given(at=st.integers(1, 132_299), back=st.integers(1, 132_299), sizes=chunkings(30_000))
def test_a_stretched_stream_has_each_nth_window_of_the_same_grid_and_then_all_of_them_again(
    models: dict[str, LoadedModel], at: int, back: int, sizes: list[int]
) -> None:
    at, back = sorted((at, back))
    model = models["b16"]
    samples = programme(RATE, 3.0)[:, None]
    pipeline = made(plan_of(model))
    events = push_in_pieces(pipeline, samples[:at], sizes, rate=RATE)
    events += pipeline.stretch(4, "overload")
    stretched = push_in_pieces(pipeline, samples[at:back], sizes, at, RATE)
    said = [event.data for event in pipeline.stretch(1, "room again")]
    assert [(one["state"], one["stride_factor"]) for one in said] == [("running", 1)]
    after = push_in_pieces(pipeline, samples[back:], sizes, back, RATE) + pipeline.close("end", flush=True)
    every = {one["first"]: one for one in posteriors(undisturbed(plan_of(model)), "b16")}
    grid = list(every)
    for events_of, factors in ((events, {1}), (stretched, {4}), (after, {1})):
        for one in posteriors(events_of, "b16"):
            assert every[one["first"]] == one
            assert any(grid.index(one["first"]) % factor == 0 for factor in factors)
    wanted = [first for first in grid if grid.index(first) % 4 == 0]
    got = [one["first"] for one in posteriors(events + stretched + after, "b16")]
    assert set(wanted) <= set(got)
    assert got == sorted(got)
    resumed = [first for first in grid if every[first]["at"] > back and first > back]
    assert set(resumed) <= set(got)


def test_a_pause_closes_what_is_open_and_shows_as_a_gap(models: dict[str, LoadedModel]) -> None:
    samples = programme(RATE, 3.0)[:, None]
    pipeline = made(plan_of(models["a16"]))
    assert pipeline.pause("overload") == []
    pipeline.push(run_of(samples[:70_000], rate=RATE))
    assert [one["reason"] for one in told(pipeline.pause("overload"), "close")] == ["overload"]
    gap, *_ = pipeline.push(run_of(samples[100_000:], 100_000, RATE))
    assert (gap.data["state"], gap.data["first_sample"], gap.data["end_sample"]) == ("gap", 70_000, 100_000)
    assert pipeline.lost_samples == 30_000

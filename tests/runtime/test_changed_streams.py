"""What the daemon does to streams that run: other plans, sources that go, overload. With workers that are real, in threads."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from fakes import LONG_S, NO_MODELS, RATE, Collector, FakeBackend, audio, plan_with

from streamcls import Chunk, EndOfStream
from streamcls.runtime.resume import Resumption
from streamcls.runtime.supervisor import Router
from streamcls.runtime.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamcls.runtime.models import StreamPlan
    from streamcls.types import Checkpoint

NEVER = threading.Event()
REASON = "configuration changed"


class Kept:
    """Takes events with checkpoints, as the journal does."""

    def __init__(self, events: Collector) -> None:
        self.events = events
        self.checkpoints: list[Checkpoint] = []

    def __call__(self, events: Any, checkpoint: Checkpoint | None) -> None:
        for event in events:
            self.events(event)
        if checkpoint is not None:
            self.checkpoints.append(checkpoint)


@pytest.fixture
def events() -> Collector:
    return Collector()


@pytest.fixture
def kept(events: Collector) -> Kept:
    return Kept(events)


@pytest.fixture
def resumption(kept: Kept) -> Resumption:
    return Resumption({}, [], [], kept, resume_s=60)


@pytest.fixture
def worker(events: Collector, kept: Kept, resumption: Resumption) -> Iterator[Worker]:
    made = Worker(0, events, buffer_s=5.0, publish_all=kept, resumption=resumption)
    made.start()
    yield made
    made.finish("shutdown", LONG_S)
    made.join(LONG_S)
    assert not made.is_alive()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def plan(tmp_path: Path, backend: FakeBackend) -> StreamPlan:
    return plan_with(tmp_path, backend)


def router_with(worker: Worker, events: Collector, plan: StreamPlan | None) -> Router:
    return Router([worker], lambda _: plan, events, "EPOCH")


def send(router: Router, *items: Any, owner: str = "tape", live: bool = False) -> list[bool]:
    return [router.route(owner, item, live=live, stop=NEVER) for item in items]


def seconds(begin: int, end: int, stream: str = "radio-1", *, marked: bool = False) -> list[Chunk]:
    chunks = [audio(second * RATE, RATE, stream) for second in range(begin, end)]
    return [replace(chunk, mark={"at": chunk.first_sample}) for chunk in chunks] if marked else chunks


def windows(events: Collector, stream: str = "radio-1") -> list[int]:
    return [event.data["from"] for event in events.of(stream) if event.kind == "fake.window"]


def reasons(events: Collector, stream: str = "radio-1") -> list[str]:
    return [event.data["reason"] for event in events.of(stream) if event.kind == "fake.segment"]


def assert_none_missing(first_samples: list[int]) -> None:
    """Check that each window follows the one before it at the same distance, which may round to two neighbours."""
    steps = [later - earlier for earlier, later in pairwise(first_samples)]
    assert len(steps) > 5
    assert max(steps) - min(steps) <= 1


def idle(worker: Worker) -> None:
    """Wait until all that was delivered has been worked on."""
    with worker._changed:
        assert worker._changed.wait_for(lambda: not any(slot.inbox for slot in worker._slots.values()), LONG_S)


def finish(worker: Worker) -> None:
    worker.finish("shutdown", LONG_S)
    worker.join(LONG_S)


def test_a_stream_whose_plan_stays_the_same_notices_nothing(
    worker: Worker, events: Collector, plan: StreamPlan
) -> None:
    router = router_with(worker, events, plan)
    send(router, *seconds(0, 5))
    assert router.replan(lambda _: replace(plan), REASON) == ([], [])
    send(router, *seconds(5, 10))
    finish(worker)
    assert events.states() == ["running", "ended"]
    assert_none_missing(windows(events))


def test_a_changed_plan_is_taken_up_between_two_pieces_and_a_model_that_nobody_uses_is_closed(
    worker: Worker, events: Collector, plan: StreamPlan, backend: FakeBackend, tmp_path: Path
) -> None:
    other_backend = FakeBackend()
    other = plan_with(tmp_path / "other", other_backend)
    router = router_with(worker, events, plan)
    send(router, *seconds(0, 5))
    assert router.replan(lambda _: other, REASON) == (["radio-1"], [])
    send(router, *seconds(5, 10))
    idle(worker)
    events.wait_for(lambda all_: any(event.data.get("reason") == REASON for event in all_))
    finish(worker)
    assert reasons(events) == [REASON, "shutdown"]
    assert_none_missing(windows(events))
    assert [made.closed for made in backend.made] == [1]
    assert [made.closed for made in other_backend.made] == [1]


def test_a_model_that_cannot_be_freed_costs_no_stream(
    worker: Worker, events: Collector, plan: StreamPlan, backend: FakeBackend, tmp_path: Path
) -> None:
    def broken() -> None:
        raise RuntimeError("no such handle")

    router = router_with(worker, events, plan)
    send(router, *seconds(0, 5))
    idle(worker)
    backend.made[0].close = broken
    router.replan(lambda _: plan_with(tmp_path / "other", FakeBackend()), REASON)
    send(router, *seconds(5, 10))
    finish(worker)
    assert worker.failure is None
    assert_none_missing(windows(events))


def test_a_stream_that_nothing_matches_any_more_ends_and_what_comes_later_is_refused_once(
    worker: Worker, events: Collector, plan: StreamPlan
) -> None:
    router = router_with(worker, events, plan)
    send(router, *seconds(0, 5))
    assert router.replan(lambda _: None, REASON) == ([], ["radio-1"])
    assert send(router, *seconds(5, 7)) == [False, False]
    finish(worker)
    assert reasons(events) == [REASON]
    assert sorted(events.states()) == ["ended", "failed", "running"]


def test_of_many_changes_with_no_audio_between_them_the_last_counts(worker: Worker, events: Collector) -> None:
    router = router_with(worker, events, NO_MODELS)
    send(router, *seconds(0, 1))
    idle(worker)
    for number in range(5_000):
        router.replan(lambda _, number=number: replace(NO_MODELS, tags={"n": str(number)}), REASON)  # type: ignore[misc]
    events.wait_for(lambda all_: any(event.data.get("tags") == {"n": "4999"} for event in all_))


def test_a_source_that_goes_hands_its_stream_to_its_successor(
    worker: Worker, events: Collector, kept: Kept, resumption: Resumption, plan: StreamPlan
) -> None:
    router = router_with(worker, events, plan)
    send(router, *seconds(0, 6, marked=True))
    assert router.leave("tape", "source changed", LONG_S)
    assert kept.checkpoints[-1].state is not None
    assert reasons(events) == ["source changed"]
    mark = resumption.marks("tape")["radio-1"]["at"]
    assert resumption.reached("tape") == {"radio-1": 6 * RATE}
    assert router.streams_of("tape") == []
    send(router, *seconds(mark // RATE, 10, marked=True))
    finish(worker)
    assert_none_missing(windows(events))
    assert events.of("radio-1")[-1].data["state"] == "ended"
    assert "gap" not in events.states()


def test_what_nobody_goes_on_with_is_forgotten(
    worker: Worker, events: Collector, kept: Kept, resumption: Resumption, plan: StreamPlan
) -> None:
    router = router_with(worker, events, plan)
    send(router, *seconds(0, 6, marked=True))
    assert router.leave("tape", "source removed", LONG_S)
    resumption.forget("tape")
    assert (resumption.marks("tape"), kept.checkpoints[-1].state) == ({}, None)
    send(router, *seconds(0, 2))
    finish(worker)
    assert not any("resumed" in event.data.get("reason", "") for event in events.events)


def test_where_a_stream_begins_anew_before_its_end_is_heeded_it_has_the_plan_of_then(
    worker: Worker, events: Collector, plan: StreamPlan
) -> None:
    router = router_with(worker, events, NO_MODELS)
    send(router, *seconds(0, 4), EndOfStream("radio-1"))
    router.replan(lambda _: plan, REASON)
    send(router, *seconds(0, 6))
    finish(worker)
    assert windows(events)


def test_a_stream_that_is_shed_says_so_and_later_where_the_hole_is(
    worker: Worker, events: Collector, plan: StreamPlan
) -> None:
    router = router_with(worker, events, plan)
    send(router, *seconds(0, 5), live=True)
    idle(worker)
    worker.shed(["radio-1", "nobody"], "overload: too much")
    assert send(router, *seconds(5, 9), live=True) == [False] * 4
    worker.restore(["radio-1"], "there is room again")
    send(router, *seconds(9, 14), live=True)
    finish(worker)
    assert events.states() == ["running", "shed", "running", "gap", "ended"]
    gap = next(event.data for event in events.of("radio-1") if event.data.get("state") == "gap")
    assert (gap["first_sample"], gap["end_sample"]) == (5 * RATE, 9 * RATE)
    assert reasons(events) == ["overload", "shutdown"]
    told = [event.data.get("shed_s") for event in events.of("radio-1") if event.data.get("state") == "running"]
    assert told == [None, 4.0]
    pace = worker.pace()
    assert (pace.streams[0].arrived_s, pace.streams[0].shed, pace.live_arrived_s) == (14.0, False, 14.0)
    assert pace.live_taken_s == 10.0


def test_a_stream_that_falls_silent_while_it_is_shed_and_comes_back_is_shed_still(
    worker: Worker, events: Collector, plan: StreamPlan
) -> None:
    now = [0.0]
    router = Router([worker], lambda _: plan, events, "EPOCH", stall_s=10.0, clock=lambda: now[0])
    send(router, *seconds(0, 5), live=True)
    idle(worker)
    worker.shed(["radio-1"], "overload: too much")
    for _ in range(11):
        now[0] += 1.0
        router.tick()
    send(router, *seconds(5, 6), live=True)
    idle(worker)
    events.wait_for(lambda _: len(events.states()) == 4)
    assert events.states() == ["running", "shed", "stalled", "shed"]
    assert [slot.state for slot in worker.slots()] == ["shed"]


def test_only_what_is_live_is_shed_or_stretched(worker: Worker, events: Collector, plan: StreamPlan) -> None:
    router = router_with(worker, events, plan)
    send(router, *seconds(0, 5, "tape"), live=False)
    send(router, *seconds(0, 5, "mic"), owner="mic", live=True)
    idle(worker)
    worker.stretch(4, "overload: half of the windows")
    worker.shed(["tape"], "overload")
    send(router, *seconds(5, 20, "tape"), live=False)
    for chunk in seconds(5, 20, "mic"):
        send(router, chunk, owner="mic", live=True)
        idle(worker)
    worker.stretch(1, "there is room again")
    send(router, *seconds(20, 21, "mic"), owner="mic", live=True)
    finish(worker)
    assert events.states("tape") == ["running", "ended"]
    factors = [event.data["stride_factor"] for event in events.of("mic") if "stride_factor" in event.data]
    assert factors == [4, 1]
    assert 2 * len(windows(events, "mic")) < len(windows(events, "tape"))
    assert worker.pace().streams[0].live is False

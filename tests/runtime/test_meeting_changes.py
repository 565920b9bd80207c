"""Reloads, overload, ends and losses of streams that come at the same time. With workers that are real, in threads."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fakes import LONG_S, RATE, Collector, FakeBackend, FakePolicy, audio, plan_with
from signals import programme
from witness import FormulaBackend, four_models, pipeline_of, push_in_pieces, told

from streamcls import EndOfStream, StreamStatus
from streamcls.config.resolve import ResolvedComponent
from streamcls.runtime.liveness import Beat
from streamcls.runtime.models import LoadedModel, StreamPlan
from streamcls.runtime.resume import Resumption
from streamcls.runtime.supervisor import Router
from streamcls.runtime.workers import Worker
from streamcls.types import Checkpoint, Chunk, read_only

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamcls.types import FeatureWindow, FloatArray

NEVER = threading.Event()
REASON = "configuration changed"


class Scene:
    """A worker behind a router, both real, and what they publish. Its answers to windows may be held back."""

    def __init__(self, tmp_path: Path, *, buffer_s: float = 5.0) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.asked = threading.Semaphore(0)
        self.events = Collector()
        self.checkpoints: list[Checkpoint] = []
        self.resumption = Resumption({}, [], [], self._publish_all, resume_s=60)
        self.worker = Worker(0, self.events, buffer_s, publish_all=self._publish_all, resumption=self.resumption)
        self.plan: StreamPlan | None = plan_with(tmp_path, FakeBackend(self._answer))
        self.router = Router([self.worker], lambda _: self.plan, self.events, "EPOCH")

    def _publish_all(self, events: Any, checkpoint: Checkpoint | None) -> None:
        for event in events:
            self.events(event)
        if checkpoint is not None:
            self.checkpoints.append(checkpoint)

    def _answer(self, _: FeatureWindow) -> None:
        self.asked.release()
        assert self.go_on.wait(LONG_S)

    def send(self, *items: Any, owner: str = "mic", live: bool = True) -> list[bool]:
        return [self.router.route(owner, item, live=live, stop=NEVER) for item in items]

    def hold(self) -> None:
        """Have the worker stand still at its next window."""
        self.go_on.clear()

    def wait_until_held(self) -> None:
        assert self.asked.acquire(timeout=LONG_S)

    def idle(self) -> None:
        """Wait until all that was delivered has been worked on."""
        worker = self.worker
        with worker._changed:
            assert worker._changed.wait_for(lambda: not any(s.inbox for s in worker._slots.values()), LONG_S)

    def finish(self) -> None:
        self.go_on.set()
        self.worker.finish("shutdown", LONG_S)
        self.worker.join(LONG_S)
        assert not self.worker.is_alive()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    made.worker.start()
    yield made
    made.finish()


class Waiting(Beat):
    """Where a source shows that it waits for room."""

    def __init__(self) -> None:
        super().__init__("tape", math.inf, time.monotonic)
        self.noted = threading.Event()

    def __call__(self, doing: str = "") -> None:
        self.noted.set()


def seconds(begin: int, end: int, *, marked: bool = False) -> list[Chunk]:
    chunks = [audio(second * RATE, RATE) for second in range(begin, end)]
    return [replace(chunk, mark={"at": chunk.first_sample}) for chunk in chunks] if marked else chunks


class Closable(FormulaBackend):
    """Its classifiers can be asked nothing more once they are closed, like an interpreter that was freed."""

    closed = False

    def load(self, bundle: Any) -> Closable:
        made = Closable()
        made.n_labels = bundle.n_labels
        return made

    def logits(self, window: FeatureWindow) -> FloatArray:
        assert not self.closed
        return super().logits(window)

    def close(self) -> None:
        self.closed = True


def test_windows_of_a_model_that_leaves_are_still_classified_though_nobody_else_uses_it(
    scene: Scene, tmp_path: Path
) -> None:
    models = {
        name: LoadedModel(name, model.bundle, Closable(), model.stride_frames)
        for name, model in four_models(tmp_path / "models").items()
    }
    parts = (ResolvedComponent("fake", "fake", FakePolicy, FakePolicy.Config()),)
    rate, samples = 44_100, read_only(programme(44_100, 4.0)[:, None])
    scene.plan = StreamPlan(tuple((model, parts) for model in models.values()), {})
    for first in range(0, len(samples), 10_000):
        scene.send(Chunk("radio-1", samples[first : first + 10_000], rate, first))
        for leaving in models.values():
            less = StreamPlan(tuple((one, parts) for one in models.values() if one is not leaving), {})
            scene.router.replan(lambda _, less=less: less, REASON)  # type: ignore[misc]
            scene.idle()
            whole = StreamPlan(tuple((one, parts) for one in models.values()), {})
            scene.router.replan(lambda _, whole=whole: whole, REASON)  # type: ignore[misc]
    scene.finish()
    assert "retrying" not in scene.events.states()


def test_what_a_source_has_at_hand_for_a_stream_that_ends_is_not_taken(scene: Scene) -> None:
    scene.hold()
    scene.send(*seconds(0, 4), owner="tape", live=False)
    scene.wait_until_held()
    waiting, taken = Waiting(), []

    def deliver() -> None:
        chunks = seconds(4, 40)
        taken.extend(scene.router.route("tape", one, live=False, stop=NEVER, beat=waiting) for one in chunks)

    source = threading.Thread(target=deliver)
    source.start()
    assert waiting.noted.wait(LONG_S)
    scene.plan = None
    scene.router.replan(lambda _: None, REASON)
    scene.go_on.set()
    source.join(LONG_S)
    scene.finish()
    assert taken[-1] is False
    said = [event.data["state"] for event in scene.events.of("radio-1") if event.kind == "stream.status"]
    assert said.count("running") == 1
    assert said.count("ended") == 1


def test_a_live_stream_that_begins_again_has_other_ids_whoever_delivers_it(scene: Scene) -> None:
    origins = []
    for owner in ("mic", "mic", "other"):
        scene.send(*seconds(0, 1), owner=owner)
        scene.idle()
        origins += [slot.origin for slot in scene.worker.slots()]
        scene.send(EndOfStream("radio-1"), owner=owner)
    assert len(set(origins)) == 3


def test_so_does_one_that_begins_again_before_its_end_is_heeded(scene: Scene) -> None:
    scene.hold()
    scene.send(*seconds(0, 4))
    scene.wait_until_held()
    (first,) = [slot.origin for slot in scene.worker.slots()]
    scene.send(EndOfStream("radio-1"))
    scene.send(*seconds(0, 1), owner="other")
    scene.go_on.set()
    scene.events.wait_for(lambda _: scene.events.states().count("running") == 2)
    (second,) = [slot.origin for slot in scene.worker.slots()]
    assert first != second


def test_a_stream_that_begins_again_before_its_end_is_heeded_is_not_given_up_with_the_one_before(scene: Scene) -> None:
    scene.send(*seconds(0, 5))
    scene.idle()
    scene.hold()
    scene.send(*seconds(5, 9))
    scene.wait_until_held()
    scene.worker.shed(["radio-1"], "overload")
    scene.send(EndOfStream("radio-1"))
    assert scene.send(*seconds(0, 2), owner="other") == [True, True]
    scene.finish()
    assert scene.events.states() == ["running", "shed", "ended", "running", "ended"]


def test_a_change_of_plan_does_not_have_a_stream_that_is_given_up_run(scene: Scene) -> None:
    scene.send(*seconds(0, 5))
    scene.idle()
    scene.worker.shed(["radio-1"], "overload")
    assert scene.plan is not None
    other = replace(scene.plan, tags={"room": "2"})
    scene.router.replan(lambda _: other, REASON)
    scene.idle()
    scene.worker.restore(["radio-1"], "room again")
    scene.finish()
    assert scene.events.states() == ["running", "shed", "shed", "running", "ended"]
    assert [event.data["tags"] for event in scene.events.of("radio-1") if "tags" in event.data] == [{}, {"room": "2"}]


def test_nor_one_that_is_silent(scene: Scene) -> None:
    scene.send(*seconds(0, 5), StreamStatus("radio-1", "stalled", "nothing comes"))
    assert scene.plan is not None
    other = replace(scene.plan, tags={"room": "2"})
    scene.router.replan(lambda _: other, REASON)
    scene.finish()
    assert scene.events.states() == ["running", "stalled", "stalled", "ended"]


def test_a_stream_whose_source_was_lost_while_it_was_given_up_says_so_once_its_audio_comes_again(scene: Scene) -> None:
    scene.send(*seconds(0, 5))
    scene.idle()
    scene.worker.shed(["radio-1"], "overload")
    scene.send(StreamStatus("radio-1", "retrying", "unplugged"))
    scene.idle()
    scene.events.wait_for(lambda _: "retrying" in scene.events.states())
    assert scene.send(*seconds(9, 12)) == [False] * 3
    scene.idle()
    scene.events.wait_for(lambda _: scene.events.states().count("shed") == 2)
    scene.worker.restore(["radio-1"], "room again")
    scene.send(*seconds(12, 13))
    scene.finish()
    states = scene.events.states()
    assert states == ["running", "shed", "ended", "retrying", "shed", "running", "gap", "running", "ended"]


def test_a_stream_without_a_source_is_neither_given_up_nor_runs_in_what_it_says(scene: Scene) -> None:
    scene.send(*seconds(0, 5), StreamStatus("radio-1", "retrying", "unplugged"))
    scene.idle()
    scene.worker.shed(["radio-1"], "overload")
    scene.worker.restore(["radio-1"], "room again")
    scene.finish()
    assert scene.events.states() == ["running", "ended", "retrying"]


def test_a_stretch_holds_for_a_stream_that_failed_and_begins_anew(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    asked: list[int] = []

    def answer(_: FeatureWindow) -> None:
        asked.append(1)
        if len(asked) == 3:
            raise ZeroDivisionError

    scene.plan = plan_with(tmp_path / "failing", FakeBackend(answer))
    scene.worker.start()
    scene.worker.stretch(4, "overload")
    for chunk in seconds(0, 40):
        scene.send(chunk)
        scene.idle()
    scene.finish()
    factors = [event.data["stride_factor"] for event in scene.events.of("radio-1") if "stride_factor" in event.data]
    assert factors == [4, 4]


def test_a_pause_after_which_nothing_is_missing_begins_at_its_end(tmp_path: Path) -> None:
    model = four_models(tmp_path / "models")["a16"]
    samples, rate, at = programme(44_100, 4.0)[:, None], 44_100, 70_001

    def heard(*, pause: bool) -> list[dict[str, Any]]:
        pipeline = pipeline_of([model])
        if pause:
            push_in_pieces(pipeline, samples[:at], [5_000], rate=rate)
            pipeline.pause("overload")
        return told(push_in_pieces(pipeline, samples[at:], [5_000], at, rate), "posterior")

    assert heard(pause=True) == heard(pause=False)


def test_a_successor_goes_on_with_a_stream_whose_source_has_failed_before(scene: Scene) -> None:
    scene.send(*seconds(0, 6, marked=True), owner="tape", live=False)
    scene.idle()
    scene.send(StreamStatus("radio-1", "failed", "no such file"), EndOfStream("radio-1"), owner="tape", live=False)
    scene.idle()
    scene.events.wait_for(lambda _: "ended" in scene.events.states())
    assert scene.resumption.marks("tape") == {}
    scene.resumption.succeed("tape")
    assert scene.resumption.reached("tape") == {"radio-1": 6 * RATE}
    mark = scene.resumption.marks("tape")["radio-1"]["at"]
    scene.send(*seconds(mark // RATE, 10, marked=True), owner="tape", live=False)
    scene.finish()
    assert any("resumed" in event.data.get("reason", "") for event in scene.events.events)
    assert "gap" not in scene.events.states()


def test_one_that_begins_again_before_there_is_a_successor_is_another_stream(scene: Scene) -> None:
    scene.send(*seconds(0, 6, marked=True), EndOfStream("radio-1"), owner="tape", live=False)
    scene.send(*seconds(0, 2, marked=True), owner="tape", live=False)
    scene.idle()
    scene.events.wait_for(lambda _: scene.events.states() == ["running", "ended", "running"])
    scene.resumption.succeed("tape")
    assert scene.resumption.marks("tape") == {}


def test_what_ended_by_itself_is_forgotten_with_its_source(scene: Scene) -> None:
    scene.send(*seconds(0, 6, marked=True), EndOfStream("radio-1"), owner="tape", live=False)
    scene.events.wait_for(lambda _: "ended" in scene.events.states())
    scene.idle()
    scene.finish()
    scene.resumption.forget("tape")
    assert scene.checkpoints[-1].state is None
    scene.resumption.succeed("tape")
    assert scene.resumption.marks("tape") == {}

"""A stream that is killed and goes on says what it would have said undisturbed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from core_bundles import MANIFEST, write_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from lives import NEVER, BitBackend, Ledger, live, marked, restarted, story, whole
from pydantic import BaseModel
from signals import noise, programme, real_signal

from streamcls.config.resolve import ResolvedComponent
from streamcls.inference import load_bundle
from streamcls.runtime.models import LoadedModel, StreamPlan
from streamcls.types import Chunk, EndOfStream, Event, Levels, ModelInfo, Posterior
from streamcls_genre.policy import GenrePolicy
from streamcls_moderation.policy import ModerationPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamcls.interfaces import PolicyContext

RATE = 16_000


class Nothing(BaseModel):
    """No settings."""


class Scribe:
    """A policy of a third party that says what it is told, numbered: it must be told everything once and in order."""

    name: ClassVar[str] = "scribe"
    Config: ClassVar[type[BaseModel]] = Nothing

    def __init__(self, config: Nothing, context: PolicyContext) -> None:
        self._context = context
        self._count = 0

    @classmethod
    def accepts(cls, config: Nothing, model: ModelInfo) -> bool:
        return True

    def update(self, item: Posterior | Levels) -> list[Event]:
        values = [*item.peak_dbfs, *item.rms_dbfs] if isinstance(item, Levels) else item.values.tolist()
        return [self._say(type(item).__name__, item.end_sample, first=item.first_sample, values=values)]

    def gap(self, first_sample: int, end_sample: int) -> list[Event]:
        return [self._say("gap", first_sample, end=end_sample)]

    def close(self, at_sample: int, reason: str) -> list[Event]:
        return [self._say("close", at_sample, reason=reason)]

    def state(self) -> Mapping[str, Any]:
        return {"count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._count = state["count"]

    def _say(self, what: str, at: int, **more: Any) -> Event:
        self._count += 1
        data = {"what": what, "number": self._count, "model": self._context.model.name, **more}
        return Event("scribe.window" if what == "Posterior" else "scribe.note", self._context.stream, data, sample=at)


def component(policy: type, **keys: object) -> ResolvedComponent:
    return ResolvedComponent(policy.name, policy.name, policy, policy.Config.model_validate(keys))


SCRIBE = ResolvedComponent("scribe", "scribe", Scribe, Nothing())
GENRE = component(
    GenrePolicy, models=["equal", "other", "third"], smooth_s=1, enter=0.5, leave=0.4, min_duration_s=0.5, update_s=1
)
MODERATION = component(
    ModerationPolicy,
    models=["equal", "other"],
    labels={"jazz": {"enter": 0.5, "cool_down_s": 0.5}, "rock": {"enter": 0.6, "k": 1, "min_duration_s": 0.7}},
    update_s=1,
)


def manifest(rate: int, n_frames: int, stride: int) -> str:
    return (
        MANIFEST.replace("sample_rate = 16000", f"sample_rate = {rate}")
        .replace("fmax = 8000", f"fmax = {rate // 2}")
        .replace("n_frames = 10", f"n_frames = {n_frames}")
        .replace("stride_frames = 5", f"stride_frames = {stride}")
        .replace("[1, 10, 40, 1]", f"[1, {n_frames}, 40, 1]")
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    """Return models at the source's rate and at others, with windows and strides of several lengths."""
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for name, rate, n_frames, stride in (("equal", RATE, 60, 8), ("other", 22_050, 40, 12), ("third", RATE, 11, 25)):
        bundle = load_bundle(write_bundle(folder / name, manifest=manifest(rate, n_frames, stride)))
        made[name] = LoadedModel(name, bundle, BitBackend(), stride)
    return made


@pytest.fixture(scope="module")
def plan(models: dict[str, LoadedModel]) -> StreamPlan:
    third = (GENRE, SCRIBE)
    return StreamPlan(
        (
            (models["equal"], (GENRE, MODERATION, SCRIBE)),
            (models["other"], (MODERATION, GENRE, SCRIBE)),
            (models["third"], third),
        ),
        {},
    )


def tape(seconds: float, gaps: Sequence[tuple[float, int]] = (), chunk: int = 1_600, rate: int = RATE) -> list[Chunk]:
    """Return a programme in chunks; at each of the given seconds the index jumps by so many samples."""
    samples = programme(rate, seconds)[:, None]
    chunks, shift, left = [], 0, sorted(gaps)
    for start in range(0, len(samples), chunk):
        while left and left[0][0] * rate <= start:
            shift += left.pop(0)[1]
        chunks.append(Chunk("radio", samples[start : start + chunk], rate, start + shift))
    return marked(chunks)


def told(plan: StreamPlan, chunks: Sequence[Chunk], kills: Sequence[int], history_s: float = 0.0) -> Ledger:
    """Return what is in the journal after lives that end before the given units, and one more."""
    ledger = Ledger()
    resumption = None
    rest = chunks
    for kill_at in [*kills, NEVER]:
        if live(
            plan, [*rest, EndOfStream("radio")], ledger, resumption=resumption, kill_at=kill_at, history_s=history_s
        ):
            break
        resumption, rest = restarted(ledger, chunks)
    return ledger


def test_the_signals_give_findings_to_lose(plan: StreamPlan) -> None:
    events = whole(plan, tape(20.0, [(7.0, 4_000)]))
    phases = [(event.kind, event.data["phase"]) for event in events if "phase" in event.data]
    for kind in ("genre.segment", "moderation.alert"):
        for phase in ("opened", "updated", "closed"):
            assert phases.count((kind, phase)) >= 4, (kind, phase)


@settings(max_examples=8, deadline=None)
@given(
    kills=st.lists(st.integers(0, 50), min_size=1, max_size=5),
    gaps=st.lists(st.tuples(st.floats(0.5, 19.0), st.integers(1, 60_000)), max_size=3),
    chunk=st.integers(200, 8_000),
    history_s=st.sampled_from([0.0, 3.0]),
)
def test_killed_at_any_unit_it_says_the_same_as_undisturbed(
    plan: StreamPlan, kills: list[int], gaps: list[tuple[float, int]], chunk: int, history_s: float
) -> None:
    chunks = tape(20.0, gaps, chunk)
    ledger = told(plan, chunks, kills, history_s)
    expected = whole(plan, chunks)
    assert story(ledger.events) == story(expected)
    # What was said twice was windows, and word for word what is said now.
    said = set(story(expected))
    assert set(story(ledger.repeated)) <= said


@pytest.mark.parametrize("rate", [44_100, 48_000, 8_000, 22_050])
def test_resampled_audio_goes_on_bit_for_bit(models: dict[str, LoadedModel], rate: int) -> None:
    plan = StreamPlan(((models["equal"], (SCRIBE, GENRE)), (models["other"], (SCRIBE, MODERATION))), {})
    chunks = tape(24.0, [(15.0, 999)], rate // 10, rate)
    expected = story(whole(plan, chunks))
    for kills in ([35], [3, 20, 20], [47]):
        assert story(told(plan, chunks, kills).events) == expected


def test_killed_before_every_unit_in_turn(models: dict[str, LoadedModel]) -> None:
    plan = StreamPlan(((models["equal"], (GENRE, MODERATION, SCRIBE)),), {})
    chunks = tape(6.0, [(2.3, 5), (4.0, 20_000)])
    expected = story(whole(plan, chunks))
    for kill_at in range(14):
        assert story(told(plan, chunks, [kill_at]).events) == expected, kill_at


def test_it_says_that_it_goes_on_once_for_each_life(plan: StreamPlan) -> None:
    events = told(plan, tape(10.0), [9, 9]).events
    resumed = [e for e in events if str(e.data.get("reason", "")).startswith("resumed at sample ")]
    assert len(resumed) == 2
    assert [e.data["state"] for e in resumed] == ["running", "running"]
    assert [e.sample for e in resumed] == [int(e.data["reason"].split()[-1]) for e in resumed]
    assert resumed[0].data["models"][0]["name"] == "equal"


def test_an_orderly_stop_closes_findings_and_loses_no_window(plan: StreamPlan) -> None:
    chunks = tape(20.0)
    expected = whole(plan, chunks)
    ledger = Ledger()
    assert live(plan, chunks[:77], ledger)
    assert not ledger.open()
    resumption, rest = restarted(ledger, chunks)
    assert live(plan, [*rest, EndOfStream("radio")], ledger, resumption=resumption)

    def windows(events: Sequence[Event]) -> list[tuple[Any, ...]]:
        return [
            (e.kind, e.data["model"], e.data["first_sample"], e.data["end_sample"], e.data["posterior"])
            for e in events
            if e.kind in {"genre.window", "moderation.window"}
        ]

    assert sorted(map(str, windows(ledger.events))) == sorted(map(str, windows(expected)))
    assert not any(e.data.get("state") == "gap" for e in ledger.events), "nothing was lost, so nothing is said of it"
    assert not ledger.open()


def test_what_began_keeps_the_time_at_which_it_began(models: dict[str, LoadedModel]) -> None:
    plan = StreamPlan(((models["equal"], (GENRE,)),), {})
    chunks = [Chunk(c.stream, c.samples, RATE, c.first_sample, 1e9 + c.first_sample / RATE, c.mark) for c in tape(20.0)]
    ledger = Ledger()
    assert not live(plan, chunks, ledger, kill_at=20)
    before = {one["data"]["id"]: one["data"]["started_at"] for one in ledger.open()}
    assert before
    resumption, rest = restarted(ledger, chunks)
    late = [Chunk(c.stream, c.samples, RATE, c.first_sample, c.captured_at + 500.0, c.mark) for c in rest]
    assert live(plan, [*late, EndOfStream("radio")], ledger, resumption=resumption)
    closed = {e.data["id"]: e.data for e in ledger.events if e.data.get("phase") == "closed"}
    for identifier, started_at in before.items():
        assert closed[identifier]["started_at"] == started_at
        assert closed[identifier]["ended_at"] > "2001-09-09T01:55"


def lost(events: Sequence[Event]) -> list[str]:
    return [e.data["id"] for e in events if e.data.get("reason") == "daemon_lost" and e.data.get("phase") == "closed"]


def check_refused(plan: StreamPlan, ledger: Ledger, chunks: Sequence[Chunk]) -> list[Event]:
    """Go on with other circumstances: what was open is closed as lost, and every finding still has one whole life."""
    was_open = sorted(one["data"]["id"] for one in ledger.open())
    assert was_open
    resumption, _ = restarted(ledger, chunks)
    mark = len(ledger.events)
    assert live(plan, [*chunks, EndOfStream("radio")], ledger, resumption=resumption)
    after = ledger.events[mark:]
    assert sorted(lost(after)) == was_open
    assert not ledger.open()
    ids = [e.data["id"] for e in ledger.events if e.data.get("phase") == "opened"]
    assert len(ids) == len(set(ids)), "a finding that was closed is opened again"
    return after


def interrupted(plan: StreamPlan, chunks: Sequence[Chunk]) -> Ledger:
    for kill_at in range(15, 40):
        ledger = Ledger()
        assert not live(plan, chunks, ledger, kill_at=kill_at)
        if len(ledger.open()) > 1:
            return ledger
    raise AssertionError("nothing was ever open")


@pytest.fixture
def single(models: dict[str, LoadedModel]) -> StreamPlan:
    return StreamPlan(((models["equal"], (GENRE, MODERATION)),), {})


def test_another_format_begins_anew(single: StreamPlan) -> None:
    ledger = interrupted(single, tape(20.0))
    after = check_refused(single, ledger, tape(20.0, rate=22_050))
    [status] = [e for e in after if e.data.get("state") == "gap"]
    assert status.data["reason"] == (
        "it cannot go on where it was: it was 16000 Hz with 1 channels and is 22050 Hz with 1"
    )


def test_audio_that_begins_too_late_begins_anew(single: StreamPlan) -> None:
    chunks = tape(20.0)
    ledger = interrupted(single, chunks)
    after = check_refused(single, ledger, chunks[150:])
    [status] = [e for e in after if e.data.get("state") == "gap"]
    assert "is still needed, but it begins at 240000" in status.data["reason"]


def test_other_audio_in_the_place_of_what_was_heard_closes_what_was_open(single: StreamPlan) -> None:
    chunks = tape(20.0)
    ledger = interrupted(single, chunks)
    resumption, rest = restarted(ledger, chunks)
    holed = [rest[0], rest[1], *rest[5:]]
    check = {one["data"]["id"] for one in ledger.open()}
    assert live(single, [*holed, EndOfStream("radio")], ledger, resumption=resumption)
    assert set(lost(ledger.events)) == check
    assert not ledger.open()
    windows = [
        (e.kind, e.data["first_sample"]) for e in ledger.events if e.kind in {"genre.window", "moderation.window"}
    ]
    assert len(windows) == len(set(windows)), "a window was decided twice"


def test_a_policy_with_another_configuration_begins_anew_and_the_other_goes_on(models: dict[str, LoadedModel]) -> None:
    equal = models["equal"]
    chunks = tape(20.0)
    expected = whole(StreamPlan(((equal, (MODERATION,)),), {}), chunks)
    ledger = interrupted(StreamPlan(((equal, (GENRE, MODERATION)),), {}), chunks)
    genres = {one["data"]["id"] for one in ledger.open() if one["type"] == "streamcls.genre.segment"}
    assert genres
    other = component(GenrePolicy, models=["equal"], smooth_s=2)
    resumption, rest = restarted(ledger, chunks)
    changed = StreamPlan(((equal, (other, MODERATION)),), {})
    assert live(changed, [*rest, EndOfStream("radio")], ledger, resumption=resumption)
    assert set(lost(ledger.events)) == genres
    moderation = [e for e in ledger.events if e.kind.startswith("moderation.")]
    assert story(moderation) == story(e for e in expected if e.kind.startswith("moderation."))


def test_a_model_that_changed_takes_its_policies_with_it(
    models: dict[str, LoadedModel], tmp_path, single: StreamPlan
) -> None:
    chunks = tape(20.0)
    ledger = interrupted(single, chunks)
    folder = write_bundle(tmp_path / "equal", manifest=manifest(RATE, 60, 8), model=b"trained again")
    newer = LoadedModel("equal", load_bundle(folder), BitBackend(), 8)
    opened = {one["data"]["id"] for one in ledger.open()}
    resumption, rest = restarted(ledger, chunks)
    plan = StreamPlan(((newer, (GENRE, MODERATION)),), {})
    assert live(plan, [*rest, EndOfStream("radio")], ledger, resumption=resumption)
    assert set(lost(ledger.events)) == opened


class Forgetful(GenrePolicy):
    """A policy that cannot be restored."""

    state = None
    restore = None


def test_a_state_of_another_version_is_not_understood(single: StreamPlan) -> None:
    chunks = tape(20.0)
    ledger = interrupted(single, chunks)
    opened = {one["data"]["id"] for one in ledger.open()}
    assert ledger.checkpoint is not None
    ledger.checkpoint = ledger.checkpoint.replace('"version": 1', '"version": 2', 1)
    _, rest = restarted(ledger, chunks)
    assert rest is chunks
    assert ledger.checkpoint is None
    assert set(lost(ledger.events)) == opened


def test_real_audio_through_a_real_bundle_goes_on_where_it_was(tmp_path) -> None:
    from realbundle import real_bundle

    from streamcls_tflite.backends import LiteRtBackend

    if LiteRtBackend.unavailable():
        pytest.skip(f"litert: {LiteRtBackend.unavailable()}")
    plans = []
    for name, policy, keys in (
        ("genre-cnn", GenrePolicy, {"min_duration_s": 2}),
        ("moderation-cnn", ModerationPolicy, {}),
    ):
        bundle = load_bundle(real_bundle(tmp_path, name))
        model = LoadedModel(name, bundle, LiteRtBackend(), bundle.manifest.window.stride_frames)
        plans.append((model, (component(policy, **keys),)))
    plan = StreamPlan(tuple(plans), {})
    parts = [
        real_signal("gtzan_full30/rock/*.ogg", 8.0),
        real_signal("esc50_part/siren/1-76831-C.ogg", 4.0),
        real_signal("gtzan_full30/jazz/*.ogg", 8.0),
    ]
    signal = np.concatenate(parts)
    for rate, samples in ((22_050, signal), (44_100, np.repeat(signal, 2))):
        chunks = marked(
            Chunk("radio", samples[i : i + 2_205, None], rate, i + (3_000 if i > 300_000 else 0))
            for i in range(0, len(samples), 2_205)
        )
        expected = story(whole(plan, chunks))
        for kills in ([16], [5, 20], [12, 12, 12]):
            assert story(told(plan, chunks, kills).events) == expected
        assert any(kind == "moderation.alert" for kind, _, _ in expected)
        assert any(kind == "genre.segment" for kind, _, _ in expected)


def test_noise_of_two_channels_goes_on_too(models: dict[str, LoadedModel]) -> None:
    plan = StreamPlan(((models["equal"], (SCRIBE,)), (models["other"], (SCRIBE,))), {})
    samples = noise(160_000, channels=2)
    chunks = marked(Chunk("radio", samples[i : i + 1_111], RATE, i + 77) for i in range(0, len(samples), 1_111))
    assert story(told(plan, chunks, [7, 8]).events) == story(whole(plan, chunks))


def test_what_a_policy_without_a_state_had_open_is_lost(models: dict[str, LoadedModel]) -> None:
    plan = StreamPlan(((models["equal"], (component(Forgetful, models=["equal"], smooth_s=1), MODERATION)),), {})
    chunks = tape(20.0)
    ledger = interrupted(plan, chunks)
    genres = {one["data"]["id"] for one in ledger.open() if one["type"] == "streamcls.genre.segment"}
    resumption, rest = restarted(ledger, chunks)
    assert live(plan, [*rest, EndOfStream("radio")], ledger, resumption=resumption)
    assert set(lost(ledger.events)) == genres
    assert genres
    assert not ledger.open()

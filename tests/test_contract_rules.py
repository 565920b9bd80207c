"""Each rule of the contract suites finds the fault that it is there to find: components with one fault each."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from streamcls import (
    BackendUnavailableError,
    BundleError,
    Chunk,
    ComponentConfig,
    EndOfStream,
    Event,
    Posterior,
    RetryableSourceError,
    SourceError,
    StreamStatus,
)
from streamcls.inference import load_bundle
from streamcls.testing import BackendContract, PolicyContract, SourceContract, SubscriberContract
from streamcls.types import read_only

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE = Path(__file__).parent / "sample_plugin"
sys.path.insert(0, str(SAMPLE))
from streamcls_sample.matrix import MatrixBackend  # noqa: E402
from streamcls_sample.steady import Steady  # noqa: E402

sys.path.remove(str(SAMPLE))

RATE = 8_000
released = threading.Event()
"""Set when the tests are over, so that what hangs on purpose ends."""


@pytest.fixture(autouse=True, scope="module")
def _release():
    yield
    released.set()


def _broken(base: type, **members: Any) -> type:
    return type("Broken", (base,), members)


def _fails(contract: type, rule: str, component: type, **suite: Any) -> str:
    """Run one rule on a component and return what it says is wrong; fail where it is content."""
    one = type("Suite", (contract,), {"component": component, **suite})()
    getattr(one, "setup_method", lambda: None)()
    try:
        getattr(one, rule)()
    except Exception as error:  # noqa: BLE001 - whatever fails a test counts
        return f"{type(error).__name__}: {error}"
    finally:
        getattr(one, "teardown_method", lambda: None)()
    pytest.fail(f"{rule} found nothing wrong")


def _rules(contract: type) -> set[str]:
    return {name for name in dir(contract) if name.startswith("test_")}


# --- common --------------------------------------------------------------------------------------------------------


class Loose(BaseModel):
    """Takes any key, and can be changed."""

    model_config = ConfigDict(extra="allow")
    key: int = 1


class Unprintable(ComponentConfig):
    """A value that JSON has no word for."""

    far: float = float("inf")


class Plain:
    """A subscriber without a fault."""

    name = "plain"
    Config = ComponentConfig

    def __init__(self, config: Any) -> None:
        self.closed = False

    def handle(self, event: dict[str, Any]) -> None:
        assert event["data"] is not None

    def close(self) -> None:
        self.closed = True


def _refuse(kind: str) -> Callable[..., None]:
    def handle(self: Any, event: dict[str, Any]) -> None:
        if kind in {event["type"], *event, *event["data"]}:
            raise KeyError(kind)

    return handle


def _close_once(self: Any) -> None:
    assert not self.closed
    self.closed = True


def _close_what_was_opened(self: Any) -> None:
    self.file.close()


def _scribble(self: Any, event: dict[str, Any]) -> None:
    event["data"]["seen"] = True


SUBSCRIBERS = {
    "test_it_has_a_name_that_a_configuration_can_use": {"name": "Not A Name"},
    "test_its_config_is_a_pydantic_model": {"Config": dict},
    "test_its_config_forbids_unknown_keys": {"Config": Loose},
    "test_its_config_is_frozen": {"Config": Loose},
    "test_its_config_can_be_printed_as_json": {
        "Config": _broken(Unprintable, model_config=ConfigDict(ser_json_inf_nan="constants"))
    },
    "test_its_preflight_finds_nothing_wrong_with_a_configuration_that_works": {
        "preflight": staticmethod(lambda config: ["no"])
    },
    "test_it_has_the_members_of_a_subscriber": {"handle": None, "close": property()},
    "test_it_takes_every_kind_of_event": {"handle": _refuse("streamcls.moderation.alert")},
    "test_it_takes_events_of_kinds_that_it_does_not_know": {"handle": _refuse("streamcls.sample.unheard_of")},
    "test_it_takes_events_with_fields_that_it_does_not_know": {"handle": _refuse("unheard_of")},
    "test_it_does_not_change_an_event": {"handle": _scribble},
    "test_it_can_be_closed_without_having_seen_an_event": {"close": _close_what_was_opened},
    "test_it_can_be_closed_twice": {"close": _close_once},
}


@pytest.mark.parametrize("rule", sorted(_rules(SubscriberContract)))
def test_each_rule_for_subscribers_finds_its_fault(rule: str) -> None:
    assert _fails(SubscriberContract, rule, _broken(Plain, **SUBSCRIBERS[rule]))


class TestPlain(SubscriberContract):
    component = Plain


# --- sources -------------------------------------------------------------------------------------------------------


def _chunk(number: int, **other: Any) -> Chunk:
    samples = other.pop("samples", read_only(np.full((80, 1), 0.1, np.float32)))
    return replace(Chunk("stream", samples, RATE, 80 * number, mark={"chunk": number}), **other)


class Steps:
    """A source without a fault, of twelve chunks."""

    name = "steps"
    Config = ComponentConfig
    live = False
    resumes = True

    def __init__(self, config: Any, context: Any) -> None:
        self.counters = {"chunks": 0}
        self.first = context.marks.get("stream", {"chunk": 0})["chunk"]

    def chunk(self, number: int) -> Any:
        return _chunk(number)

    def items(self, stop: threading.Event) -> Any:
        yield StreamStatus("stream", "connecting")
        for number in range(self.first, 12):
            if stop.is_set():
                return
            yield self.chunk(number)
            self.counters["chunks"] += 1
        yield EndOfStream("stream")


def _yielding(make: Callable[[int], Any]) -> dict[str, Any]:
    return {"chunk": lambda self, number: make(number)}


def _scarcely_marked(number: int) -> Chunk:
    samples = read_only(np.full((1_600, 1), 0.1, np.float32))
    return _chunk(number, samples=samples, first_sample=1_600 * number, mark=None if number else {"chunk": 0})


def _deaf(self: Any, stop: threading.Event) -> Any:
    yield _chunk(0)
    while not released.is_set():
        time.sleep(0.01)


def _deaf_from_the_start(self: Any, stop: threading.Event) -> Any:
    while not released.is_set():
        time.sleep(0.01)
    yield _chunk(0)


def _clinging(self: Any, stop: threading.Event) -> Any:
    try:
        yield _chunk(0)
    finally:
        if not stop.is_set():
            raise RuntimeError("not yet")


def _raising(error: Exception) -> dict[str, Any]:
    def items(self: Any, stop: threading.Event) -> Any:
        raise error

    return {"items": items}


_WRONG_SAMPLES = [
    np.zeros((80, 1), np.float32),
    read_only(np.zeros((80, 1), np.float64)),
    read_only(np.zeros(80, np.float32)),
    read_only(np.zeros((0, 1), np.float32)),
    read_only(np.full((80, 1), np.nan, np.float32)),
]
SOURCES: dict[str, list[dict[str, Any]]] = {
    "test_it_has_the_members_of_a_source": [{"live": "yes"}],
    "test_it_delivers_stream_items": [
        _yielding(lambda number: b"audio"),
        _yielding(lambda number: _chunk(number, stream="no name")),
        {"items": _deaf},
    ],
    "test_its_samples_are_read_only_float32_per_sample_and_channel": [
        *(_yielding(lambda number, samples=samples: _chunk(number, samples=samples)) for samples in _WRONG_SAMPLES),
        {"items": lambda self, stop: iter(())},
    ],
    "test_its_indices_are_whole_numbers_that_rise": [
        _yielding(lambda number: _chunk(0)),
        _yielding(lambda number: _chunk(number, first_sample=40 * number)),
        _yielding(lambda number: _chunk(number, first_sample=80.0 * number)),
    ],
    "test_a_stream_keeps_its_format_until_it_ends": [
        _yielding(lambda number: _chunk(number, sample_rate=RATE + number)),
        _yielding(lambda number: _chunk(number, sample_rate=8_000.0)),
        _yielding(lambda number: _chunk(number, samples=read_only(np.zeros((80, 1 + number % 2), np.float32)))),
    ],
    "test_its_wall_clock_is_in_unix_seconds": [
        _yielding(lambda number: _chunk(number, captured_at=1.7e12)),
        _yielding(lambda number: _chunk(number, captured_at=1_234.5)),
        _yielding(lambda number: _chunk(number, captured_at=float("nan"))),
    ],
    "test_its_states_are_those_of_the_wire_format": [
        _yielding(lambda number: StreamStatus("stream", "fine")),
        _yielding(lambda number: StreamStatus("stream", "running", metadata={"path": Path("/")})),
        _yielding(lambda number: StreamStatus("stream", "running", None)),
    ],
    "test_it_stops_at_once_where_it_was_asked_before_it_began": [{"items": _deaf_from_the_start}],
    "test_it_can_be_abandoned_in_the_middle_and_opened_again": [{"items": _clinging}],
    "test_it_delivers_the_same_again_from_any_mark": [
        _yielding(lambda number: _chunk(number, mark=None)),
        _yielding(lambda number: _chunk(number, mark={"chunk": number + 1})),
        _yielding(_scarcely_marked),
        {"chunk": lambda self, number: _chunk(number, samples=read_only(np.full((80, 1), self.first, np.float32)))},
        {"chunk": lambda self, number: _chunk(number if number < 9 or not self.first else number + 1)},
    ],
    "test_its_counters_are_numbers_by_name": [
        {"counters": property(lambda self: {"name": "x"}, lambda self, value: None)}
    ],
    "test_what_can_never_work_ends_in_a_source_error": [
        {},
        _raising(OSError("no")),
        _raising(RetryableSourceError("no")),
        _raising(SourceError("")),
    ],
    "test_what_may_work_later_ends_in_a_retryable_source_error": [
        {},
        _raising(OSError("no")),
        _raising(SourceError("no")),
    ],
}
QUICK = {
    "patience_s": 0.3,
    "stop_within_s": 0.3,
    "failing": lambda self: [{}],
    "retrying": lambda self: [{}],
}


@pytest.mark.parametrize("rule", sorted(_rules(SourceContract) - set(SUBSCRIBERS)))
def test_each_rule_for_sources_finds_its_faults(rule: str) -> None:
    for members in SOURCES[rule]:
        assert _fails(SourceContract, rule, _broken(Steps, **members), **QUICK)


def test_a_source_that_may_find_its_device_taken_when_opened_again_is_in_order() -> None:
    def items(self: Any, stop: threading.Event) -> Any:
        if stop.is_set():
            raise RetryableSourceError("the device is still in use")
        yield _chunk(0)

    with pytest.raises(pytest.fail.Exception, match="found nothing wrong"):
        _fails(SourceContract, "test_it_can_be_abandoned_in_the_middle_and_opened_again", _broken(Steps, items=items))


class TestSteps(SourceContract):
    component = Steps
    test_what_can_never_work_ends_in_a_source_error = None
    test_what_may_work_later_ends_in_a_retryable_source_error = None


# --- backends ------------------------------------------------------------------------------------------------------


class _Bad:
    """A classifier that spoils what the sound one says."""

    def __init__(self, sound: Any, spoil: Callable[[_Bad, np.ndarray, Any], Any]) -> None:
        self.sound, self.spoil, self.calls, self.memory = sound, spoil, 0, np.zeros(2, np.float32)

    def logits(self, window: Any) -> Any:
        self.calls += 1
        return self.spoil(self, self.sound.logits(window), window)

    def close(self) -> None:
        self.sound.close()


def _spoiling(spoil: Callable[[_Bad, np.ndarray, Any], Any]) -> dict[str, Any]:
    return {"load": lambda self, bundle: _Bad(MatrixBackend.load(self, bundle), spoil)}


def _remember(bad: _Bad, logits: np.ndarray, window: Any) -> np.ndarray:
    bad.memory = 0.5 * bad.memory + logits
    return bad.memory.copy()


def _share(bad: _Bad, logits: np.ndarray, window: Any) -> np.ndarray:
    bad.memory[:] = logits
    return bad.memory


def _overwrite(bad: _Bad, logits: np.ndarray, window: Any) -> np.ndarray:
    window.features.flags.writeable = True
    window.features[:] = 0
    return logits


_loads = iter(range(1_000_000))


def _each_its_own(self: Any, bundle: Any) -> _Bad:
    shift = np.float32(next(_loads))
    return _Bad(MatrixBackend.load(self, bundle), lambda bad, logits, window: logits + shift)


def _swallow(self: Any, bundle: Any) -> Any:
    return MatrixBackend.load(self, load_bundle(SAMPLE / "streamcls_sample" / "models" / "pitch"))


def _nameless(self: Any, bundle: Any) -> Any:
    try:
        return MatrixBackend.load(self, bundle)
    except BundleError:
        raise BundleError("something is wrong") from None


def _gone(self: Any, bundle: Any) -> Any:
    raise BackendUnavailableError("sorry")


_GONE = {"unavailable": classmethod(lambda cls: "there is no such library")}
BACKENDS: dict[str, list[dict[str, Any]]] = {
    "test_it_has_the_members_of_a_backend": [{"name": ""}, {"name": 3}, {"load": None}],
    "test_it_says_why_it_is_unavailable_or_nothing": [{"unavailable": classmethod(lambda cls: None)}],
    "test_loading_where_it_is_unavailable_raises_the_reason": [_GONE, {**_GONE, "load": _gone}],
    "test_its_logits_are_one_finite_float32_per_label": [
        _spoiling(lambda bad, logits, window: logits.astype(np.float64)),
        _spoiling(lambda bad, logits, window: logits[None]),
        _spoiling(lambda bad, logits, window: logits * np.float32(np.nan)),
        _spoiling(lambda bad, logits, window: logits.tolist()),
    ],
    "test_its_logits_depend_on_the_window": [_spoiling(lambda bad, logits, window: np.ones(2, np.float32))],
    "test_the_same_window_twice_gives_bit_equal_logits": [_spoiling(_remember)],
    "test_streams_that_share_a_classifier_do_not_influence_each_other": [_spoiling(_remember)],
    "test_two_classifiers_of_one_bundle_agree": [{"load": _each_its_own}],
    "test_its_logits_stay_as_they_are": [_spoiling(_share)],
    "test_it_leaves_the_window_as_it_is": [_spoiling(_overwrite)],
    "test_it_refuses_a_bundle_that_does_not_fit_its_model": [{"load": _swallow}, {"load": _nameless}],
}


class TestMatrix(BackendContract):
    component = MatrixBackend
    test_loading_where_it_is_unavailable_raises_the_reason = None

    def bundle(self) -> Any:
        return load_bundle(SAMPLE / "streamcls_sample" / "models" / "pitch")


@pytest.mark.parametrize("rule", sorted(_rules(BackendContract)))
def test_each_rule_for_backends_finds_its_faults(rule: str) -> None:
    for members in BACKENDS[rule]:
        assert _fails(BackendContract, rule, _broken(MatrixBackend, **members), bundle=TestMatrix.bundle)


# --- policies ------------------------------------------------------------------------------------------------------


class TestSteady(PolicyContract):
    component = Steady


def _changing(change: Callable[[Event], Event | None], *methods: str) -> dict[str, Any]:
    """Members that change or drop the events of the sound policy."""

    def method(name: str) -> Callable[..., list[Event]]:
        def call(self: Any, *arguments: Any) -> list[Event]:
            events = [change(event) for event in getattr(Steady, name)(self, *arguments)]
            return [event for event in events if event is not None]

        return call

    return {name: method(name) for name in methods or ("update", "gap", "close")}


def _data(**other: Any) -> Callable[[Event], Event]:
    return lambda event: replace(event, data={**event.data, **other})


def _dropping(phase: str) -> Callable[[Event], Event | None]:
    return lambda event: None if event.data["phase"] == phase else event


def _moving_id(event: Event) -> Event:
    return replace(event, data={**event.data, "id": f"{event.data['id']}{event.data['phase']}"})


def _constant_id(event: Event) -> Event:
    return replace(event, data={**event.data, "id": f"{event.data['label']} {event.data['first_sample']}"})


_serial = iter(range(1_000_000))


def _renamed(event: Event) -> Event:
    return replace(event, data={**event.data, "id": str(next(_serial))})


def _asking(clock: Callable[[], object]) -> dict[str, Any]:
    def update(self: Any, item: Any) -> list[Event]:
        clock()
        return Steady.update(self, item)

    return {"update": update}


def _forgetful_gap(self: Any, first_sample: int, end_sample: int) -> list[Event]:
    return []


def _opening_gap(self: Any, first_sample: int, end_sample: int) -> list[Event]:
    data = {
        "id": f"gap {first_sample}",
        "phase": "opened",
        "first_sample": first_sample,
        "end_sample": first_sample,
        "sample_rate": 22_050,
    }
    return [*Steady.gap(self, first_sample, end_sample), Event("sample.gap", "test", data)]


def _tired(self: Any, item: Any) -> list[Event]:
    """Speak of the first hundred windows only, gap or not: state that a gap does not reset."""
    self.count = getattr(self, "count", 0) + 1
    return Steady.update(self, item) if self.count < 100 else self.close(item.end_sample, "tired")


def _by_levels(self: Any, item: Any) -> list[Event]:
    """Begin findings at the newest levels, which come earlier or later as the audio is cut."""
    if not isinstance(item, Posterior):
        self.newest = item.end_sample
        return []
    events = Steady.update(self, item)
    return [
        replace(event, data={**event.data, "id": event.data["id"] + str(getattr(self, "newest", 0))})
        for event in events
    ]


POLICIES: dict[str, list[dict[str, Any]]] = {
    "test_it_has_the_members_of_a_policy": [{"gap": property()}],
    "test_it_says_which_models_it_listens_to": [
        {"accepts": classmethod(lambda cls, config, model: False)},
        {"accepts": classmethod(lambda cls, config, model: True if model.name == "model" else None)},
    ],
    "test_the_same_input_gives_the_same_events": [_changing(_renamed)],
    "test_it_knows_no_clock": [
        _asking(time.time),
        _asking(time.monotonic),
        _asking(time.perf_counter_ns),
        _asking(lambda: datetime.now(UTC)),
    ],
    "test_its_events_can_be_published": [
        {"update": lambda self, item: []},
        _changing(lambda event: replace(event, kind="Steady")),
        _changing(lambda event: replace(event, kind="daemon.steady")),
        _changing(lambda event: replace(event, stream="another")),
        _changing(lambda event: replace(event, time=1.7e9)),
        _changing(_data(thing=np.float32(1))),
        _changing(_data(thing=(1, 2))),
        _changing(_data(thing={1: 2})),
        _changing(_data(thing=float("nan"))),
    ],
    "test_its_sample_indices_lie_within_the_stream": [
        _changing(_data(first_sample=-1)),
        _changing(_data(end_sample=1 << 40)),
        _changing(_data(sample_rate=44_100)),
        _changing(lambda event: replace(event, sample=1 << 40)),
        _changing(lambda event: replace(event, sample=1.5)),
    ],
    "test_each_finding_is_opened_once_then_updated_then_closed_once": [
        _changing(_dropping("opened")),
        _changing(_moving_id),
        _changing(_data(reason="")),
        {"update": lambda self, item: []},
    ],
    "test_closing_closes_all_that_is_open": [
        {"close": lambda self, at, reason: []},
        _changing(_data(reason="because"), "close"),
    ],
    "test_closing_one_that_has_seen_nothing_says_nothing": [
        {"close": lambda self, at, reason: [Event("a.b", "test", {})]}
    ],
    "test_a_long_gap_closes_what_is_open": [
        {"gap": _forgetful_gap},
        {"gap": _opening_gap},
        _changing(_data(end_sample=1 << 40), "gap"),
    ],
    "test_it_begins_anew_after_a_long_gap": [{"update": _tired}, _changing(_data(id="one for all"))],
    "test_it_goes_on_over_a_restart_as_if_there_had_been_none": [
        {"restore": lambda self, state: None},
        {"state": lambda self: {"open": None}},
    ],
    "test_a_gap_after_a_restart_is_as_any_other": [{"restore": lambda self, state: None}],
    "test_a_state_that_is_none_is_refused": [{"restore": lambda self, state: None}],
    "test_findings_of_different_streams_and_origins_have_different_ids": [_changing(_constant_id)],
    "test_findings_do_not_depend_on_how_the_audio_was_cut": [{"update": _by_levels}],
}


@pytest.mark.parametrize("rule", sorted(_rules(PolicyContract) - set(SUBSCRIBERS)))
def test_each_rule_for_policies_finds_its_faults(rule: str) -> None:
    for members in POLICIES[rule]:
        assert _fails(PolicyContract, rule, _broken(Steady, **members))


def test_a_policy_that_never_opens_anything_has_to_say_so() -> None:
    silent = _broken(Steady, update=lambda self, item: [])
    assert "makes_findings" in _fails(PolicyContract, "test_a_long_gap_closes_what_is_open", silent)


def test_a_policy_may_log_although_that_asks_the_clock() -> None:
    import logging

    chatty = _broken(Steady, **_asking(lambda: logging.getLogger("chatty").warning("hello")))
    with pytest.raises(pytest.fail.Exception, match="found nothing wrong"):
        _fails(PolicyContract, "test_it_knows_no_clock", chatty)


def test_secrets_do_not_keep_a_configuration_from_being_printed() -> None:
    class Secretive(ComponentConfig):
        password: SecretStr = SecretStr("opensesame")

    with pytest.raises(pytest.fail.Exception, match="found nothing wrong"):
        _fails(SubscriberContract, "test_its_config_can_be_printed_as_json", _broken(Plain, Config=Secretive))

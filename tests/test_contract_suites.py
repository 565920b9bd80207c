"""The contract suites that plugin authors get, run over every component of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mic_contract
import numpy as np
import pulse
import pytest
import zmq
from realbundle import real_bundle

from streamcls.audio import encode_pcm
from streamcls.inference import load_bundle
from streamcls.testing import (
    BackendContract,
    PolicyContract,
    SourceContract,
    SubscriberContract,
    check_findings,
    chunks_of,
    example_envelopes,
    make_levels,
    make_model,
    make_posterior,
    noise,
    tone,
)
from streamcls.types import Event
from streamcls_console import ConsoleSubscriber
from streamcls_demo import DemoSource
from streamcls_filetail.source import FileTailSource
from streamcls_genre import GenrePolicy
from streamcls_jsonl import JsonlSubscriber
from streamcls_moderation import ModerationPolicy
from streamcls_tflite import LiteRtBackend, TfliteRuntimeBackend
from streamcls_zmq.sender import message_frames
from streamcls_zmq.source import ZmqSource

if TYPE_CHECKING:
    from pulse import PulseSink

    from streamcls.inference import Bundle
    from streamcls.types import ModelInfo


pulse_sink = pulse.pulse_sink

# Rules that cannot apply to a component are set to None below, so that nothing is skipped.


class TestDemo(SourceContract):
    component = DemoSource
    test_it_delivers_the_same_again_from_any_mark = None  # a live programme: what was missed is gone
    test_what_can_never_work_ends_in_a_source_error = None  # it has no configuration that could fail
    test_what_may_work_later_ends_in_a_retryable_source_error = None


class TestDemoAsFastAsPossible(TestDemo):
    chunks_wanted = 10_000

    def options(self) -> dict[str, Any]:
        return {"speed": 0, "loop": False}


class TestFileTail(SourceContract):
    component = FileTailSource
    test_it_delivers_the_same_again_from_any_mark: Any = None  # begins at the beginning, whatever was there before

    def options(self) -> dict[str, Any]:
        path = self.folder / "tape.pcm"
        path.write_bytes(encode_pcm(noise(3.0, 8_000, channels=2), "pcm_s16le"))
        return {"path": str(path), "format": {"sample_rate": 8_000, "channels": 2}, "poll_s": 0.01}

    def failing(self) -> list[dict[str, Any]]:
        return [{"path": str(self.folder)}]

    def retrying(self) -> list[dict[str, Any]]:
        # A recorder may put a good file in the place of a bad one.
        not_a_wav = self.folder / "notes.wav"
        not_a_wav.write_text("These are my notes, and no audio at all. " * 10)
        return [{"path": str(self.folder / ("long" * 100))}, {"path": str(not_a_wav)}]


class TestFileTailThatResumes(TestFileTail):
    def options(self) -> dict[str, Any]:
        return {**super().options(), "start": "resume"}

    test_it_delivers_the_same_again_from_any_mark = SourceContract.test_it_delivers_the_same_again_from_any_mark


class TestZmq(SourceContract):
    component = ZmqSource
    test_it_delivers_the_same_again_from_any_mark = None  # its senders do not send again
    _other: zmq.Socket | None = None

    def options(self) -> dict[str, Any]:
        """A sender that is there before the source, with two streams."""
        endpoint = f"ipc://{self.folder}/in"
        if self._other is None:
            sender = self._other = zmq.Context.instance().socket(zmq.PUSH)
            sender.connect(endpoint)
            streams = [
                chunks_of(noise(1.0, 8_000), 8_000, stream=stream, sizes=(800,), captured_at=1.7e9)
                for stream in ("one", "two")
            ]
            for pair in zip(*streams, strict=True):
                for chunk in pair:
                    sender.send_multipart(message_frames(chunk, "pcm_s16le"))
        return {"bind": endpoint}

    def failing(self) -> list[dict[str, Any]]:
        return [{}, {"bind": "tcp://0.0.0.0:5999"}, {"bind": f"ipc://{self.folder}/no/such/folder"}]

    def retrying(self) -> list[dict[str, Any]]:
        endpoint = f"ipc://{self.folder}/busy"
        self._other = zmq.Context.instance().socket(zmq.PULL)
        self._other.bind(endpoint)
        return [{"bind": endpoint}]

    def teardown_method(self) -> None:
        if self._other is not None:
            self._other.close(linger=0)
        super().teardown_method()


@pytest.mark.slow
def test_mic_holds_the_contract_of_sources(pulse_sink: PulseSink, tmp_path: Path) -> None:
    """In a child process, since ALSA reads only once which devices there are."""
    suite = Path(mic_contract.__file__)
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", f"--rootdir={tmp_path}"]
    command = [sys.executable, "-m", "pytest", *options, str(suite)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=pulse_sink.env, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert "skipped" not in result.stdout


class TestGenre(PolicyContract):
    component = GenrePolicy

    def model(self) -> ModelInfo:
        return make_model(("blues", "classical", "jazz", "metal", "rock"), stride_s=1.0, window_s=3.0)


class TestGenreWithAMap(TestGenre):
    def options(self) -> dict[str, Any]:
        return {
            "models": ["model"],
            "map": {"blues": "black", "jazz": "black", "metal": "white"},
            "update_s": 5,
            "window_events": False,
        }


class TestModeration(PolicyContract):
    component = ModerationPolicy

    def model(self) -> ModelInfo:
        return make_model(("siren", "gun_shot", "noise"), task="moderation", exclusive=False)


class TestModerationWithRules(TestModeration):
    def options(self) -> dict[str, Any]:
        rule = {"enter": 0.9, "leave": 0.1, "k": 4, "n": 9, "min_duration_s": 3.0, "cool_down_s": 60.0}
        return {"labels": {"siren": rule, "noise": {**rule, "cool_down_s": 0.0}}, "update_s": 5}


class TestConsole(SubscriberContract):
    component = ConsoleSubscriber

    def options(self) -> dict[str, Any]:
        return {"colour": "always", "heartbeats": True}


class TestJsonl(SubscriberContract):
    component = JsonlSubscriber

    def options(self) -> dict[str, Any]:
        return {"path": str(self.folder / "events.jsonl"), "sync": True}


class TestJsonlOnStandardOutput(SubscriberContract):
    component = JsonlSubscriber


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(real_bundle(tmp_path_factory.mktemp("bundle")))


class TestLiteRt(BackendContract):
    component = LiteRtBackend
    test_loading_where_it_is_unavailable_raises_the_reason = None  # it is a dependency, and always there
    _bundle: Bundle

    @pytest.fixture(autouse=True)
    def _given(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def bundle(self) -> Bundle:
        return self._bundle


class TestTfliteRuntime(TestLiteRt):
    component = TfliteRuntimeBackend
    test_loading_where_it_is_unavailable_raises_the_reason = (
        BackendContract.test_loading_where_it_is_unavailable_raises_the_reason
    )


# The suites themselves: each rule has to find the fault that it is there to find.


def test_example_envelopes_are_fresh_ones_each_time() -> None:
    first = example_envelopes()
    first[0]["data"].clear()
    assert example_envelopes()[0]["data"]


def test_examples_have_the_fields_that_the_policies_publish() -> None:
    """So that the examples cannot fall behind: per kind and phase, the same fields as real events have (the pipeline adds the times)."""
    examples: dict[tuple[str, Any], set[str]] = {}
    for event in example_envelopes():
        key = (event["type"].removeprefix("streamcls."), event["data"].get("phase"))
        examples.setdefault(key, set()).update(event["data"])
    for suite in (TestGenre(), TestModeration()):
        suite.setup_method()
        seen: dict[tuple[str, Any], set[str]] = {}
        for event in suite.whole():
            seen.setdefault((event.kind, event.data.get("phase")), set()).update(event.data)
        suite.teardown_method()
        for key, fields in seen.items():
            # What people said of an alert, the bus adds.
            assert fields | {"started_at", "ended_at"} == examples[key] - {"muted", "acknowledged"}, key


def test_check_findings_names_what_is_wrong() -> None:
    def event(phase: str, **more: object) -> Event:
        data = {
            "id": "1",
            "phase": phase,
            "label": "a",
            "first_sample": 0,
            "end_sample": 10,
            "sample_rate": 100,
            **more,
        }
        return Event("a.b", "test", data)

    good = [event("opened"), event("updated", end_sample=20), event("closed", end_sample=20, reason="over")]
    check_findings(good)
    check_findings([*good, event("opened", id="2")])
    wrong = {
        "never opened": [event("updated")],
        "opened before": [event("opened"), event("opened")],
        "closed before": [*good, event("updated")],
        "label changed": [event("opened"), event("updated", label="b")],
        "first_sample changed": [event("opened"), event("updated", first_sample=1)],
        "end_sample went back": [event("opened"), event("updated", end_sample=9)],
        "no reason": [event("opened"), event("closed")],
        "expected one of": [event("begun")],
        "id is empty": [event("opened", id="")],
    }
    for words, events in wrong.items():
        with pytest.raises(AssertionError, match=words):
            check_findings(events)


def test_chunks_cover_the_signal_without_a_hole() -> None:
    samples = tone(440.0, 1.0, 8_000, channels=2)
    chunks = list(chunks_of(samples, 8_000, sizes=(1, 700, 64), first_sample=50, captured_at=10.0))
    assert [c.end_sample for c in chunks[:-1]] == [c.first_sample for c in chunks[1:]]
    assert np.array_equal(np.concatenate([c.samples for c in chunks]), samples)
    assert chunks[0].first_sample == 50
    assert chunks[-1].captured_at == pytest.approx(10.0 + (chunks[-1].first_sample - 50) / 8_000)
    with pytest.raises(ValueError, match="expected at least 1 sample"):
        list(chunks_of(samples, 8_000, sizes=(0,)))


def test_a_made_posterior_shares_out_what_is_left() -> None:
    exclusive = make_posterior(make_model(("a", "b", "c")), {"a": 0.5}, at_s=2.0, sample_rate=1_000)
    assert exclusive.values.tolist() == [0.5, 0.25, 0.25]
    assert (exclusive.first_sample, exclusive.end_sample) == (2_000, 3_000)
    independent = make_posterior(make_model(("a", "b"), exclusive=False), {"a": 0.5})
    assert independent.values.tolist() == [0.5, 0.0]
    with pytest.raises(ValueError, match="'d'"):
        make_posterior(make_model(("a",)), {"d": 1.0})


def test_made_levels_are_of_the_channels_asked_for() -> None:
    levels = make_levels(1.0, 0.5, channels=2, sample_rate=1_000)
    assert (levels.first_sample, levels.end_sample) == (1_000, 1_500)
    assert len(levels.rms_dbfs) == len(levels.peak_dbfs) == 2
    assert json.dumps(levels.rms_dbfs)

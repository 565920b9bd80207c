"""A running daemon is given other configurations, with real audio: what did not change must not notice."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import wave
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from daemon import STREAMCLS, classify, payload
from reloads import LONG_S, Recorder, Reloaded, windows_are_whole

from streamcls.audio.capture import to_s16
from streamcls.audio.decode import read_file

if TYPE_CHECKING:
    from pathlib import Path

TAPE_S = 45
SPEED = 10.0
"""How many times faster than it would be heard the audio comes."""
HOP = 512
MODEL_RATE = 22_050
STRIDES = {"genre.window": 43, "moderation.window": 22}
"""Frames of the shipped models, see their bundle.toml."""


class Tape(NamedTuple):
    wav: Path
    pcm: bytes
    rate: int
    channels: int

    def table(self, name: str, path: Path) -> str:
        """A source that follows a recording of it."""
        audio_format = f"{{ sample_rate = {self.rate}, channels = {self.channels} }}"
        return f'[[source]]\nname = "{name}"\ntype = "filetail"\npath = "{path}"\nformat = {audio_format}\n'

    def recorder(self, path: Path, seconds: float | None = None, speed: float = SPEED) -> Recorder:
        frame = 2 * self.channels
        pcm = self.pcm if seconds is None else self.pcm[: frame * round(self.rate * seconds)]
        return Recorder(path, pcm, frame, self.rate, speed)

    def stride(self, kind: str) -> int:
        return round(STRIDES[kind] * HOP * self.rate / MODEL_RATE)


@pytest.fixture(scope="module")
def tape(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Tape:
    """The beginning of the demo programme: music of several kinds, and speech."""
    floats, rate = read_file(root / "plugins" / "streamcls_demo" / "programme.opus")
    samples = to_s16(np.ascontiguousarray(floats[: TAPE_S * rate]))
    path = tmp_path_factory.mktemp("tape") / "tape.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return Tape(path, samples.tobytes(), rate, samples.shape[1])


def told(events: list[dict[str, Any]], kind: str) -> list[bytes]:
    """What the events of a kind say, without ids and times."""
    return [payload(event) for event in events if event["type"] == f"streamcls.{kind}"]


def assert_undisturbed(daemon: Reloaded, tape: Tape, stream: str) -> None:
    """Check that a stream said what it says where nothing is done to it, from its first sample on, and nothing else."""
    expected = classify(tape.wav, stream, daemon.config)
    for kind in STRIDES:
        windows = daemon.events(kind, stream)
        assert windows_are_whole(windows, tape.stride(kind)), daemon.text()
        found = [payload(event) for event in daemon.listener.of(kind, stream)]
        assert found == told(expected, kind)[: len(found)]
    for kind in ("genre.segment", "moderation.alert"):
        found = [payload(e) for e in daemon.listener.of(kind, stream) if e["data"].get("reason") != "shutdown"]
        assert found == told(expected, kind)[: len(found)]
        assert not [e for e in daemon.events(kind, stream) if e.get("reason") == "configuration changed"]
    states = [data["state"] for data in daemon.events("stream.status", stream)]
    assert [state for state in states if state != "running"] in ([], ["ended"])
    beat = daemon.events("daemon.heartbeat", "studio")[-1]["streams"]
    if stream in beat:
        assert (beat[stream]["dropped_samples"], beat[stream]["lost_samples"], beat[stream]["failures"]) == (0, 0, 0)


@pytest.mark.slow
def test_what_did_not_change_loses_nothing_while_all_else_comes_and_goes(tmp_path: Path, tape: Tape) -> None:
    ingest = f"ipc://{tmp_path}/ingest"
    kept = tape.table("kept", tmp_path / "kept.s16")
    receives = f'[[source]]\nname = "ingest"\ntype = "zmq"\nbind = ["{ingest}"]\n'
    other = tape.table("other", tmp_path / "other.s16")
    recorder = tape.recorder(tmp_path / "kept.s16")
    another = tape.recorder(tmp_path / "other.s16", 40.0, 10.0)
    with Reloaded(tmp_path, kept + receives) as daemon:
        daemon.started()
        daemon.plays(recorder)
        send = [*STREAMCLS, "send", str(tape.wav), "--to", ingest, "--stream", "sent", "--realtime", "--no-end"]
        with subprocess.Popen(send, stderr=subprocess.DEVNULL) as sender:
            daemon.wait_for("moderation.window", "kept", 10)
            daemon.wait_for("moderation.window", "sent", 3)
            daemon.plays(another)
            outcome = daemon.applied(kept + receives + other)
            assert outcome["sources"] == {"added": ["other"], "changed": [], "removed": []}
            assert outcome["streams"] == {"changed": [], "ended": []}
            daemon.wait_for("genre.segment", "other", 1)
            daemon.more("moderation.window", "sent", 2)
            outcome = daemon.applied(kept + other.replace("[[source]]", "[[source]]\nchunk_s = 0.2") + receives)
            assert outcome["sources"] == {"added": [], "changed": ["other"], "removed": []}
            daemon.more("moderation.window", "sent", 2)
            outcome = daemon.applied(receives + kept)
            assert outcome["sources"] == {"added": [], "changed": [], "removed": ["other"]}
            assert outcome["waiting"] == []
            daemon.more("moderation.window", "sent", 4)
            recorder.join(LONG_S)
            sender.kill()
        # The last window may need what a resampler gives at the end of a stream only, and a file that grows has no end.
        daemon.wait_for(
            "moderation.window", "kept", len(told(classify(tape.wav, "kept", daemon.config), "moderation.window")) - 2
        )
        assert daemon.stop() == 0, daemon.text()
        assert_undisturbed(daemon, tape, "kept")
        assert_undisturbed(daemon, tape, "sent")
        segments = daemon.events("genre.segment", "other")
        assert {s["id"] for s in segments if s["phase"] == "closed"} == {s["id"] for s in segments}
        assert segments[-1]["reason"] == "configuration changed"
        assert daemon.listener.holes == 0
        states = [event["state"] for event in daemon.events("daemon.reload", "studio")]
        assert states == ["applied"] * 3


def test_another_threshold_closes_what_its_policy_has_open_and_nothing_else(tmp_path: Path, tape: Tape) -> None:
    kept = tape.table("radio-1", tmp_path / "radio-1.s16")
    recorder = tape.recorder(tmp_path / "radio-1.s16")
    with Reloaded(tmp_path, kept) as daemon:
        daemon.started()
        daemon.plays(recorder)
        daemon.wait_for("genre.segment", "radio-1", 1)
        outcome = daemon.applied(kept + "[policy.genre]\nenter = 0.5\n")
        assert outcome["policies"]["changed"] == ["genre"]
        assert outcome["streams"] == {"changed": ["radio-1"], "ended": []}
        recorder.join(LONG_S)
        expected = classify(tape.wav, "radio-1", daemon.config)
        daemon.wait_for("moderation.window", "radio-1", len(told(expected, "moderation.window")) - 2)
        assert daemon.stop() == 0, daemon.text()
        closed = [s for s in daemon.events("genre.segment", "radio-1") if s.get("reason") == "configuration changed"]
        assert len(closed) == 1
        alerts = [
            payload(e)
            for e in daemon.listener.of("moderation.alert", "radio-1")
            if e["data"].get("reason") != "shutdown"
        ]
        assert alerts == told(expected, "moderation.alert")[: len(alerts)]
        for kind in STRIDES:
            assert windows_are_whole(daemon.events(kind, "radio-1"), tape.stride(kind)), kind
        posteriors = [window["posterior"] for window in daemon.events("genre.window", "radio-1")]
        undisturbed = [json.loads(text)["posterior"] for text in told(expected, "genre.window")]
        assert posteriors == undisturbed[: len(posteriors)]


def another_version(root: Path, folder: Path, version: str) -> Path:
    """A copy of the shipped genre model under another version."""
    copy = folder / f"genre-{version}"
    shutil.copytree(root / "models" / "genre-cnn", copy)
    manifest = copy / "bundle.toml"
    lines = manifest.read_text("utf-8").splitlines(keepends=True)
    text = "".join(f'version = "{version}"\n' if line.startswith("version = ") else line for line in lines)
    manifest.write_text(text, encoding="utf-8")
    return copy


def test_a_model_is_swapped_between_two_windows(tmp_path: Path, tape: Tape, root: Path) -> None:
    kept = tape.table("radio-1", tmp_path / "radio-1.s16")
    one, two = (
        f'[model.genre-cnn]\nbundle = "{another_version(root, tmp_path, version)}"\n' for version in ("8.0", "9.0")
    )
    recorder = tape.recorder(tmp_path / "radio-1.s16", 40.0)
    with Reloaded(tmp_path, kept + one) as daemon:
        daemon.started()
        daemon.plays(recorder)
        daemon.wait_for("genre.window", "radio-1", 10)
        outcome = daemon.applied(kept + two)
        assert outcome["models"] == {"added": [], "changed": ["genre-cnn"], "removed": []}
        recorder.join(LONG_S)
        expected = classify(tape.wav, "radio-1", daemon.config)
        daemon.wait_for("genre.window", "radio-1", 36)
        assert daemon.stop() == 0, daemon.text()
        windows = daemon.events("genre.window", "radio-1")
        assert windows_are_whole(windows, tape.stride("genre.window")), daemon.text()
        versions = [window["model_version"] for window in windows]
        assert [version for version, _ in itertools.groupby(versions)] == ["8.0", "9.0"]
        undisturbed = [json.loads(text)["posterior"] for text in told(expected, "genre.window")]
        assert [window["posterior"] for window in windows] == undisturbed[: len(windows)]
        found = [payload(event) for event in daemon.listener.of("moderation.window", "radio-1")]
        assert found == told(expected, "moderation.window")[: len(found)]


def test_what_cannot_be_used_changes_nothing_and_says_why(tmp_path: Path, tape: Tape, root: Path) -> None:
    copy = another_version(root, tmp_path, "8.0")
    kept = tape.table("radio-1", tmp_path / "radio-1.s16") + f'[model.genre-cnn]\nbundle = "{copy}"\n'
    recorder = tape.recorder(tmp_path / "radio-1.s16")
    with Reloaded(tmp_path, kept) as daemon:
        daemon.started()
        daemon.plays(recorder)
        daemon.wait_for("moderation.window", "radio-1", 5)
        wrong = kept + '[[subscriber]]\ntype = "jsonll"\n[policy.genre]\nenter = 2\n'
        code, outcome = daemon.ask(wrong)
        assert (code, outcome["state"]) == (1, "refused")
        assert len(outcome["problems"]) == 2
        shown = subprocess.run(
            [*STREAMCLS, "reload", "--state-dir", f"{tmp_path}/state"], check=False, capture_output=True, text=True
        )
        checked = subprocess.run([*STREAMCLS, "check", str(daemon.config)], check=False, capture_output=True, text=True)
        assert (shown.returncode, checked.returncode) == (1, 78)
        problems = [[line for line in one.stderr.splitlines() if line.startswith("  ")] for one in (shown, checked)]
        assert problems[0] == problems[1] == [f"  {problem}" for problem in outcome["problems"]]
        for problem in outcome["problems"]:
            assert problem in daemon.text()
        daemon.config.write_text("what is this", encoding="utf-8")
        assert daemon.ask()[1]["state"] == "refused"
        (copy / "model.tflite").write_bytes(b"garbage")
        code, outcome = daemon.ask(kept)
        assert (code, outcome["state"]) == (1, "refused")
        assert "damaged or was changed" in outcome["problems"][0]
        assert daemon.beat()["reload"]["refused"] == 4
        recorder.join(LONG_S)
        daemon.wait_for("genre.window", "radio-1", 38)
        assert daemon.stop() == 0, daemon.text()
        assert [e["state"] for e in daemon.events("daemon.reload", "studio")] == ["refused"] * 4
        shutil.copy(root / "models" / "genre-cnn" / "model.tflite", copy)
        assert_undisturbed(daemon, tape, "radio-1")


def test_a_subscriber_with_other_settings_goes_on_with_the_next_event(tmp_path: Path, tape: Tape) -> None:
    kept = tape.table("radio-1", tmp_path / "radio-1.s16") + "[journal]\nwindows = true\n"
    lines = f'[[subscriber]]\ntype = "jsonl"\npath = "{tmp_path}/events.jsonl"\n'
    tables = f'[[subscriber]]\ntype = "sqlite"\npath = "{tmp_path}/events.sqlite"\n'
    recorder = tape.recorder(tmp_path / "radio-1.s16", 40.0)
    with Reloaded(tmp_path, kept + lines + tables) as daemon:
        daemon.started()
        daemon.plays(recorder)
        for number in range(3):
            daemon.more("moderation.window", "radio-1", 3)
            hang = f"hang_s = {30 + number}\n"
            outcome = daemon.applied(kept + lines + hang + tables + hang)
            assert outcome["subscribers"]["changed"] == ["jsonl", "sqlite"]
        recorder.join(LONG_S)
        assert daemon.stop() == 0, daemon.text()
        written = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()]
        for kind in (*STRIDES, "genre.segment", "moderation.alert", "stream.status"):
            ids = [event["id"] for event in written if event["type"] == f"streamcls.{kind}"]
            assert [int(identifier.rpartition("/")[2]) for identifier in ids] == list(range(1, len(ids) + 1))
            assert ids[-1:] == [event["id"] for event in daemon.listener.of(kind, "radio-1")][-1:]
        facts = daemon.events("daemon.heartbeat", "studio")[-1]["subscribers"]
        assert {name: (entry["missed"], entry["failed"]) for name, entry in facts.items()} == {
            "jsonl": (0, 0), "sqlite": (0, 0)
        }  # fmt: skip


def test_a_changed_source_that_resumes_goes_on_with_the_next_sample(tmp_path: Path, tape: Tape) -> None:
    table = tape.table("radio-1", tmp_path / "radio-1.s16") + 'start = "resume"\n'
    recorder = tape.recorder(tmp_path / "radio-1.s16")
    with Reloaded(tmp_path, table) as daemon:
        daemon.started()
        daemon.plays(recorder)
        for chunk_s in (0.2, 0.3, 0.5):
            daemon.more("moderation.window", "radio-1", 8)
            outcome = daemon.applied(table + f"chunk_s = {chunk_s}\n")
            assert outcome["sources"]["changed"] == ["radio-1"]
        recorder.join(LONG_S)
        expected = classify(tape.wav, "radio-1", daemon.config)
        daemon.wait_for("moderation.window", "radio-1", len(told(expected, "moderation.window")) - 2)
        assert daemon.stop() == 0, daemon.text()
        for kind in STRIDES:
            assert windows_are_whole(daemon.events(kind, "radio-1"), tape.stride(kind)), daemon.text()
            posteriors = [window["posterior"] for window in daemon.events(kind, "radio-1")]
            undisturbed = [json.loads(text)["posterior"] for text in told(expected, kind)]
            assert posteriors == undisturbed[: len(posteriors)]
        assert "gap" not in [event["state"] for event in daemon.events("stream.status", "radio-1")]
        phases = {segment["id"]: segment["phase"] for segment in daemon.events("genre.segment", "radio-1")}
        assert set(phases.values()) == {"closed"}


def test_a_storm_of_signals_is_a_few_reloads(tmp_path: Path, tape: Tape) -> None:
    kept = tape.table("radio-1", tmp_path / "radio-1.s16")
    recorder = tape.recorder(tmp_path / "radio-1.s16")
    with Reloaded(tmp_path, kept) as daemon:
        daemon.started()
        daemon.plays(recorder)
        daemon.wait_for("moderation.window", "radio-1", 3)
        for _ in range(1_000):
            daemon.signal(signal.SIGHUP)
        recorder.join(LONG_S)
        daemon.wait_for("genre.window", "radio-1", 38)
        assert daemon.stop() == 0, daemon.text()
        states = [event["state"] for event in daemon.events("daemon.reload", "studio")]
        assert set(states) == {"unchanged"}
        assert 1 <= len(states) < 100
        assert_undisturbed(daemon, tape, "radio-1")


def test_clips_audit_log_and_planned_silence_begin_with_a_reload(tmp_path: Path, tape: Tape, root: Path) -> None:
    floats, rate = read_file(root / "plugins" / "streamcls_demo" / "programme.opus")
    quiet = np.zeros((10 * rate, floats.shape[1]), np.float32)  # in which the alert closes
    late = tape._replace(pcm=to_s16(np.concatenate([floats[60 * rate :], quiet])).tobytes())  # there is a siren in it
    kept = tape.table("radio-1", tmp_path / "radio-1.s16")
    recorder = late.recorder(tmp_path / "radio-1.s16")
    moderation = '[[stream]]\nmodels = ["moderation-cnn"]\npolicies = ["moderation"]\n'
    with Reloaded(tmp_path, kept + moderation) as daemon:
        daemon.started()
        assert not {"evidence", "audit"} & daemon.beat().keys()
        daemon.plays(recorder)
        daemon.wait_for("moderation.window", "radio-1", 2)
        keepers = "[audit]\nenabled = true\n[evidence]\npost_s = 1\n"
        silence = '[[silence]]\nname = "always"\n'
        outcome = daemon.applied(kept + moderation + "evidence = true\n" + keepers + silence)
        assert outcome["settings"] == ["evidence.post_s", "audit.enabled", "stream", "silence"]
        assert outcome["streams"]["changed"] == ["radio-1"]
        opened = daemon.wait_for("moderation.alert", "radio-1", 1)[0]
        assert opened["muted"]["name"] == "always"
        (clip,) = daemon.wait_for("moderation.evidence", "radio-1", 1)
        assert clip["alert_id"] == opened["id"]
        beat = daemon.beat()
        assert (beat["evidence"]["state"], beat["evidence"]["written"]) == ("ok", 1)
        assert beat["audit"]["state"] == "ok"
        assert daemon.applied(kept + moderation + "evidence = true\n" + keepers.replace("1\n", "2\n"))["settings"] == [
            "evidence.post_s",
            "silence",
        ]
        assert daemon.stop() == 0, daemon.text()
        assert windows_are_whole(daemon.events("moderation.window", "radio-1"), tape.stride("moderation.window"))
        verified = subprocess.run(
            [*STREAMCLS, "audit", "verify", f"{tmp_path}/state/audit.jsonl"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert verified.returncode == 0, verified.stdout
        records = [json.loads(line) for line in (tmp_path / "state" / "audit.jsonl").read_text("utf-8").splitlines()]
        assert {
            record["event"]["data"]["id"]
            for record in records
            if record.get("event", {}).get("type") == "streamcls.moderation.alert"
        } == {opened["id"]}

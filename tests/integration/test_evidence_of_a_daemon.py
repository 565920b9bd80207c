"""Clips and audit log of a running daemon, undisturbed and killed."""

from __future__ import annotations

import json
import subprocess
import threading
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
import soundfile
from daemon import STREAMCLS, DaemonProcess

from streamcls.audio.capture import PcmArray, to_s16
from streamcls.audio.decode import read_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUIET_S = 20
"""Faint noise at the end, in which the alert closes and its clip becomes whole."""


@pytest.fixture(scope="module")
def tape(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PcmArray, int]:
    """The demo programme as a WAV file of 16 bits, its samples and its rate."""
    floats, rate = read_file(root / "plugins" / "streamcls_demo" / "programme.opus")
    quiet = np.random.default_rng(0).standard_normal((QUIET_S * rate, floats.shape[1])).astype(np.float32)
    samples = to_s16(np.concatenate([floats, quiet * np.float32(0.001)]))
    path = tmp_path_factory.mktemp("tape") / "tape.wav"
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path, samples, rate


class Scene:
    """A state folder and the daemons that live in it one after the other."""

    def __init__(self, folder: Path, tape: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.events_file = folder / "events.jsonl"
        self.config = folder / "daemon.toml"
        self.config.write_text(
            f"""
[daemon]
name = "studio"
state_dir = "{folder}/state"
heartbeat_s = 0.2
workers = 1
[bus]
publish = ["ipc://{folder}/bus"]
replay = ["ipc://{folder}/replay"]
[journal]
checkpoint_s = 0.3
[audit]
enabled = true
[[source]]
name = "tape"
type = "filetail"
path = "{tape}"
start = "resume"
[[stream]]
models = ["moderation-cnn"]
policies = ["moderation"]
evidence = true
[[subscriber]]
type = "jsonl"
path = "{self.events_file}"
""",
            encoding="utf-8",
        )

    def events(self) -> list[dict[str, Any]]:
        if not self.events_file.exists():
            return []
        lines = self.events_file.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events() if event["type"] == f"streamcls.{kind}"]

    def wait_for(self, daemon: DaemonProcess, condition: Callable[[], Any]) -> None:
        pause = threading.Event()
        while not condition():
            assert daemon.process.poll() is None, daemon.text()
            pause.wait(0.02)

    def whole(self, daemon: DaemonProcess) -> None:
        """Wait until every alert has closed and has its clip, and the quiet at the end was heard."""
        self.wait_for(daemon, lambda: any(a["phase"] == "closed" for a in self.of("moderation.alert")))
        opened = {alert["id"] for alert in self.of("moderation.alert")}
        self.wait_for(daemon, lambda: opened <= {clip["alert_id"] for clip in self.of("moderation.evidence")})

    def verify(self) -> str:
        done = subprocess.run(
            [*STREAMCLS, "audit", "verify", "--config", str(self.config)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def test_a_daemon_keeps_clips_and_a_log_that_can_be_verified(tape: tuple[Path, PcmArray, int], tmp_path: Path) -> None:
    path, samples, rate = tape
    scene = Scene(tmp_path / "calm", path)
    with DaemonProcess(scene.config) as daemon:
        scene.whole(daemon)
        daemon.process.terminate()
        assert daemon.wait() == 0, daemon.text()
    schema = json.loads(files("streamcls.bus").joinpath("events.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for event in scene.events() for error in validator.iter_errors(event)] == []
    clips = scene.of("moderation.evidence")
    for clip in clips:
        decoded, decoded_rate = soundfile.read(f"{clip['folder']}/{clip['path']}", dtype="int16", always_2d=True)
        assert decoded_rate == rate == clip["sample_rate"]
        np.testing.assert_array_equal(decoded, samples[clip["first_sample"] : clip["end_sample"]])
        alert = next(a for a in scene.of("moderation.alert") if a["id"] == clip["alert_id"])
        assert clip["first_sample"] + clip["offset_samples"] == alert["first_sample"]
    assert "no fault" in scene.verify()
    last = scene.of("daemon.heartbeat")[-1]
    assert last["evidence"]["written"] == last["evidence"]["clips"] == len(clips)
    assert last["audit"]["state"] == "ok"
    order = [
        event["type"]
        for event in scene.events()
        if event["data"].get("phase") == "closed" or "alert_id" in event["data"]
    ]
    assert order.index("streamcls.moderation.alert") < order.index("streamcls.moderation.evidence")


def test_a_daemon_that_is_killed_again_and_again_has_the_clips_of_one_that_is_not(
    tape: tuple[Path, PcmArray, int], tmp_path: Path
) -> None:
    calm, killed = Scene(tmp_path / "calm", tape[0]), Scene(tmp_path / "killed", tape[0])
    with DaemonProcess(calm.config) as daemon:
        calm.whole(daemon)
    moments = [
        lambda: any(event["type"].endswith(".window") for event in killed.events()),
        lambda: killed.of("moderation.alert"),
        lambda: any(alert["phase"] == "closed" for alert in killed.of("moderation.alert")),
    ]
    for moment in moments:
        with DaemonProcess(killed.config) as daemon:
            killed.wait_for(daemon, moment)
            daemon.process.kill()
            daemon.wait()
    with DaemonProcess(killed.config) as daemon:
        killed.whole(daemon)
        daemon.process.terminate()
        assert daemon.wait() == 0, daemon.text()

    def told(scene: Scene) -> dict[str, tuple[Any, ...]]:
        members = ("first_sample", "end_sample", "offset_samples", "sha256", "reason")
        return {clip["alert_id"]: tuple(clip[name] for name in members) for clip in scene.of("moderation.evidence")}

    assert told(calm) == told(killed)
    assert "no fault" in killed.verify()

"""The source ``mic`` with real PortAudio, recording from a PulseAudio null sink."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pulse
import pytest
import soundfile

pulse_sink = pulse.pulse_sink
CHILD = Path(__file__).parents[1] / "support" / "mic_child.py"
CLI = "import click; from streamcls_mic import register_commands as r; cli = click.Group(); r(cli); cli()"


class Recorder:
    def __init__(self, sink, out: Path, **config: object) -> None:
        command = [sys.executable, str(CHILD), str(out), json.dumps(config)]
        self._child = subprocess.Popen(command, env=sink.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()

    def until(self, kind: str) -> dict:
        for line in self._child.stdout:
            said = json.loads(line)
            if said["kind"] == kind:
                return said
        pytest.fail(f"the recorder ended before it said {kind}")

    def tell(self, command: str) -> None:
        self._child.stdin.write(command + "\n")
        self._child.stdin.flush()


def correlation(recorded: np.ndarray, played: np.ndarray) -> tuple[float, int]:
    """Return the largest normalised cross-correlation, and at which sample of the recording it begins.

    Resampling on the way delays by fractions of a sample, so the lag is sought in eighths of one.
    """
    size = 1 << (len(recorded) + len(played)).bit_length()
    spectrum = np.fft.rfft(recorded, size) * np.conj(np.fft.rfft(played, size))
    cross = np.abs(np.fft.irfft(spectrum, 8 * size))[: 8 * len(recorded)] * 8
    best = int(np.argmax(cross))
    piece = recorded[best // 8 : best // 8 + len(played)]
    return float(cross[best] / (np.linalg.norm(piece) * np.linalg.norm(played))), best // 8


def chirp(rate: int) -> np.ndarray:
    t = np.arange(2 * rate) / rate
    return (0.5 * np.sin(2 * np.pi * (200 * t + 900 * t * t))).astype(np.float32)


def real_clip() -> np.ndarray:
    data = os.environ.get("STREAMCLS_DATA")
    if not data:
        pytest.skip("STREAMCLS_DATA is unset: no real recordings here")
    clip = min(Path(data, "gtzan_music_speech").rglob("*.ogg"))
    return soundfile.read(clip, frames=3 * 22_050, dtype="float32")[0]


@pytest.mark.parametrize(
    ("which", "config"),
    [
        ("chirp", {}),
        ("chirp", {"device": "PULSE", "sample_rate": 16_000, "channels": 1}),
        ("clip", {"device": "default", "sample_rate": 22_050}),
    ],
    ids=["chirp, as the device comes", "chirp, mono at 16 kHz", "real clip at its own rate"],
)
def test_what_is_played_is_what_is_recorded(pulse_sink, tmp_path, which, config) -> None:
    rate = config.get("sample_rate", 44_100)
    played = real_clip() if which == "clip" else chirp(rate)
    # A null sink may swallow the first tenths of a second of what begins to play.
    soundfile.write(
        tmp_path / "played.wav", np.concatenate([np.zeros(rate, np.float32), played]), rate, subtype="FLOAT"
    )
    with Recorder(pulse_sink, tmp_path / "out.npz", **config) as recorder:
        assert recorder.until("heard")["rate"] == rate
        before = time.time()
        pulse_sink.play(tmp_path / "played.wav")
        after = time.time()
        recorder.tell("end")
        counters = recorder.until("done")["counters"]
    out = np.load(tmp_path / "out.npz")
    assert out["samples"].dtype == np.float32
    assert out["samples"].shape[1] == config.get("channels", 2)
    assert out["first"][0] == 0
    np.testing.assert_array_equal(out["first"][1:], (out["first"] + out["length"])[:-1])
    assert set(counters.values()) == {0}
    likeness, at = correlation(out["samples"][:, 0], played)
    assert likeness > 0.98
    chunk = int(np.searchsorted(out["first"], at, "right")) - 1
    heard_at = out["captured_at"][chunk] + (at - out["first"][chunk]) / rate - 1
    print(f"correlation {likeness:.4f}; wall clock {heard_at - before:.3f} s after paplay began")
    # A null sink renders up to a second ahead, in bursts: the wall clock cannot be held to more than that.
    assert before - 1 < heard_at < after + 1


def test_a_device_that_goes_away_can_be_retried_and_the_index_covers_the_pause(pulse_sink, tmp_path) -> None:
    with Recorder(pulse_sink, tmp_path / "out.npz") as recorder:
        rate = recorder.until("heard")["rate"]
        pulse_sink.kill()
        lost = recorder.until("error")
        assert lost["retryable"]
        assert "the default device cannot record" in lost["text"]
        assert '"pulse"' in lost["text"], "the devices are listed"
        recorder.tell("again")
        still = recorder.until("error")
        assert still["retryable"]
        pulse_sink.start()
        recorder.tell("again")
        back = recorder.until("heard")
        pause = (back["first_sample"] - lost["end_sample"]) / rate
        assert pause > back["at"] - lost["at"] - 1
        recorder.tell("end")
        assert recorder.until("done")["counters"]["reconnects"] == 1


def test_an_unknown_device_lists_those_there_are(pulse_sink, tmp_path) -> None:
    with Recorder(pulse_sink, tmp_path / "out.npz", device="Wax Cylinder") as recorder:
        error = recorder.until("error")
    assert error["retryable"]
    assert error["text"].startswith('no input device \'Wax Cylinder\'; available: 0 "pulse", 1 "default"')


def test_more_channels_than_the_device_has_are_refused(pulse_sink, tmp_path) -> None:
    with Recorder(pulse_sink, tmp_path / "out.npz", channels=64) as recorder:
        error = recorder.until("error")
    assert not error["retryable"]
    assert error["text"] == "'default' cannot record 64 channels; it has 1 to 32"


def test_devices_lists_what_can_record(pulse_sink) -> None:
    table = subprocess.run(
        [sys.executable, "-c", CLI, "devices"], env=pulse_sink.env, capture_output=True, text=True, check=True
    )
    assert [line.split()[:2] for line in table.stdout.splitlines()[1:]] == [["0", "pulse"], ["*", "1"]]
    listed = subprocess.run(
        [sys.executable, "-c", CLI, "devices", "--json"], env=pulse_sink.env, capture_output=True, check=True
    )
    devices = json.loads(listed.stdout)
    assert [device["name"] for device in devices] == ["pulse", "default"]
    assert devices[1] == {
        "number": 1,
        "name": "default",
        "host_api": "ALSA",
        "channels": 32,
        "sample_rate": 44_100,
        "default": True,
    }

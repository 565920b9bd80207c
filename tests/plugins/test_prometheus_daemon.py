"""``/healthz`` and ``/metrics`` of a real daemon whose source is taken away and given back."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest
from daemon import STREAMCLS, DaemonProcess, free_port
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RATE = 22_050
LOOK_S = 0.1
PATIENCE_S = 60.0
WINDOWS = ("streamcls_stream_windows_total", "radio-1")


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:  # noqa: S310 - a server of ours
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:  # it is not up yet
        return 0, str(error)


def _samples(text: str) -> dict[tuple[str, ...], float]:
    """Return values by name and labels' values, these in alphabetical order."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _wait(url: str, condition: Callable[[int, str], bool], daemon: DaemonProcess) -> str:
    """Ask until the answer is as wanted: the far end of HTTP has no way to tell of changes."""
    pause = threading.Event()
    for _ in range(round(PATIENCE_S / LOOK_S)):
        status, text = _get(url)
        if condition(status, text):
            return text
        assert daemon.process.poll() is None, daemon.text()
        pause.wait(LOOK_S)
    raise AssertionError(f"{status} {text}\n{daemon.text()}")


@pytest.mark.slow
def test_a_source_that_is_lost_is_ill_and_well_again_when_it_is_back(tmp_path: Path) -> None:
    ingest, port = free_port(), free_port()
    config = tmp_path / "daemon.toml"
    config.write_text(
        f"""
[daemon]
name = "studio"
state_dir = "{tmp_path / "state"}"
heartbeat_s = 0.5
retry_s = 0.5
retry_max_s = 0.5
[bus]
publish = ["tcp://127.0.0.1:*"]
replay = ["tcp://127.0.0.1:*"]
[[source]]
name = "ingest"
type = "zmq"
bind = "tcp://127.0.0.1:{ingest}"
idle_s = 600
[[subscriber]]
type = "prometheus"
port = {port}
stale_s = 3.0
retrying_s = 2.0
""",
        encoding="utf-8",
    )
    noise = (np.random.default_rng(1).standard_normal(60 * RATE) * 3_000).astype("<i2")
    audio = tmp_path / "noise.wav"
    with wave.open(str(audio), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(noise.tobytes())
    to = ["--to", f"tcp://127.0.0.1:{ingest}", "--stream", "radio-1", "--realtime"]
    health, metrics = (f"http://127.0.0.1:{port}/{page}" for page in ("healthz", "metrics"))

    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", ingest))
        occupant.listen()
        with DaemonProcess(config) as daemon:
            answer = json.loads(_wait(health, lambda status, text: status == 503 and "ingest" in text, daemon))
            assert answer["status"] == "unavailable"
            [reason] = answer["reasons"]
            assert reason.startswith("source ingest: lost for ")
            assert "in use" in reason
            occupant.close()
            with subprocess.Popen([*STREAMCLS, "send", str(audio), *to]) as sender:
                assert json.loads(_wait(health, lambda status, _: status == 200, daemon)) == {"status": "ok"}
                _wait(metrics, lambda _, text: _samples(text).get(WINDOWS, 0) > 0, daemon)
                sender.send_signal(signal.SIGKILL)
            answer = json.loads(_wait(health, lambda status, _: status == 503, daemon))
            assert [reason[:31] for reason in answer["reasons"]] == ["stream radio-1: no window for 3"]
            with subprocess.Popen([*STREAMCLS, "send", str(audio), *to]) as sender:
                _wait(health, lambda status, _: status == 200, daemon)
                before = _samples(_get(metrics)[1])[WINDOWS]
                found = _samples(_wait(metrics, lambda _, text: _samples(text)[WINDOWS] > before, daemon))
                sender.kill()
            assert found["streamcls_healthy",] == 1
            assert found["streamcls_stream_state", "radio-1", "running"] == 1
            assert found["streamcls_model_inferences_total", "moderation-cnn"] > 0
            assert found["streamcls_stream_audio_seconds_total", "radio-1"] > 0
            assert found["streamcls_subscriber_up", "prometheus"] == 1
            assert found["streamcls_journal_up",] == 1
            daemon.signal(signal.SIGTERM)
            assert daemon.wait(20) == 0, daemon.text()

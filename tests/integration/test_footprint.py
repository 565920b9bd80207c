"""What the daemon weighs, and what it never loads."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
from daemon import DaemonProcess, Listener, free_port

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 150 << 20


def test_one_stream_and_two_models_stay_under_150_megabytes(tmp_path: Path) -> None:
    rate = 22_050
    pcm = tmp_path / "noise.pcm"
    pcm.write_bytes((np.random.default_rng(1).standard_normal(30 * rate) * 3000).astype("<i2").tobytes())
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    config = tmp_path / "daemon.toml"
    config.write_text(
        f"""
[daemon]
state_dir = "{tmp_path}"
heartbeat_s = 0.5
[bus]
publish = ["{endpoint}"]
[[source]]
name = "file"
type = "filetail"
path = "{pcm}"
start = "beginning"
pace = "realtime"
format = {{ sample_rate = {rate}, channels = 1, encoding = "pcm_s16le" }}
""",
        encoding="utf-8",
    )
    with DaemonProcess(config) as daemon:
        listener = Listener(endpoint)
        listener.start()
        both = {"streamcls.genre.window", "streamcls.moderation.window"}
        assert listener.wait_for(lambda seen: both <= {e["type"] for e in seen}, 30), daemon.text()
        measured = daemon.resident_bytes()
        beats = list(listener.of("daemon.heartbeat", "streamcls"))
        listener.halt()
    assert measured < MOST_BYTES
    assert all(beat["data"]["resident_bytes"] < MOST_BYTES for beat in beats)


def test_the_daemon_loads_neither_tensorflow_nor_librosa_nor_what_a_stream_does_not_need() -> None:
    code = (
        "import sys; from streamcls.daemon import prepare; from streamcls.config import load_config; "
        "from streamcls.plugins import discover; "
        "prepare(load_config(None), discover()); "
        "print(*sorted({m.partition('.')[0] for m in sys.modules} & {'tensorflow', 'keras', 'librosa', 'scipy', 'av', 'sounddevice'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == ""

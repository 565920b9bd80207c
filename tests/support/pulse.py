"""A private PulseAudio with a null sink, for tests that record with real PortAudio.

The recorder must be a child process that runs in ``PulseSink.env``: ALSA reads its configuration once per process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PulseSink", "pulse_sink", "running_pulse"]

_ALSA = Path("/usr/share/alsa/alsa.conf")
_READY_S = 10.0


class PulseSink:
    """A running PulseAudio whose default source is the monitor of its only sink (48 kHz, stereo).

    Attributes
    ----------
    env
        Environment for a child that records (or plays) through ALSA, PortAudio or PulseAudio.
    """

    def __init__(self, folder: Path) -> None:
        home, runtime = folder / "home", folder / "run"
        for path in (home, runtime):
            path.mkdir(mode=0o700)
        self._socket = runtime / "native"
        self._script = folder / "script.pa"
        self._log = folder / "log"
        alsa, client = folder / "asound.conf", folder / "client.conf"
        self._script.write_text(
            f"load-module module-native-protocol-unix auth-anonymous=1 socket={self._socket}\n"
            "load-module module-null-sink sink_name=tape rate=48000 channels=2\n"
            "set-default-sink tape\nset-default-source tape.monitor\n"
        )
        alsa.write_text(f"<{_ALSA}>\npcm.!default {{ type pulse }}\nctl.!default {{ type pulse }}\n")
        client.write_text("autospawn = no\nenable-shm = no\n")
        self.env = {
            **os.environ,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(home / "config"),
            "PULSE_RUNTIME_PATH": str(runtime),
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_CLIENTCONFIG": str(client),
            "ALSA_CONFIG_PATH": str(alsa),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._socket.unlink(missing_ok=True)
        command = ["pulseaudio", "--daemonize=no", "--system=false", "--exit-idle-time=-1", "--disable-shm=yes"]
        command += ["--use-pid-file=no", "-n", "-F", str(self._script)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + _READY_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PulseAudio did not start: {self._log.read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it without a farewell, as a crash or a pulled plug does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def play(self, path: Path) -> None:
        """Play a file that libsndfile reads (WAV, Ogg, FLAC) into the sink, to its end."""
        subprocess.run(["paplay", str(path)], env=self.env, check=True, stdin=subprocess.DEVNULL)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._socket))
            except OSError:
                return False
        info = subprocess.run(["pactl", "info"], env=self.env, capture_output=True, check=False)
        return b"tape.monitor" in info.stdout


@contextlib.contextmanager
def running_pulse() -> Iterator[PulseSink]:
    """Start a private PulseAudio and end it afterwards; skips the test where a part of it is not installed."""
    for tool in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (apt install pulseaudio pulseaudio-utils)")
    if not _ALSA.exists() or not any(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so")):
        pytest.skip("ALSA cannot record from PulseAudio here (apt install libasound2-plugins)")
    # Not pytest's folder: the path of a Unix socket may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pulse-", ignore_cleanup_errors=True) as folder:
        sink = PulseSink(Path(folder))
        try:
            sink.start()
            yield sink
        finally:
            sink.kill()


@pytest.fixture
def pulse_sink() -> Iterator[PulseSink]:
    """Give a test its own PulseAudio."""
    with running_pulse() as sink:
        yield sink

"""A real daemon that is told to read its configuration anew, and what it published meanwhile."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from daemon import STREAMCLS, DaemonProcess, Listener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["LONG_S", "Recorder", "Reloaded", "windows_are_whole"]

LONG_S = 60.0
_PIECE_S = 0.1
_LOOK_S = 0.02
_LEAD_S = 6.0
"""Of what is recorded before what is classified, at the most."""
_WHILE_ASKED_S = 4.0
"""Recorded while a reload is asked for, however long that takes."""


class Reloaded(DaemonProcess):
    """A daemon on ``folder/my.toml``, with a listener on its bus."""

    def __init__(
        self,
        folder: Path,
        text: str,
        env: Mapping[str, str] | None = None,
        *,
        command: Sequence[str] = STREAMCLS,
        daemon: str = "",
    ) -> None:
        self.folder = folder
        self.config = folder / "my.toml"
        self._daemon = daemon
        self._recorders: list[Recorder] = []
        self.write(text)
        self.listener = Listener(f"ipc://{folder}/bus")
        self.listener.start()
        super().__init__(self.config, env, command)

    def write(self, text: str) -> None:
        """Write the configuration: ``text`` below what every test's has."""
        head = f"""
[daemon]
name = "studio"
state_dir = "{self.folder}/state"
heartbeat_s = 0.2
workers = 2
{self._daemon}
[bus]
publish = ["ipc://{self.folder}/bus"]
replay = ["ipc://{self.folder}/replay"]
"""
        self.config.write_text(head + text, encoding="utf-8")

    def started(self) -> None:
        """Wait until it runs."""
        assert self.listener.wait_for(lambda events: any("heartbeat" in e["type"] for e in events), LONG_S), self.text()

    def plays(self, recorder: Recorder) -> None:
        """Begin a recording that this daemon follows: it goes on while something is waited for or asked, and to its end when it is joined.

        So it is not over before a test has done what it has to do meanwhile, be the machine as slow as it may.
        """
        self._recorders.append(recorder)
        recorder.start()

    def _record(self, audio_s: float) -> None:
        for recorder in self._recorders:
            recorder.go_on(audio_s, self._heard_s(recorder))

    def _heard_s(self, recorder: Recorder) -> float:
        ends = [0.0]
        for kind in ("genre.window", "moderation.window"):
            ends += [window["end_sample"] / window["sample_rate"] for window in self.events(kind, recorder.stream)[-1:]]
        return max(ends)

    def ask(self, text: str | None = None) -> tuple[int, dict[str, Any]]:
        """Have it reload, with another configuration where one is given; return the exit status and the outcome."""
        if text is not None:
            self.write(text)
        command = [*STREAMCLS, "reload", "--json", "--state-dir", f"{self.folder}/state"]
        deadline, recorded_s = time.monotonic() + LONG_S, 0.0
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                assert time.monotonic() < deadline, self.text()
                if recorded_s < _WHILE_ASKED_S:
                    self._record(2 * _LOOK_S)
                    recorded_s += 2 * _LOOK_S
                time.sleep(_LOOK_S)
            out, err = process.communicate()
        assert out, err + self.text()
        return process.returncode, json.loads(out)

    def ask_in_the_background(self, text: str) -> subprocess.Popen[bytes]:
        """Have it reload, without waiting for the outcome."""
        self.write(text)
        command = [*STREAMCLS, "reload", "--state-dir", f"{self.folder}/state"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_for_line(self, words: str) -> None:
        """Wait until the log says something."""
        deadline = time.monotonic() + LONG_S
        while words not in self.text():
            assert time.monotonic() < deadline, self.text()
            assert self.process.poll() is None, self.text()
            time.sleep(_LOOK_S)

    def applied(self, text: str) -> dict[str, Any]:
        """Have it reload with another configuration, which has to be applied."""
        code, outcome = self.ask(text)
        assert (code, outcome["state"], outcome["problems"]) == (0, "applied", []), (outcome, self.text())
        return outcome

    def events(self, kind: str, stream: str) -> list[dict[str, Any]]:
        """Return the data of the events of a kind and stream."""
        return [event["data"] for event in self.listener.of(kind, stream)]

    def wait_for(self, kind: str, stream: str, count: int) -> list[dict[str, Any]]:
        """Wait for so many events of a kind and stream."""
        deadline = time.monotonic() + LONG_S
        while not self.listener.wait_for(lambda _: len(self.events(kind, stream)) >= count, _LOOK_S):
            self._record(10 * _LOOK_S)
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(self.events(kind, stream))} of {count} {kind} of {stream}:\n{self.text()}")
        return self.events(kind, stream)

    def more(self, kind: str, stream: str, count: int) -> list[dict[str, Any]]:
        """Wait for so many further ones."""
        return self.wait_for(kind, stream, len(self.events(kind, stream)) + count)

    def beat(self) -> dict[str, Any]:
        """Return the data of a heartbeat that is composed from now on."""
        before = len(self.events("daemon.heartbeat", "studio"))
        return self.wait_for("daemon.heartbeat", "studio", before + 2)[-1]

    def stop(self) -> int:
        """Stop it; return its exit status."""
        self.process.terminate()
        return self.wait()

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        self.listener.halt()


class Recorder(threading.Thread):
    """Another program, which writes a file of samples piece by piece, as far as it is let, and never faster than ``speed``."""

    def __init__(self, path: Path, pcm: bytes, frame_bytes: int, rate: int, speed: float) -> None:
        super().__init__(daemon=True)
        path.touch()
        self.stream = path.stem
        self._path, self._pcm = path, pcm
        self._piece = frame_bytes * round(rate * _PIECE_S) + 1  # it ends in the middle of a sample
        self._bytes_a_second = frame_bytes * rate
        self._pause_s = _PIECE_S / speed
        self._changed = threading.Condition()
        self._allowed_s = self._written_s = 0.0

    def go_on(self, audio_s: float, heard_s: float) -> None:
        """Let it write so much more, but not further ahead of what has been heard than it may be."""
        with self._changed:
            self._allowed_s = max(self._allowed_s, min(self._written_s + audio_s, heard_s + _LEAD_S))
            self._changed.notify_all()

    def join(self, timeout: float | None = None) -> None:
        """Let it write the rest, and wait for that."""
        with self._changed:
            self._allowed_s = float("inf")
            self._changed.notify_all()
        super().join(timeout)

    def run(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            for at in range(0, len(self._pcm), self._piece):
                with self._changed:
                    self._changed.wait_for(lambda: self._written_s < self._allowed_s)
                    self._written_s += self._piece / self._bytes_a_second
                file.write(self._pcm[at : at + self._piece])
                time.sleep(self._pause_s)


def windows_are_whole(windows: list[dict[str, Any]], stride: int) -> bool:
    """Whether each window begins one stride, in samples, after the one before it, give or take the rounding."""
    return all(abs(b["first_sample"] - a["first_sample"] - stride) <= 1 for a, b in pairwise(windows))

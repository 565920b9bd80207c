"""The daemon as a process: start, ask, end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Final

import zmq

from streamcls.service.asking import ask_daemon
from streamcls.service.control_path import places

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DaemonProcess", "Reports"]

_STOP_S: Final = 60.0
_ASK_S: Final = 30.0


class DaemonProcess:
    """``python -m streamcls run CONFIG``.

    Parameters
    ----------
    python
        The interpreter.
    source
        A checkout whose code it is to run, or None for what the interpreter has installed.
    probe
        A program to run in place of ``-m streamcls``, for counting objects.
    """

    def __init__(
        self, python: str, config: Path, state_dir: Path, source: Path | None, probe: Path | None = None
    ) -> None:
        self._state_dir = state_dir
        env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        if source is not None:
            env["PYTHONPATH"] = os.pathsep.join([str(source), str(source / "plugins")])
        self.log = config.with_suffix(".log")
        self._python, self._env, self._config = python, env, config
        self._log = self.log.open("ab")
        run = [str(probe)] if probe else ["-m", "streamcls"]
        command = [python, *run, "run", str(config)]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log, env=env, cwd=config.parent)

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def ask(self, op: str, **members: Any) -> dict[str, Any]:
        """Ask over the control socket.

        Raises
        ------
        ControlError
            It refuses, or does not answer.
        """
        return ask_daemon(places(self._state_dir, only=True)[0], op, timeout_s=_ASK_S, **members)

    def reload_by_command(self) -> int:
        """Run ``streamcls reload`` and return its exit status."""
        command = [self._python, "-m", "streamcls", "reload", str(self._config)]
        return subprocess.run(
            command, capture_output=True, env=self._env, check=False, cwd=self._config.parent
        ).returncode

    def reload_by_signal(self) -> None:
        """Send SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """Ask it to end, and return its exit status; one that does not end is killed."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()
        return self.process.returncode


class Reports(threading.Thread):
    """Listens for what the daemon says of its reloads."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(name="reports", daemon=True)
        self._endpoint = endpoint
        self._changed = threading.Condition()
        self._reports: list[dict[str, Any]] = []
        self._halt = threading.Event()

    def run(self) -> None:
        """Listen until halted."""
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.connect(self._endpoint)
            socket.subscribe("daemon.reload/")
            while not self._halt.is_set():
                if not socket.poll(100):
                    continue
                _, body = socket.recv_multipart()
                with contextlib.suppress(ValueError, KeyError), self._changed:
                    self._reports.append(json.loads(body)["data"])
                    self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return len(self._reports)

    def after(self, number: int, timeout_s: float) -> dict[str, Any] | None:
        """Return the report that follows the first ``number``, or None where none comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._reports) > number, timeout_s)
            return self._reports[number] if len(self._reports) > number else None

    def halt(self) -> None:
        """End."""
        self._halt.set()
        self.join(5)

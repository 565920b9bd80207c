"""Running one command, with an end to everything it does: its time, its children, its output."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

__all__ = ["Limits", "Result", "run_command"]

_LAUNCHER: Final = Path(__file__).with_name("launch.py")
_LOOK_S: Final = 0.05
"""How often a command is looked after that has closed its output or keeps it open without writing."""
_HASTE_S: Final = 0.5
"""At the end, nobody gets more time than this between the two signals."""
_READ_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Limits:
    """What a command may use. ``cpu_s``, ``memory_bytes`` and ``open_files`` hold for each of its processes; 0: no limit."""

    timeout_s: float
    kill_after_s: float
    cpu_s: int = 0
    memory_bytes: int = 0
    open_files: int = 0
    output_bytes: int = 4096


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended.

    Attributes
    ----------
    status
        Its exit status; negative: the signal that ended it.
    output
        The beginning of what it wrote to standard output and standard error, in the order in which it came.
    written
        Bytes that it wrote in all.
    stopped
        Why it was ended, or empty.
    """

    status: int
    output: bytes
    written: int
    stopped: str = ""


def run_command(
    command: Sequence[str],
    given: bytes,
    *,
    environment: Mapping[str, str],
    cwd: str,
    limits: Limits,
    stop: threading.Event,
) -> Result:
    """Run a command until it has ended, and end what it leaves running in its process group.

    Parameters
    ----------
    command
        An absolute path and arguments; no shell is involved.
    given
        Its standard input.
    environment
        The whole of it.
    stop
        Once it is set, the command is ended as if its time were over.

    Raises
    ------
    OSError
        It cannot be started.
    """
    launcher = [sys.executable, "-I", "-S", "-B", str(_LAUNCHER)]
    launcher += [str(limits.cpu_s), str(limits.memory_bytes), str(limits.open_files)]
    with tempfile.TemporaryFile() as stdin:
        stdin.write(given)
        stdin.seek(0)
        process = subprocess.Popen(  # noqa: S603 - running what the configuration names is its purpose
            [*launcher, *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
    try:
        return _attend(process, limits, stop)
    finally:
        _signal_group(process, signal.SIGKILL)  # it is not reaped yet, so its number is nobody else's
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _attend(process: subprocess.Popen[bytes], limits: Limits, stop: threading.Event) -> Result:
    """Read what it writes until it has ended or has to."""
    output, written, stopped = bytearray(), 0, ""
    ends_at, killed_at = time.monotonic() + limits.timeout_s, float("inf")
    stdout = process.stdout
    with selectors.DefaultSelector() as selector:
        if stdout is not None:
            selector.register(stdout, selectors.EVENT_READ)
        while not _has_ended(process):
            now = time.monotonic()
            if not stopped and (stop.is_set() or now >= ends_at):
                stopped = (
                    "the subscriber is being closed" if stop.is_set() else f"it took longer than {limits.timeout_s:g} s"
                )
                _signal_group(process, signal.SIGTERM)
                killed_at = now + limits.kill_after_s
            if stop.is_set():
                killed_at = min(killed_at, now + _HASTE_S)
            if now >= killed_at:
                _signal_group(process, signal.SIGKILL)
            if not selector.get_map():
                time.sleep(_LOOK_S / 5)
                continue
            if selector.select(_LOOK_S):
                part = os.read(stdout.fileno(), _READ_BYTES) if stdout is not None else b""
                written += len(part)
                output += part[: max(0, limits.output_bytes - len(output))]
                if not part and stdout is not None:
                    selector.unregister(stdout)
        if stdout is not None:
            written += _rest(stdout.fileno(), output, limits.output_bytes)
    _signal_group(process, signal.SIGKILL)
    return Result(process.wait(), bytes(output), written, stopped)


def _rest(descriptor: int, output: bytearray, most: int) -> int:
    """Read what is in the pipe already; whoever else still holds it open is not waited for."""
    written = 0
    os.set_blocking(descriptor, False)
    while written < _READ_BYTES * 16:  # a pipe holds no more; what goes on writing is about to be killed
        try:
            part = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            break
        if not part:
            break
        written += len(part)
        output += part[: max(0, most - len(output))]
    return written


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has, without reaping it: its number stays its own, and its group's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if process.returncode is not None:
        return
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
    except PermissionError:  # it has become somebody else
        return

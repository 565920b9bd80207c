"""System, Python, processor, and what limits the process."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamcls import __version__
from streamcls.service.doctor.findings import Finding, Level
from streamcls.service.limits import LEAST_FILES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["machine_findings"]

_FEW_FILES: Final = 1_024
"""Open files; a daemon with a hundred senders stays below."""
_LITTLE_MEMORY: Final = 512 << 20
"""Bytes; the shipped models and a few streams take about half."""
_MIB: Final = 1 << 20


def machine_findings(root: Path = Path("/")) -> Iterator[Finding]:
    """Look at the system.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.
    """
    yield Finding("system", "ok", f"streamcls {__version__}, {_system()}, kernel {platform.release()}")
    yield Finding(
        "system", "ok", f"Python {platform.python_version()} ({platform.python_implementation()}) at {sys.executable}"
    )
    yield _processor(root)
    yield _files()
    yield from _memory(root)


def _system() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    return f"{name or platform.system()} on {platform.machine()}"


def _processor(root: Path) -> Finding:
    count = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count
    what = f"{count} cores, {usable} for this process"
    governor = _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor == "powersave":
        hint = "where audio waits for its worker, try the governor schedutil or performance"
        return Finding("processor", "warning", f"{what}, governor powersave", hint)
    return Finding("processor", "ok", f"{what}, governor {governor or 'unknown'}")


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FEW_FILES:  # the daemon raises the other one itself
        hint = f"raise it to {_FEW_FILES} at least: ulimit -Hn, or LimitNOFILE= in the unit"
        level: Level = "warning" if hard >= LEAST_FILES else "problem"
        return Finding("limits", level, f"open files: {soft} (at most {hard})", hint)
    return Finding("limits", "ok", f"open files: {soft} (at most {hard})")


def _memory(root: Path) -> Iterator[Finding]:
    facts = dict(line.partition(":")[::2] for line in _read(root / "proc/meminfo").splitlines())
    total, free = (_kib(facts.get(key, "")) for key in ("MemTotal", "MemAvailable"))
    if total is not None and free is not None:
        what = f"{free // _MIB} MiB of {total // _MIB} MiB available"
        little = free < _LITTLE_MEMORY
        yield Finding("memory", "warning" if little else "ok", what, "end what is not needed" if little else "")
    limit = _group_limit(root)
    if limit is not None:
        what = f"memory of this control group: at most {limit // _MIB} MiB"
        little = limit < _LITTLE_MEMORY
        hint = "raise MemoryMax= in the unit, or the container's limit" if little else ""
        yield Finding("limits", "warning" if little else "ok", what, hint)


def _group_limit(root: Path) -> int | None:
    """Return the smallest memory.max of this process's control groups (version 2); None where there is none."""
    line = next((line for line in _read(root / "proc/self/cgroup").splitlines() if line.startswith("0::")), "")
    folder = Path(line.removeprefix("0::").strip() or "/")
    limits = []
    for place in (folder, *folder.parents):
        text = _read(root / "sys/fs/cgroup" / str(place).lstrip("/") / "memory.max")
        if text.isascii() and text.isdigit():
            limits.append(int(text))
    return min(limits, default=None)


def _kib(text: str) -> int | None:
    number = text.split()[:1]
    return int(number[0]) * 1024 if number and number[0].isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

"""What the kernel knows of a process: memory, threads, open files, processor time. Linux only."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cpu_seconds", "memory_kb", "open_files", "shares_kb"]

_UTIME, _STIME = 11, 12
"""Places of user and system time behind the name in ``/proc/PID/stat`` (proc(5): fields 14 and 15)."""


def fields_of(text: str) -> dict[str, int]:
    """Read lines such as ``VmRSS:    1234 kB``; those whose value is no number are left out."""
    found = {}
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        words = rest.split()
        if colon and words and words[0].isdigit():
            found[name] = int(words[0])
    return found


def ticks_of(stat: str) -> int:
    """Return user and system time in clock ticks. The process's name, in brackets, may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[_UTIME]) + int(fields[_STIME])


def memory_kb(pid: int) -> dict[str, int]:
    """Return ``rss``, ``anonymous`` and ``peak`` resident memory in kB, and ``threads``."""
    fields = fields_of(_read(pid, "status"))
    return {
        "rss": fields["VmRSS"],
        "anonymous": fields["RssAnon"],
        "peak": fields["VmHWM"],
        "threads": fields["Threads"],
    }


def shares_kb(pid: int) -> dict[str, int]:
    """Return ``pss`` and ``uss`` in kB; it makes the kernel walk all pages, which takes some milliseconds."""
    fields = fields_of(_read(pid, "smaps_rollup"))
    return {"pss": fields["Pss"], "uss": fields["Private_Clean"] + fields["Private_Dirty"]}


def open_files(pid: int) -> int:
    """Return how many descriptors are open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names are all that is wanted


def cpu_seconds(pid: int) -> float:
    """Return user and system time of all threads, in seconds."""
    return ticks_of(_read(pid, "stat")) / os.sysconf("SC_CLK_TCK")


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(encoding="ascii", errors="replace")

"""Reading what a subscriber's process reports: lines of JSON from a pipe, of which nothing is believed to be sound."""

from __future__ import annotations

import json
import os
import select
from typing import Any, Final

__all__ = ["Reports"]

_LARGEST: Final = 1 << 16
"""Bytes of a line."""
_READ: Final = 1 << 16
_MS: Final = 1000


class Reports:
    """The reading end of a pipe that does not block."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self.over = False
        """Whether the other end is closed."""

    def wait(self, timeout_s: float) -> None:
        """Wait so long for more."""
        poll = select.poll()
        if not self.over:
            poll.register(self._descriptor, select.POLLIN)
        poll.poll(round(timeout_s * _MS))

    def read(self) -> list[dict[str, Any]]:
        """Return what has been reported since."""
        if self.over:
            return []
        try:
            data = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return []
        self.over = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LARGEST:
            self._rest = b""
        return [report for line in lines if (report := _parsed(line)) is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None

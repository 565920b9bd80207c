"""Events that could not be delivered, in a file of bounded size, each with the reason."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["DeadLetters"]

_log = logging.getLogger("streamcls.deadletters")


class DeadLetters:
    """Appends lines ``{"time", "reason", "attempts", "event"}``. May be used by several threads.

    Parameters
    ----------
    path
        The file. Once it would grow beyond half of ``max_bytes`` it is renamed (``.1`` is added), and what had that name is gone,
        which the log says.
    max_bytes
        Of the two files together; a single greater line is kept all the same.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._half = max_bytes // 2
        self._guard = threading.Lock()

    def write(self, event: Mapping[str, Any], reason: str, attempts: int) -> None:
        """Keep an event, on the disk.

        Raises
        ------
        OSError
            It cannot be written.
        """
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "reason": reason,
            "attempts": attempts,
            "event": event,
        }
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._guard:
            self._rotate(len(line))
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab", buffering=0) as file:
                before = os.fstat(descriptor).st_size
                try:
                    if file.write(line) != len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - the handler below mends both
                    os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, before)
                    raise

    def _rotate(self, coming: int) -> None:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        if not size or size + coming <= self._half:
            return
        old = self._path.with_name(self._path.name + ".1")
        if old.exists():
            with old.open("rb") as file:
                gone = sum(1 for _ in file)
            _log.warning("%s: %d dead letters are removed to make room for newer ones", old, gone)
        self._path.replace(old)

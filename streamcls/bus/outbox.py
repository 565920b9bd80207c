"""Events that were accepted and not yet delivered, in a file: they outlive the process that accepted them.

The file is appended to and holds one JSON object a line: ``{"n": 7, "at": …, "event": {…}}`` for an event that was accepted,
``{"done": 7}`` for one that is settled, ``{"seen": […]}`` for events that were settled before the file was last rewritten. It
is rewritten, in a new file that then takes its place, once most of it is about settled events.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import FileIO
    from pathlib import Path

__all__ = ["Outbox", "Parcel"]

_log = logging.getLogger("streamcls.outbox")

_FILE: Final = "outbox.jsonl"
_LOCK: Final = "lock"
_REMEMBERED: Final = 2000
"""Settled events that are recognised when they are handed over a second time."""
_REWRITE_BYTES: Final = 1 << 20
"""A file with less than this about settled events is not worth rewriting."""


@dataclass(slots=True, eq=False)
class Parcel:
    """One event on its way.

    Attributes
    ----------
    number
        Its place in the outbox, from 1; 0 where it could not be written there.
    size
        Bytes that it takes in the outbox.
    attempts
        How often its delivery was tried by this process.
    tried_at
        When that was first, on the clock of whoever delivers it; None before.
    taken_at
        When it was accepted, or found again by this process, on the same clock; None before it is handed to one who delivers.
    """

    number: int
    event: Mapping[str, Any]
    size: int = 0
    attempts: int = 0
    tried_at: float | None = None
    taken_at: float | None = None
    settled: bool = field(default=False)

    @property
    def stream(self) -> str:
        """The stream that it is about."""
        return str(self.event.get("subject", ""))


class Outbox:
    """Holds parcels until they are settled. Every method may be called from any thread.

    Parameters
    ----------
    folder
        Its own folder, made where it is missing (for its owner only).
    sync
        Force each accepted event to the disk, so that it outlives a power cut; else only the end of the process.
    max_events, max_bytes
        It is ``full`` once it holds as much.

    Raises
    ------
    BusError
        The folder cannot be used, or another outbox uses it.
    """

    def __init__(self, folder: Path, *, sync: bool = True, max_events: int = 10_000, max_bytes: int = 64 << 20) -> None:
        self._folder = folder
        self._path = folder / _FILE
        self._sync = sync
        self._max_events, self._max_bytes = max_events, max_bytes
        self._guard = threading.Lock()
        self._parcels: dict[int, Parcel] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._held_bytes = self._file_bytes = self._last = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock: FileIO | None = _locked(folder / _LOCK)
        except OSError as error:
            raise BusError(f"{folder}: cannot be used to keep events in: {error.strerror}") from error
        try:
            self._file: FileIO | None = self._path.open("ab", buffering=0)
            os.fchmod(self._file.fileno(), 0o600)  # it may hold what is nobody else's business
            self._load()
        except OSError as error:
            self._lock.close()
            raise BusError(f"{self._path}: cannot be used: {error.strerror}") from error

    @property
    def parcels(self) -> list[Parcel]:
        """What is not settled, in the order in which it was accepted."""
        with self._guard:
            return list(self._parcels.values())

    @property
    def full(self) -> bool:
        """Whether it holds as much as it may."""
        return len(self._parcels) >= self._max_events or self._held_bytes >= self._max_bytes

    def __len__(self) -> int:
        """How many events are not settled."""
        return len(self._parcels)

    def add(self, event: Mapping[str, Any]) -> Parcel | None:
        """Accept an event: once this returns it is kept. None for one that it holds or settled lately.

        Raises
        ------
        OSError
            It cannot be written (a full disk); nothing is kept then.
        """
        key = _key(event)
        with self._guard:
            if key in self._seen:
                return None
            line = _line({"n": self._last + 1, "at": round(time.time(), 3), "event": event})
            self._append(line, sync=self._sync)
            self._last += 1
            parcel = Parcel(self._last, event, len(line))
            self._parcels[parcel.number] = parcel
            self._held_bytes += len(line)
            self._remember(key)
            return parcel

    def settle(self, parcel: Parcel) -> None:
        """Let go of a parcel. Where that cannot be written, it will come up again after a restart."""
        with self._guard:
            parcel.settled = True
            if self._file is None or self._parcels.pop(parcel.number, None) is None:
                return
            self._held_bytes -= parcel.size
            try:
                self._append(_line({"done": parcel.number}), sync=False)
                if self._file_bytes - self._held_bytes > max(_REWRITE_BYTES, self._held_bytes):
                    self._rewrite()
            except OSError as error:
                _log.warning(
                    "%s: cannot be written (%s): what is delivered now may be delivered again",
                    self._path,
                    error.strerror,
                )

    def close(self) -> None:
        """Give the folder free; what is not settled stays in it."""
        with self._guard:
            for held in (self._file, self._lock):
                if held is not None:
                    held.close()
            self._file = self._lock = None

    def _append(self, line: bytes, *, sync: bool) -> None:
        if self._file is None:
            raise OSError(errno.EBADF, "it is closed")
        try:
            if self._file.write(line) != len(line):  # cut short where the disk fills up
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - the handler below mends both
            if sync:
                os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self._file_bytes)
            raise
        self._file_bytes += len(line)

    def _remember(self, key: str) -> None:
        self._seen[key] = None
        self._seen.move_to_end(key)
        while len(self._seen) > _REMEMBERED + self._max_events:
            self._seen.popitem(last=False)

    def _rewrite(self) -> None:
        held = {_key(parcel.event) for parcel in self._parcels.values()}
        seen = [key for key in self._seen if key not in held][-_REMEMBERED:]
        lines = [_line({"seen": seen, "last": self._last})]
        now = round(time.time(), 3)
        lines += [_line({"n": p.number, "at": now, "event": p.event}) for p in self._parcels.values()]
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb", buffering=0) as file:
            os.fchmod(file.fileno(), 0o600)
            data = b"".join(lines)
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        opened = fresh.open("ab", buffering=0)
        try:
            fresh.replace(self._path)
            _sync_folder(self._folder)
        except OSError:
            opened.close()
            raise
        if self._file is not None:
            self._file.close()
        self._file, self._file_bytes = opened, len(data)

    def _load(self) -> None:
        """Read what an earlier process left; cut off a last line that it did not finish."""
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self._path, whole)
        damaged = 0
        for line in data[:whole].splitlines():
            try:
                self._take(json.loads(line), len(line) + 1)
            except (ValueError, KeyError, TypeError, AttributeError):
                damaged += 1
        self._file_bytes = whole
        if damaged:
            aside = self._path.with_suffix(f".damaged-{int(time.time())}")
            aside.write_bytes(data)
            self._rewrite()
            _log.error(
                "%s: %d lines are damaged and were passed over; the file was copied to %s", self._path, damaged, aside
            )

    def _take(self, entry: dict[str, Any], size: int) -> None:
        if "event" in entry:
            number, event = int(entry["n"]), dict(entry["event"])
            self._remember(_key(event))
            self._parcels[number] = Parcel(number, event, size)
            self._held_bytes += size
            self._last = max(self._last, number)
        elif "seen" in entry:
            self._last = max(self._last, int(entry["last"]))
            for key in entry["seen"]:
                self._remember(str(key))
        else:
            parcel = self._parcels.pop(int(entry["done"]), None)
            self._held_bytes -= parcel.size if parcel else 0


def _key(event: Mapping[str, Any]) -> str:
    """Return what is unique to an event among those of all daemons."""
    return f"{event['source']} {event['id']}"


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _locked(path: Path) -> FileIO:
    file = path.open("ab", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise BusError(
            f"{path.parent}: another subscriber keeps its events there, or one that was left behind; give each one a spool of its own"
        ) from error
    return file


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

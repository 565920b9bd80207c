"""Events on disk before they are published, so that whoever missed one can ask for it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.salvage import salvage, set_aside
from streamcls.bus.store import JournalFile, Record, advice, check, is_damage, with_positions
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from streamcls.types import Checkpoint, Event

__all__ = ["Journal", "is_journaled"]

_log = logging.getLogger("streamcls.journal")

_NEVER_KEPT: Final = "daemon.heartbeat"
_WINDOW: Final = ".window"
_OVER: Final = frozenset({"ended", "failed"})
_MOST_UNWRITTEN: Final = 10_000
_RETRY_S: Final = 1.0
_RETRY_MAX_S: Final = 30.0
_TRIM_EVERY_S: Final = 10.0
_TRIM_AGAIN_S: Final = 0.2
_MOST_TRIMMED: Final = 2_000
_DAY_S: Final = 86_400.0
_MEGABYTE: Final = 1_000_000


def is_journaled(kind: str, *, windows: bool = False) -> bool:
    """Whether events of a kind are kept: all but heartbeats, and windows only where that is asked for."""
    return kind != _NEVER_KEPT and (windows or not kind.endswith(_WINDOW))


class Journal:
    """Gives each event that is kept its position, and keeps it. Used by the bus thread once it is open.

    Where the disk fails, events are published without a position, so that none is ever given twice; they wait in memory (up to 10 000)
    and are written, with a position, when the disk can be written again. A file that is damaged is set aside and a new one begun.

    Attributes
    ----------
    state, reason
        ``ok`` or ``failed``, and why.
    position
        Last position given out.
    set_aside
        Files that were damaged and were set aside since the start.
    last_epoch
        Of the newest event when it was opened; empty where there was none.
    lost
        Events that could not be kept, because too many waited. Positions are left out for them, which tells whoever asks later.
    """

    def __init__(
        self,
        path: Path,
        *,
        power: bool = True,
        windows: bool = False,
        max_mb: int = 256,
        max_age_days: float = 30.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.state = "failed"
        self.reason = "not opened yet"
        self.position = 0
        self.set_aside = 0
        self.last_epoch = ""
        self.lost = 0
        self.written = 0
        self._power, self._windows = power, windows
        self._most_bytes, self._max_age_s = max_mb * _MEGABYTE, max_age_days * _DAY_S
        self._clock, self._monotonic = clock, monotonic
        self._file: JournalFile | None = None
        self._lock: int | None = None
        self._unwritten: deque[Record] = deque()
        self._checkpoints: dict[str, Checkpoint] = {}
        self._open: dict[str, Record] = {}
        self._left_open: dict[str, str] = {}
        self._left_out = 0
        self._streams: dict[str, Record] = {}
        self._retry_at, self._pause = 0.0, _RETRY_S
        self._trim_at = 0.0
        self._facts: dict[str, Any] = {}
        self._generation = 0
        self._identity: tuple[int, int] | None = None
        self._checked: tuple[int, int] | None = None
        self._suspicion: tuple[int, sqlite3.Error] | None = None

    def open(self) -> None:
        """Open the file; where the disk does not allow that, say so and try again later.

        Raises
        ------
        BusError
            Another process writes this journal.
        """
        self._take_lock()
        self._reopen()

    @property
    def id(self) -> str:
        """The journal's identity; empty before it could be opened for the first time."""
        file = self._file  # another thread may ask
        return file.id if file is not None else str(self._facts.get("journal", ""))

    @property
    def generation(self) -> int:
        """Rises whenever another file stands under the name."""
        return self._generation

    def keeps(self, kind: str) -> bool:
        """Whether events of a kind are kept."""
        return is_journaled(kind, windows=self._windows)

    @property
    def next_position(self) -> int | None:
        """The position of the next event; None while the disk cannot be written."""
        return self.position + 1 if self._file is not None else None

    def record(self, event: Event, *, epoch: str, topic: str, sequence: int, body: bytes) -> Record:
        """Give an event, encoded with ``next_position``, this position."""
        if self._file is not None:
            self.position += 1
        data = event.data
        identifier, phase = data.get("id"), data.get("phase")
        finding = (identifier, phase) if isinstance(identifier, str) and isinstance(phase, str) else None
        over = data.get("state") in _OVER if event.kind == "stream.status" else None
        return Record(
            self.position, epoch, topic, sequence, event.kind, event.stream, self._clock(), body, finding, over
        )

    def write(self, records: Sequence[Record], checkpoints: Sequence[Checkpoint]) -> bool:
        """Keep events and checkpoints; returns when they are on disk.

        Returns
        -------
        bool
            False where they could not be kept: their positions are void. :meth:`set_back` takes them, encoded without.
        """
        begun = self._file is not None
        for again in (False, True):  # the file as it is; where that is damaged, a new one in its place
            file = self._file
            if file is None:
                break
            try:
                file.write(records, checkpoints)
            except (sqlite3.Error, OSError) as error:
                self._fail(error, records, again=again)
            else:
                self._written(records)
                return True
        if records and begun:
            self.position = min(self.position, records[0].position - 1)
        return False

    def set_back(self, records: Sequence[Record], checkpoints: Sequence[Checkpoint]) -> None:
        """Remember in memory what could not be kept, encoded without a position."""
        for record in records:
            self._remember(record)
        self._unwritten.extend(records)
        self._checkpoints.update({checkpoint.stream: checkpoint for checkpoint in checkpoints})
        while len(self._unwritten) > _MOST_UNWRITTEN:
            self._unwritten.popleft()
            self.lost += 1
            self._left_out += 1

    def _written(self, records: Sequence[Record]) -> None:
        for record in records:
            self._remember(record)
        self.written += len(records)

    def tick(self) -> None:
        """Do what is due: try a failed disk again, remove what is too old or too much."""
        now = self._monotonic()
        suspicion, self._suspicion = self._suspicion, None
        if suspicion is not None and suspicion[0] == self._generation and self._file is not None:
            self._fail(suspicion[1])
        if self._file is None:
            if now >= self._retry_at:
                self._reopen()
            return
        if now < self._trim_at:
            return
        if self._standing() != self._identity:  # what is written now nobody could read
            self._fail(OSError("the file was removed or replaced"))
            self._retry_at = now
            return
        try:
            removed = self._file.trim(
                before=self._clock() - self._max_age_s, most_bytes=self._most_bytes, most_rows=_MOST_TRIMMED
            )
            self._trim_at = now + (_TRIM_AGAIN_S if removed == _MOST_TRIMMED else _TRIM_EVERY_S)
            self._update_facts()
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    def suspect(self, error: sqlite3.Error, generation: int) -> None:
        """Have the file set aside with the next ``tick`` that a reader found damaged, unless another took its place; from any thread."""
        self._suspicion = (generation, error)

    @property
    def due_s(self) -> float:
        """Seconds until ``tick`` has something to do."""
        return max(0.0, (self._retry_at if self._file is None else self._trim_at) - self._monotonic())

    def open_stream(self, identifier: str) -> str | None:
        """Return the stream of a segment or alert that is open; None where there is none of this id. From any thread."""
        record = self._open.get(identifier)
        return record.stream if record is not None else self._left_open.get(identifier)

    def limit(self, max_mb: int, max_age_days: float) -> None:
        """Keep so much, and for so long, from the next trimming on."""
        self._most_bytes, self._max_age_s = max_mb * _MEGABYTE, max_age_days * _DAY_S

    def facts(self) -> dict[str, Any]:
        """Return what a heartbeat says of it; may be called from any thread."""
        return {
            **self._facts,
            "state": self.state,
            "reason": self.reason,
            "position": self.position,
            "written": self.written,
            "unwritten": len(self._unwritten),
            "set_aside": self.set_aside,
            "lost": self.lost,
        }

    def close(self) -> None:
        """Write what waits, if that can be, and close the file."""
        if self._file is None and self._unwritten:
            self._reopen()
        if self._unwritten:
            _log.error("%s: %d events could not be kept: %s", self.path, len(self._unwritten), self.reason)
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        path = self.path.with_suffix(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
            raise BusError(
                f"{self.path}: another daemon keeps its journal there; stop it, or give this one its own [daemon] state_dir"
            ) from error
        except OSError:
            return  # a disk that cannot be written: the journal itself will say so

    def _reopen(self) -> None:
        file: JournalFile | None = None
        try:
            if self._lock is None:
                self._take_lock()
            file = self._opened()
            self._left_open.update(file.left_open())
            self.last_epoch = self.last_epoch or file.last_epoch()
            position = max(self.position, file.position)
            self._restore_open(file)
            waiting = with_positions(self._unwritten, position + self._left_out)
            file.write(waiting, list(self._checkpoints.values()))
        except (sqlite3.Error, OSError, BusError) as error:
            if file is not None:
                file.close(clean=False)
            self._fail(error)
            return
        self._unwritten.clear()
        self._checkpoints.clear()
        self._left_out = 0
        self._file = file
        self._identity = self._checked = self._standing()
        self._generation += 1
        self.position = waiting[-1].position if waiting else position
        self._written(waiting)
        if waiting:
            _log.warning("%s can be written again; %d events that waited are kept", self.path, len(waiting))
        self.state, self.reason = "ok", ""
        self._pause, self._trim_at = _RETRY_S, 0.0
        self._update_facts()

    def _opened(self) -> JournalFile:
        try:
            there = self._standing()
            if there is not None and there != self._checked:
                check(self.path)  # once, and not whenever a full disk is tried again: all events wait for it
                self._checked = there
            return JournalFile.open(self.path, power=self._power, begin=self.position)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._set_aside(error)
            return JournalFile.open(self.path, power=self._power, begin=self.position)

    def _set_aside(self, error: Exception) -> None:
        """Rename a damaged file, so that it can be looked at, and nothing is lost by our hand."""
        target = set_aside(self.path, self._clock())
        self.set_aside += 1
        found = salvage(target)
        _log.error(
            "%s: the journal is damaged (%s); it was set aside as %s and a new one begun. Subscribers that were away cannot be given "
            "what was in it; of what was open %d findings and %d checkpoints could be read",
            self.path,
            error,
            target.name,
            len(found.findings),
            len(found.checkpoints),
        )
        if self._generation:
            return  # what is open is known better here
        self.position = max(self.position, found.position)
        for record in (*found.findings, *found.streams):
            self._remember(record)
        for checkpoint in found.checkpoints:
            self._checkpoints.setdefault(checkpoint.stream, checkpoint)

    def _standing(self) -> tuple[int, int] | None:
        """Return what identifies the file under the name; None where there is none."""
        try:
            there = self.path.stat()
        except OSError:
            return None
        return there.st_dev, there.st_ino

    def _restore_open(self, file: JournalFile) -> None:
        """Tell a file that is new what is open since this start; one that was only away has it, or gets it again."""
        waiting = set(map(id, self._unwritten))
        again = [r for r in (*self._open.values(), *self._streams.values()) if id(r) not in waiting]
        if again and file.first > file.position:
            file.write(sorted(again, key=lambda record: record.position))

    def _remember(self, record: Record) -> None:
        if record.finding is not None:
            if record.finding[1] == "closed":
                self._open.pop(record.finding[0], None)
                self._left_open.pop(record.finding[0], None)
            else:
                self._open[record.finding[0]] = record
        if record.over is not None:
            if record.over:
                self._streams.pop(record.stream, None)
            else:
                self._streams[record.stream] = record

    def _fail(self, error: Exception, records: Sequence[Record] = (), *, again: bool = False) -> None:
        """Stop writing for a while, or at once, but not again, begin a new file where the present one is damaged."""
        file, self._file = self._file, None
        if file is not None:
            self._facts["journal"] = file.id
            file.close(clean=False)
        damaged = isinstance(error, sqlite3.Error) and is_damage(error)
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
            self._checked = None  # the disk may have lost some of it
        self._retry_at = self._monotonic() + (0.0 if damaged else self._pause)
        reason = f"{self.path}: {error}; {advice(error)}"
        if self.state != "failed" or reason != self.reason:
            _log.error("the journal cannot be written: %s. Events are published all the same", reason)
        self.state, self.reason = "failed", reason
        self._pause = min(2 * self._pause, _RETRY_MAX_S)
        if damaged and file is not None and not again:
            position = self.position
            self.position -= len(records)
            with contextlib.suppress(OSError):
                self._set_aside(error)
            self._reopen()
            self.position = position if self.state == "ok" else self.position

    def _wal_bytes(self) -> int:
        """Size of what waits to be moved into the file; it grows while somebody reads on and on."""
        try:
            return self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except OSError:
            return 0

    def _update_facts(self) -> None:
        file = self._file
        if file is not None:
            self._facts = {"journal": file.id, "first": file.first, "bytes": file.used_bytes + self._wal_bytes()}

"""Where a subscriber was: a small file that outlives it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any, Final

from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["Cursor", "CursorUnwritableError"]

_log = logging.getLogger("streamcls.bus.client")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}\Z")
_LARGEST_FILE: Final = 4 << 20
_MOST_BEYOND: Final = 100_000


class CursorUnwritableError(BusError):
    """A cursor's folder cannot be written: a full or read-only disk."""


class Cursor:
    """A durable position in one daemon's journal, under a name.

    Saved are the daemon, its journal, the position up to which every event that was asked for has been handled, and the positions
    beyond it that have been handled already. It is saved at most every ``every_s`` seconds or ``every_events`` events and when it is
    closed, so that after a crash some events come again: each at least once.

    Parameters
    ----------
    folder
        Where ``NAME.cursor`` lies, or will; it is made where it is missing.
    name
        Letters, digits and ``. _ : @ + -``. One process at a time may use it.
    every_s, every_events
        How much may be handled before it is saved.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        every_s: float = 1.0,
        every_events: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not _NAME.match(name):
            raise BusError(f"cursor {name[:60]!r}: expected letters, digits and . _ : @ + -, at most 128")
        self.name = name
        self.path = folder / f"{name}.cursor"
        self.source = ""
        self.journal = ""
        self.position: int | None = None
        self.beyond: set[int] = set()
        self._folder = folder
        self._every_s = every_s
        self._every_events = every_events
        self._clock = clock
        self._lock: int | None = None
        self._unsaved = 0
        self._saved_at = clock()

    def open(self) -> None:
        """Lock and read it.

        Raises
        ------
        BusError
            Another process uses it; :class:`CursorUnwritableError` where its folder cannot be written.
        """
        if self._lock is not None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CursorUnwritableError(
                f"cursor {self.path}: {error.strerror}; choose a folder that can be written"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise BusError(
                f"cursor {self.name} in {self._folder} is in use by another subscriber; stop it or choose another name"
            ) from error
        self._lock = lock
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Save what is new, and let others use it."""
        if self._lock is None:
            return
        try:
            self.save()
        finally:
            os.close(self._lock)
            self._lock = None

    def begin(self, source: str, journal: str, position: int, beyond: Iterable[int] = ()) -> None:
        """Take a place in a journal, whatever was there before."""
        self.source, self.journal, self.position = source, journal, position
        self.beyond = set(beyond)
        self._unsaved += 1

    def handled(self, position: int | None, complete: int | None) -> None:
        """Note that an event was handled.

        Parameters
        ----------
        position
            The event's own; None where it has none.
        complete
            Every event up to there has been handled as well; None where that is not known.
        """
        if self.position is None:
            return
        if complete is not None and complete > self.position:
            self.position = complete
            if self.beyond:
                self.beyond = {other for other in self.beyond if other > complete}
            self._unsaved += 1
        if position is not None and position > self.position:
            self.beyond.add(position)
            self._unsaved += 1

    @property
    def is_due(self) -> bool:
        """Whether enough has happened since it was saved."""
        return bool(self._unsaved) and (
            self._unsaved >= self._every_events or self._clock() - self._saved_at >= self._every_s
        )

    def save(self) -> None:
        """Write the file, if anything is new: whole or not at all, also where the power fails.

        Raises
        ------
        BusError
            It cannot be written.
        """
        if not self._unsaved or self.position is None:
            return
        body = {"source": self.source, "journal": self.journal, "position": self.position}
        if self.beyond:
            body["beyond"] = sorted(self.beyond)[:_MOST_BEYOND]
        temporary = self.path.with_suffix(".new")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(body, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise BusError(f"cursor {self.path} cannot be saved: {error.strerror}") from error
        self._unsaved = 0
        self._saved_at = self._clock()

    def _load(self) -> None:
        try:
            with self.path.open("rb") as file:
                text = file.read(_LARGEST_FILE + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            raise BusError(f"cursor {self.path} cannot be read: {error.strerror}") from error
        try:
            self.source, self.journal, self.position, self.beyond = _parse(text)
        except (ValueError, RecursionError) as error:
            aside = self.path.with_suffix(".damaged")
            with contextlib.suppress(OSError):
                self.path.replace(aside)
            _log.warning("cursor %s is damaged (%s); set aside as %s, begun anew", self.path, error, aside.name)


def _parse(text: bytes) -> tuple[str, str, int, set[int]]:
    """Return source, journal, position and what is beyond it; ValueError where it is no cursor."""
    value: Any = json.loads(text) if len(text) <= _LARGEST_FILE else None
    match value:
        case {"source": str(source), "journal": str(journal), "position": int(position)}:
            beyond = value.get("beyond", [])
            if isinstance(beyond, list) and all(_whole(number) for number in [position, *beyond]):
                return source, journal, position, set(beyond)
    raise ValueError("no JSON object with source, journal and position")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

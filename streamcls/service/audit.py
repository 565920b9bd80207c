"""The audit log: every alert, clip and word of a person on it, in a chain that shows when something was changed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.wire import TYPE_PREFIX, rfc3339
from streamcls.errors import StreamclsError
from streamcls.service.chain import BEGINNING, read_entries, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from io import FileIO
    from pathlib import Path

    from streamcls.config import Settings

__all__ = ["AUDITED", "AuditLog", "configuration_digest", "is_audited"]

_log = logging.getLogger("streamcls.audit")

AUDITED: Final = ("moderation.evidence", "moderation.ack", "moderation.mute", "daemon.evidence")
"""Kinds that are recorded, beside every kind that ends in ``.alert``."""
_REMEMBERED: Final = 20_000
"""Ids of the newest events, by which one that is delivered again is recognised."""
_MEGABYTE: Final = 1_000_000
_FILE_MODE: Final = 0o640
_TAIL_BYTES: Final = 1 << 20
_FIRST_BYTES: Final = b'{"configuration":"'
"""What every record begins with."""


def is_audited(kind: str) -> bool:
    """Whether events of a kind are recorded."""
    return kind.endswith(".alert") or kind in AUDITED


def configuration_digest(settings: Settings) -> str:
    """Return the SHA-256 of a configuration in force: of its JSON with keys in order and without spaces."""
    text = json.dumps(settings.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class AuditLog:
    """Appends records. Used by one thread; ``facts`` may be called from any.

    An event that is recorded already is passed over, so that delivery at least once becomes a record exactly once. A last line that
    a crash cut short is moved to a file of its own, and a record says so. After ``rotate_mb`` the file is set aside under the number of its
    first record, and the chain goes on in a new one.

    Attributes
    ----------
    state, reason
        ``ok`` or ``failed``, and why.
    number, last
        Of the newest record: its number, its hash. 0 and empty while there is none.
    configuration
        Digest of the configuration in force, for the records to come.
    """

    def __init__(
        self,
        path: Path,
        *,
        configuration: str = "",
        sync: bool = True,
        rotate_mb: int = 64,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.configuration = configuration
        self._sync = sync
        self._rotate_bytes = rotate_mb * _MEGABYTE
        self._clock = clock
        self._file: FileIO | None = None
        self._recorded: set[str] = set()
        self._order: deque[str] = deque()
        self._first = 1
        self.state = "ok"
        self.reason = ""
        self.number = 0
        self.last = ""

    def open(self) -> None:
        """Open the log and find its end.

        Raises
        ------
        StreamclsError
            It cannot be opened or written, or another process has it.
        """
        if self._file is not None and self._is_mine():
            return
        self.close()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _opened(self.path)
            if not os.fstat(self._file.fileno()).st_size:
                self._begin()
            else:
                self._resume()
        except OSError as error:
            raise self._failure(error) from error
        except StreamclsError as error:
            self.close()
            self.state, self.reason = "failed", str(error)
            raise

    def handle(self, event: Mapping[str, Any]) -> None:
        """Record an event, an envelope as it is on the wire, unless it is recorded already or of no kind that is.

        Raises
        ------
        StreamclsError
            It cannot be written: nothing of it is in the log, and it may be handed over again.
        """
        kind = str(event["type"]).removeprefix(TYPE_PREFIX)
        if not is_audited(kind):
            return
        self.open()
        if event["id"] in self._recorded:
            return
        data = event["data"]
        facts = {name: data[name] for name in ("model_sha256", "front_end_sha256", "thresholds") if name in data}
        if kind in {"moderation.evidence", "daemon.evidence"} and "sha256" in data:
            facts["clip_sha256"] = data["sha256"]
        position = event.get("position")
        record = {"what": "event", "position": int(position) if position else None, **facts, "event": event}
        try:
            if self._file is not None and os.fstat(self._file.fileno()).st_size >= self._rotate_bytes:
                self._rotate()
            self._append(record)
        except OSError as error:
            raise self._failure(error) from error
        self._remember(event["id"])
        self.state, self.reason = "ok", ""

    def note(self, what: str, **facts: Any) -> None:
        """Record something that is no event, such as that events were missed; raises like ``handle``."""
        self.open()
        try:
            self._append({"what": what, **facts})
        except OSError as error:
            raise self._failure(error) from error

    def facts(self) -> dict[str, Any]:
        """Return what a heartbeat says of it."""
        return {"state": self.state, "reason": self.reason, "records": self.number, "last": self.last}

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _append(self, content: Mapping[str, Any]) -> None:
        file = self._file
        if file is None:
            raise OSError(0, "it is closed")
        record = {
            "number": self.number + 1,
            "time": rfc3339(self._clock()),
            "previous": self.last or BEGINNING,
            "configuration": self.configuration,
            **content,
        }
        line, digest = seal(record)
        before = os.fstat(file.fileno()).st_size
        try:
            written = file.write(line)
            if written != len(line):
                raise OSError(0, "the disk took only a part of a record; it is probably full")  # noqa: TRY301
            if self._sync:
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), before)
            raise
        self.number, self.last = self.number + 1, digest

    def _begin(self, former: str = "") -> None:
        """Write a new file's first record, which names the file before it, as far as that is known."""
        before = self._newest_set_aside()
        if not self.number and before is not None:
            former = before.name
            self._learn(before)
        self._first = self.number + 1
        self._append({"what": "begin", "predecessor": {"file": former} if self.number else None})

    def _resume(self) -> None:
        """Find the end of the file, and set a torn last line aside."""
        first = next(read_entries(self.path))
        if first.record is None and (first.whole or not self._is_torn_beginning()):
            raise StreamclsError(f"{self.path} is no audit log; move it away, or choose another audit.path")
        torn = self._cut_torn()
        if not self.path.stat().st_size:
            self._begin()
        else:
            before = self._newest_set_aside()
            if before is not None and self.path.stat().st_size < _TAIL_BYTES:
                self._learn(before)  # an event recorded there may be delivered again
            self._learn(self.path)
        if torn is not None:
            self._append({"what": "torn", **torn})

    def _is_torn_beginning(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(len(_FIRST_BYTES)) == _FIRST_BYTES

    def _learn(self, path: Path) -> None:
        """Take over number, hash and ids from a file."""
        first = True
        for entry in read_entries(path):
            number = (entry.record or {}).get("number")
            if entry.record is None or not isinstance(number, int):
                continue
            if first:
                first, self._first = False, number
            self.number, self.last = number, entry.stated
            event = entry.record.get("event")
            if isinstance(event, dict) and isinstance(event.get("id"), str):
                self._remember(event["id"])

    def _cut_torn(self) -> dict[str, Any] | None:
        """Move what follows the last line feed to a file beside, and return what the log is to say of it."""
        with self.path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            at = size
            kept = b""
            while at and b"\n" not in kept:
                step = min(_TAIL_BYTES, at)
                at = file.seek(at - step)
                kept = file.read(step) + kept
            torn = kept.rpartition(b"\n")[2]
            if not torn:
                return None
            digest = hashlib.sha256(torn).hexdigest()
            beside = self.path.with_name(f"{self.path.name}.torn-{digest[:16]}")
            beside.write_bytes(torn)
            file.truncate(size - len(torn))
        _log.warning("%s ended in the middle of a record: its %d bytes are in %s now", self.path, len(torn), beside)
        return {"bytes": len(torn), "sha256": digest, "kept_as": beside.name}

    def _rotate(self) -> None:
        """Set the file aside and begin the next."""
        self.close()
        former = self.path.rename(self.path.with_name(f"{self.path.stem}-{self._first:010d}{self.path.suffix}"))
        self._file = _opened(self.path)
        self._begin(former.name)

    def _newest_set_aside(self) -> Path | None:
        pattern = re.compile(re.escape(self.path.stem) + r"-[0-9]{10}" + re.escape(self.path.suffix))
        return max((file for file in self.path.parent.iterdir() if pattern.fullmatch(file.name)), default=None)

    def _is_mine(self) -> bool:
        """Whether the open file is still the one under the name."""
        if self._file is None:
            return False
        try:
            there = self.path.stat()
        except OSError:
            return False
        mine = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _remember(self, identifier: str) -> None:
        if identifier not in self._recorded:
            self._recorded.add(identifier)
            self._order.append(identifier)
            if len(self._order) > _REMEMBERED:
                self._recorded.discard(self._order.popleft())

    def _failure(self, error: OSError) -> StreamclsError:
        self.close()
        if isinstance(error, BlockingIOError):
            reason = f"{self.path}: another process writes this audit log"
        else:
            reason = f"{self.path}: the audit log cannot be written: {error.strerror or error}"
        self.state, self.reason = "failed", reason
        return StreamclsError(reason)


def _opened(path: Path) -> FileIO:
    """Open a log for appending, and for this process alone."""
    file = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _FILE_MODE), "ab", buffering=0)  # noqa: PTH123, SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file

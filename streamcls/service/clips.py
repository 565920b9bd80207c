"""The folder of clips: where each lies, what is known of it, and what has to go when there is too much."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

__all__ = ["ClipFolder", "StoredClip"]

_log = logging.getLogger("streamcls.evidence")

_AUDIO: Final = ".flac"
_FACTS: Final = ".json"
_UNSAID: Final = ".json.new"
"""Facts of a clip whose event has not been published yet."""
_GOING: Final = ".json.going"
"""Facts of a clip that is being removed."""
_SUFFIXES: Final = (_FACTS, _UNSAID, _GOING)
_FOLDER_MODE: Final = 0o750
_FILE_MODE: Final = 0o640
"""At most; the process's umask may take more away: clips can hold what people said."""
_PART: Final = ".part"
_LOCK: Final = ".lock"
_LONGEST_LABEL: Final = 40
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._+-]")
_DAY_S: Final = 86_400.0
_MEGABYTE: Final = 1_000_000
_OURS: Final = "streamcls evidence 1"


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip on disk.

    Attributes
    ----------
    path
        Relative to the folder.
    written
        Unix time in seconds.
    facts
        The data of its ``moderation.evidence`` event.
    """

    path: str
    stream: str
    written: float
    facts: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return int(self.facts["bytes"])


class ClipFolder:
    """Keeps clips as ``STREAM/DATE/TIME-LABEL-ALERT.flac`` with a JSON file of facts beside each.

    The index is what lies in the folder, read when it is opened; files of others in it are neither counted nor removed. Used by
    one thread; ``clips`` and ``nbytes`` may be read by any.
    """

    def __init__(self, path: Path, *, max_mb: int, max_age_days: float) -> None:
        self.path = path
        self.limit(max_mb=max_mb, max_age_days=max_age_days)
        self._index: dict[str, StoredClip] = {}
        self._lock: int | None = None
        self.clips = 0
        self.nbytes = 0

    def limit(self, *, max_mb: int, max_age_days: float) -> None:
        """Keep so much, and for so long, from now on."""
        self._most_bytes = max_mb * _MEGABYTE
        self._max_age_s = max_age_days * _DAY_S

    def open(self) -> list[StoredClip]:
        """Read what is there, remove what an interrupted writing left, and return the clips that were never announced.

        Raises
        ------
        OSError
            The folder cannot be made or read, or another daemon keeps its clips there.
        """
        self.path.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        if self._lock is None:
            self._lock = _locked(self.path / _LOCK)
        self._index.clear()
        unsaid = []
        for folder in self._folders():
            for part in folder.glob(f".*{_PART}"):
                part.unlink()
            for file in sorted(file for suffix in _SUFFIXES for file in folder.glob(f"*{suffix}")):
                clip = self._read(file)
                if clip is None:
                    continue
                if not (self.path / clip.path).is_file():
                    file.unlink()  # its audio was never completed, or was removed
                    continue
                self._index[clip.path] = clip
                if file.name.endswith(_UNSAID):
                    unsaid.append(clip)
        self._count()
        return unsaid

    def close(self) -> None:
        """Leave the folder to another daemon."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def find(self, stream: str, alert_id: str, audio: bytes) -> StoredClip | None:
        """Return the clip of an alert that holds this very audio already: written before a crash, and now once more."""
        digest = hashlib.sha256(audio).hexdigest()
        for clip in self._index.values():
            same = clip.stream == stream and clip.facts["alert_id"] == alert_id and clip.facts["sha256"] == digest
            if same and (self.path / clip.path).is_file():
                return clip
        return None

    def store(self, stream: str, facts: Mapping[str, Any], audio: bytes, at: float, now: float) -> StoredClip:
        """Write a clip: once it bears its name, it is whole and on the disk.

        Parameters
        ----------
        facts
            Of the event, but for the file's own.
        at
            Unix time of the clip, for its name.
        now
            Unix time.

        Raises
        ------
        OSError
            It cannot be written; nothing of it is left.
        """
        path = self._free_path(stream, str(facts["label"]), str(facts["alert_id"]), at)
        file = self.path / path
        whole = {
            **facts,
            "folder": str(self.path.absolute()),
            "path": path,
            "sha256": hashlib.sha256(audio).hexdigest(),
            "bytes": len(audio),
        }
        clip = StoredClip(path, stream, now, whole)
        entry = {"format": _OURS, "stream": stream, "written": now, "data": whole}
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False, indent=1).encode()
        for folder in (file.parent.parent, file.parent):
            folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        named = file.with_suffix(_UNSAID)
        try:
            _write(file.with_name(f".{file.name}{_PART}"), audio)
            _write(file.with_name(f".{named.name}{_PART}"), text)
            file.with_name(f".{named.name}{_PART}").rename(named)
            file.with_name(f".{file.name}{_PART}").rename(file)
            for folder in (file.parent, file.parent.parent, self.path):
                _sync_folder(folder)
        except OSError:
            for left in (file, named, *(file.with_name(f".{name}{_PART}") for name in (file.name, named.name))):
                with contextlib.suppress(OSError):
                    left.unlink()
            raise
        self._index[path] = clip
        self._count()
        return clip

    def announced(self, clip: StoredClip) -> None:
        """Note that the clip's event has been published."""
        file = self.path / clip.path
        with contextlib.suppress(OSError):  # it will be announced once more
            file.with_suffix(_UNSAID).rename(file.with_suffix(_FACTS))

    def too_old(self, now: float, going_on: Collection[str]) -> list[StoredClip]:
        """Return the clips that are older than they may be, but for those of alerts that go on."""
        return [clip for clip in self._removable(going_on) if now - clip.written > self._max_age_s]

    def too_much(self, more_bytes: int, going_on: Collection[str]) -> list[StoredClip] | None:
        """Return the oldest clips that have to go to make room, or None where even that would not do."""
        excess = self.nbytes + more_bytes - self._most_bytes
        chosen = []
        for clip in self._removable(going_on):
            if excess <= 0:
                break
            chosen.append(clip)
            excess -= clip.nbytes
        return chosen if excess <= 0 else None

    def begin_removal(self, clip: StoredClip) -> None:
        """Mark a clip as going; raises OSError where the folder cannot be changed."""
        file = self.path / clip.path
        for suffix in (_UNSAID, _FACTS):
            with contextlib.suppress(FileNotFoundError):
                file.with_suffix(suffix).rename(file.with_suffix(_GOING))

    def remove(self, clip: StoredClip) -> None:
        """Remove a clip, its facts, and the folders that are then empty."""
        file = self.path / clip.path
        file.unlink(missing_ok=True)
        file.with_suffix(_GOING).unlink(missing_ok=True)
        self._index.pop(clip.path, None)
        self._count()
        with contextlib.suppress(OSError):  # not empty
            file.parent.rmdir()
            file.parent.parent.rmdir()

    def _removable(self, going_on: Collection[str]) -> list[StoredClip]:
        closed = (clip for clip in self._index.values() if clip.facts["alert_id"] not in going_on)
        return sorted(closed, key=lambda clip: (clip.written, clip.path))

    def _count(self) -> None:
        self.clips, self.nbytes = len(self._index), sum(clip.nbytes for clip in self._index.values())

    def _folders(self) -> Iterator[Path]:
        """Go through the folders of days: two levels down, and no links."""
        for stream in _subfolders(self.path):
            yield from _subfolders(stream)

    def _read(self, file: Path) -> StoredClip | None:
        """Read the facts of a clip; None where they are not ours or say something impossible."""
        name = next(file.name.removesuffix(suffix) for suffix in _SUFFIXES if file.name.endswith(suffix))
        path = f"{file.parent.parent.name}/{file.parent.name}/{name}{_AUDIO}"
        try:
            entry = json.loads(file.read_bytes())
            facts = entry["data"]
            numbers = [entry["written"], facts["bytes"], facts["first_sample"], facts["end_sample"]]
            words = [entry["stream"], facts["alert_id"], facts["sha256"]]
            sound = entry["format"] == _OURS and facts["path"] == path
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            _log.warning("%s says nothing of a clip that could be understood; it is left alone", file)
            return None
        if not (sound and all(isinstance(n, (int, float)) for n in numbers) and all(isinstance(w, str) for w in words)):
            _log.warning("%s says nothing of a clip that could be understood; it is left alone", file)
            return None
        return StoredClip(path, words[0], float(numbers[0]), facts)

    def _free_path(self, stream: str, label: str, alert_id: str, at: float) -> str:
        moment = time.gmtime(at)
        name = f"{time.strftime('%H%M%S', moment)}-{_safe(label)[:_LONGEST_LABEL]}-{_safe(alert_id)[:_LONGEST_LABEL]}"
        folder = f"{_safe(stream, ':@')}/{time.strftime('%Y-%m-%d', moment)}"
        path, number = f"{folder}/{name}{_AUDIO}", 1
        while path in self._index or (self.path / path).exists():
            number += 1
            path = f"{folder}/{name}-{number}{_AUDIO}"
        return path


def _safe(text: str, also: str = "") -> str:
    """Return text as part of a file name: nothing that is a path or hidden."""
    kept = "".join(c if c in also else _UNSAFE.sub("_", c) for c in text)
    return f"_{kept}" if kept[:1] in {"", ".", "-"} else kept


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE), "wb") as file:  # noqa: PTH123 - the mode
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _locked(path: Path) -> int:
    """Open a file for this process alone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise OSError(errno.EBUSY, "another daemon keeps its clips there", str(path.parent)) from error
    return descriptor


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

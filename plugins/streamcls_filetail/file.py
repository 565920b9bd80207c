"""One followed file: its identity, its audio, and what happened to it since the last look."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING, Final, Literal

from streamcls import RetryableSourceError, SourceError
from streamcls_filetail.mark import Mark
from streamcls_filetail.wav import WavHeader, parse_header

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls import AudioFormat

__all__ = ["FollowedFile", "Look"]

_HEAD_BYTES: Final = 4_096
"""Bytes of audio by which a file is recognised."""
_ADVICE: Final = {
    errno.EACCES: "give the daemon's user the permission to read it",
    errno.EPERM: "give the daemon's user the permission to read it",
    errno.EMFILE: "raise the limit of open files (LimitNOFILE= in the unit)",
}

Look = Literal["waiting", "audio", "truncated", "rewritten"]


class FollowedFile:
    """An open file that grows. Used by one thread.

    Parameters
    ----------
    path
        The file.
    declared
        Format of raw PCM, or None for a WAV file.

    Attributes
    ----------
    taken
        Bytes of audio delivered, a whole number of samples.
    end_time
        Unix time in seconds at which the present end of the audio was captured, as far as a file can tell:
        when it was seen to grow, or, for what stood there when it was opened, its time of modification.

    Raises
    ------
    FileNotFoundError
        There is no such file yet.
    SourceError
        Something else than a regular file stands there.
    RetryableSourceError
        It cannot be opened now, e.g. for want of a permission.
    """

    def __init__(self, path: Path, declared: AudioFormat | None) -> None:
        self.path = path
        self.taken = 0
        self.end_time = 0.0
        self._declared = declared
        self._header: WavHeader | None = WavHeader(declared, 0, None, None) if declared else None
        self._size = 0
        self._changed = -1
        self._audio_end = 0
        self._head = b""
        self._hashed, self._digest = -1, ""
        self._fd = _open(path)
        status = os.fstat(self._fd)
        self.identity = (status.st_dev, status.st_ino)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    @property
    def audio_format(self) -> AudioFormat:
        """Format of the audio; only after a look that found some."""
        if self._header is None:
            raise RuntimeError("the format is known after the first look that returns audio")
        return self._header.audio_format

    @property
    def position(self) -> int:
        """Offset in the file of the next byte of audio."""
        return (self._header.data_offset if self._header else 0) + self.taken

    @property
    def available(self) -> int:
        """Whole samples that can be read, as of the last look."""
        return max(0, self._audio_end - self.position) // self.audio_format.bytes_per_sample

    def look(self) -> Look:
        """See how the file stands: its header is not whole yet, it has audio, or it is not what it was."""
        try:
            status = os.fstat(self._fd)
            if (status.st_size, status.st_mtime_ns) == (self._size, self._changed):
                return "audio" if self._header else "waiting"
            verdict = self._examine(status)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        self._size, self._changed = status.st_size, status.st_mtime_ns
        return verdict

    def restart(self) -> None:
        """Begin at the start of a file that was truncated or rewritten."""
        self.taken = 0
        self._head = b""
        self._hashed = -1
        self._header = WavHeader(self._declared, 0, None, None) if self._declared else None
        self._size, self._changed = 0, -1
        self._audio_end = 0

    def read(self, samples: int) -> bytes:
        """Return up to that many whole samples at the present place, without moving on."""
        size = self.audio_format.bytes_per_sample
        try:
            data = os.pread(self._fd, min(samples, self.available) * size, self.position)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return data[: len(data) // size * size]

    def replaced(self) -> bool:
        """Say whether another file stands under the name now (the old one may still be read)."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return (status.st_dev, status.st_ino) != self.identity

    def mark(self, index: int) -> Mark:
        """Return the present place; ``index`` is the absolute index of the next sample."""
        device, inode = self.identity
        if self._hashed != len(self._head):
            self._hashed, self._digest = len(self._head), hashlib.sha256(self._head).hexdigest()
        return Mark(
            path=str(self.path),
            device=device,
            inode=inode,
            head_bytes=len(self._head),
            head_sha256=self._digest,
            offset=self.taken,
            index=index,
        )

    def why_not(self, mark: Mark, reached: int = 0) -> str:
        """Return why a mark's place is not in this file, or nothing where it is.

        ``reached`` is an absolute index up to which there was audio: what lies between must still be there.
        Device numbers may change when a machine starts; they count only where the head is too short to tell.
        """
        device, inode = self.identity
        if inode != mark.inode or (device != mark.device and mark.head_bytes < _HEAD_BYTES):
            return "replaced by another file"
        seen = max(0, reached - mark.index) * self.audio_format.bytes_per_sample
        if mark.offset + seen > self._audio_end - (self.position - self.taken):
            return "truncated"
        if hashlib.sha256(self._head[: mark.head_bytes]).hexdigest() != mark.head_sha256:
            return "rewritten"
        return "" if mark.offset % self.audio_format.bytes_per_sample == 0 else "rewritten"

    def _examine(self, status: os.stat_result) -> Look:
        size = status.st_size
        if self._header is not None and size < self.position:
            return "truncated"
        header = self._header
        if self._declared is None:
            header = parse_header(self._read_at, str(self.path))
            if self._header is not None and not _same_layout(header, self._header):
                return "rewritten"
        if header is None:
            return "waiting"
        audio_end = header.audio_end(size, self._read_at)
        head = self._read_at(header.data_offset, min(_HEAD_BYTES, max(0, audio_end - header.data_offset)))
        if not head.startswith(self._head) and not self._head.startswith(head):
            return "rewritten"
        first = self._header is None or self._changed < 0
        now = time.time()
        self.end_time = min(status.st_mtime, now) if first else now
        self._header, self._audio_end = header, audio_end
        self._head = max(head, self._head, key=len)
        return "audio"

    def _read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)


def _same_layout(a: WavHeader | None, b: WavHeader) -> bool:
    return a is not None and (a.audio_format, a.data_offset) == (b.audio_format, b.data_offset)


def _open(path: Path) -> int:
    try:
        # Without O_NONBLOCK a named pipe would hang here before it can be refused.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:
        raise SourceError(f"{path}: a part of the path is no folder; correct path") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
    raise SourceError(f"{path}: is {what}; path must name a file (WAV, or raw PCM with its format declared)")


def _unreadable(path: Path, error: OSError) -> RetryableSourceError:
    advice = _ADVICE.get(error.errno or 0, "see to the file or its disk")
    return RetryableSourceError(f"{path}: cannot be read: {error.strerror or error}; {advice}")

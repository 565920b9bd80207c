"""The source ``filetail``: what a growing file holds, as chunks."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar, Final

from streamcls import AudioError, Chunk, EndOfStream, StreamStatus
from streamcls.audio import decode_pcm
from streamcls_filetail.config import Config as FileTailConfig
from streamcls_filetail.file import FollowedFile
from streamcls_filetail.mark import mark_of
from streamcls_filetail.pacing import Pacer

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator

    from pydantic import BaseModel

    from streamcls import AudioFormat, SourceContext
    from streamcls.types import StreamItem
    from streamcls_filetail.mark import Mark

__all__ = ["FileTailSource"]

_log = logging.getLogger(__name__)

_GAP_SAMPLES: Final = 1
"""How far the index jumps where two pieces of audio do not belong together; no file tells how long it was."""
_LOG_EVERY: Final = 100


class FileTailSource:
    """Follows one file as one stream. Used by one thread.

    The absolute index counts samples from the beginning of the audio in the file; it goes on, after a gap of
    one sample, where the file is replaced or truncated. Where the format changes, the stream ends and begins
    anew under the same name.

    Attributes
    ----------
    counters
        ``rotations``, ``truncations`` and ``bad_chunks`` (float samples that are no audio) so far.
    resumes
        Whether its chunks bear marks and it begins at the daemon's.
    """

    name: ClassVar[str] = "filetail"
    Config: ClassVar[type[BaseModel]] = FileTailConfig
    live = False

    def __init__(self, config: FileTailConfig, context: SourceContext) -> None:
        self.counters = {"rotations": 0, "truncations": 0, "bad_chunks": 0}
        self._config = config
        self._stream = context.name
        self._declared = config.format.audio_format() if config.format else None
        self._context = context
        self.resumes = config.start == "resume"
        self._pacer = Pacer() if config.pace == "realtime" else None
        self._file: FollowedFile | None = None
        self._left: Mark | None = None
        self._index = 0
        self._format: AudioFormat | None = None
        self._began = False
        self._placed = False
        self._connecting = False

    def items(self, stop: threading.Event) -> Iterator[StreamItem]:
        """Yield the file's audio until ``stop`` is set, waiting at its end; called again, go on where it was.

        Raises
        ------
        SourceError
            The path names no regular file, or the header is corrupt.
        RetryableSourceError
            The file cannot be opened or read at present.
        """
        self._take_up()
        ending = False
        try:
            while not stop.is_set():
                file = self._open()
                if file is None:
                    yield from self._wait(stop, f"{self._config.path} does not exist yet")
                    continue
                look = file.look()
                if look in {"truncated", "rewritten"}:
                    yield from self._restart(file, look)
                    continue
                if look == "audio":
                    yield from self._place(file)
                    if (yield from self._deliver(file, stop)):
                        ending = False
                        continue
                if ending:
                    yield from self._rotate(file, look)
                    ending = False
                elif file.replaced():
                    ending = True  # what was written before the rename and after the look is still to be read
                elif look == "waiting":
                    yield from self._wait(stop, f"{self._config.path} has no whole WAV header yet")
                else:
                    stop.wait(self._config.poll_s)
        finally:
            self._leave()

    def _take_up(self) -> None:
        """Learn where the daemon wants to go on, before anything was read."""
        if self._began or not self.resumes:
            return
        self._left = mark_of(self._context)
        self._index = self._context.reached.get(self._stream, 0)
        if self._index and self._left is None:
            self._index += _GAP_SAMPLES

    def _open(self) -> FollowedFile | None:
        if self._file is None:
            try:
                self._file = FollowedFile(self._config.path, self._declared)
            except FileNotFoundError:
                return None
            self._placed = False
        return self._file

    def _wait(self, stop: threading.Event, reason: str) -> Iterator[StreamItem]:
        if not self._connecting:
            self._connecting = True
            _log.warning("%s: %s; it is waited for", self._stream, reason)
            yield StreamStatus(self._stream, "connecting", reason)
        stop.wait(self._config.poll_s)

    def _place(self, file: FollowedFile) -> Iterator[StreamItem]:
        """Decide where in a file to begin, once its format is known."""
        if self._placed:
            return
        reason = ""
        if self._left is not None:
            reason = file.why_not(self._left, self._index)
            self._index = max(self._left.index, self._index) + _GAP_SAMPLES if reason else self._left.index
            file.taken = 0 if reason else self._left.offset
            self._left = None
        elif not self._began and self._config.start == "end":
            self._index = file.available
            file.taken = file.available * file.audio_format.bytes_per_sample
        if self._format not in {None, file.audio_format}:
            yield EndOfStream(self._stream)
        self._placed = self._began = True
        self._connecting = False
        self._format = file.audio_format
        if reason:
            text = f"{self._config.path} was {reason} since it was left; beginning at its start"
            _log.warning("%s: %s", self._stream, text)
            yield StreamStatus(self._stream, "gap", text)
        about = {"path": str(file.path), **asdict(self._format)}
        yield StreamStatus(self._stream, "running", f"following {file.path}", about)

    def _deliver(self, file: FollowedFile, stop: threading.Event) -> Generator[StreamItem, None, bool]:
        """Yield what there is, for at most ``poll_s`` without another look; return whether there was any."""
        audio_format = file.audio_format
        length = max(1, round(self._config.chunk_s * audio_format.sample_rate))
        any_yet = False
        look_again = time.monotonic() + self._config.poll_s
        while not stop.is_set():
            waiting = file.available
            data = file.read(length)
            if not data:
                break
            any_yet = True
            n = len(data) // audio_format.bytes_per_sample
            captured_at = file.end_time - waiting / audio_format.sample_rate
            if self._pacer:
                if not self._pacer.wait(self._index, audio_format.sample_rate, stop):
                    break
                captured_at = time.time()
            try:
                samples = decode_pcm(data, audio_format)
            except AudioError as error:
                self._report_bad(file, n, error)
            else:
                samples.flags.writeable = False
                mark = file.mark(self._index).model_dump() if self.resumes else None
                yield Chunk(self._stream, samples, audio_format.sample_rate, self._index, captured_at, mark)
            # Only now is it delivered: whoever stops at the yield gets it again when it is opened again.
            file.taken += len(data)
            self._index += n
            if time.monotonic() >= look_again:
                break
        return any_yet

    def _report_bad(self, file: FollowedFile, n: int, error: AudioError) -> None:
        self.counters["bad_chunks"] += 1
        count = self.counters["bad_chunks"]
        if count % _LOG_EVERY == 1:
            _log.warning(
                "%s: %s: %d samples at byte offset %d dropped, they become a gap (%d such chunks so far): %s",
                self._stream, file.path, n, file.position, count, error,
            )  # fmt: skip

    def _restart(self, file: FollowedFile, what: str) -> Iterator[StreamItem]:
        self.counters["truncations"] += 1
        file.restart()
        yield from self._jump(f"{file.path} was {what}; beginning at its start")

    def _rotate(self, file: FollowedFile, look: str) -> Iterator[StreamItem]:
        self.counters["rotations"] += 1
        file.close()
        self._file = None
        if look == "audio":
            yield from self._jump(
                f"{file.path} was replaced by a new file; the old one was read to its end", logging.INFO
            )

    def _jump(self, reason: str, level: int = logging.WARNING) -> Iterator[StreamItem]:
        self._index += _GAP_SAMPLES
        self._placed = False
        _log.log(level, "%s: %s", self._stream, reason)
        yield StreamStatus(self._stream, "gap", reason)

    def _leave(self) -> None:
        if self._file is None:
            return
        if self._placed:
            self._left = self._file.mark(self._index)
        self._file.close()
        self._file = None

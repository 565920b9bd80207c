"""Files that grow in real time, are truncated, and are replaced by new ones."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from soaking.bank import RATE

if TYPE_CHECKING:
    from pathlib import Path

    from soaking.bank import AudioBank

__all__ = ["GrowingFiles"]

_PIECE_S = 0.5


class GrowingFiles(threading.Thread):
    """Appends to raw files (16 bits, 22050 Hz, mono) as recorders do.

    Parameters
    ----------
    paths
        The files; they are begun anew.
    """

    def __init__(self, paths: list[Path], bank: AudioBank) -> None:
        super().__init__(name="growing files", daemon=True)
        self.paths = paths
        self._bank = bank
        self._halt = threading.Event()
        self._lock = threading.Lock()
        self._written_s = 0.0
        self._files = [path.open("wb", buffering=0) for path in paths]
        self.failure: BaseException | None = None

    @property
    def sent_s(self) -> float:
        """Seconds of audio written so far, over all files."""
        return self._written_s

    def run(self) -> None:
        """Write until halted."""
        length, count, began = round(_PIECE_S * RATE), 0, time.monotonic()
        try:
            while not self._halt.is_set():
                with self._lock:
                    for number, file in enumerate(self._files):
                        file.write(self._bank.mono((number * 40 + count) * length, length))
                        self._written_s += _PIECE_S
                count += 1
                self._halt.wait(max(0.0, began + count * _PIECE_S - time.monotonic()))
        except BaseException as error:
            self.failure = error
            raise
        finally:
            for file in self._files:
                file.close()

    def truncate(self, number: int) -> None:
        """Begin a file anew in its place."""
        with self._lock:
            self._files[number].seek(0)
            self._files[number].truncate()

    def replace(self, number: int) -> None:
        """Put a new file under the name, as a rotation does."""
        with self._lock:
            self._files[number].close()
            fresh = self.paths[number].with_suffix(".new")
            self._files[number] = fresh.open("wb", buffering=0)
            fresh.replace(self.paths[number])

    def halt(self) -> None:
        """End."""
        self._halt.set()
        self.join(5)

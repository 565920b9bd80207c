"""Appends each event, as it is on the wire, as one line of JSON."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from streamcls import ComponentConfig, SubscriberBusyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import FileIO

__all__ = ["JsonlConfig", "JsonlSubscriber"]


class JsonlConfig(ComponentConfig):
    """Settings of the subscriber ``jsonl``."""

    path: str = Field(default="-", min_length=1, description="File to append to; - is standard output.")
    sync: bool = Field(
        default=False, description="Force each line to the disk (slow); else the operating system does in its time."
    )


class JsonlSubscriber:
    """Appends lines. A file that log rotation has moved away is opened anew under its name."""

    name: ClassVar[str] = "jsonl"
    Config = JsonlConfig

    def __init__(self, config: JsonlConfig) -> None:
        self._config = config
        self._path = _expanded(config.path)
        self._file: FileIO | None = None

    @staticmethod
    def writes(config: JsonlConfig) -> list[str]:
        """Return the file that nobody else should write."""
        return [] if config.path == "-" else [str(_expanded(config.path))]

    @staticmethod
    def preflight(config: JsonlConfig) -> list[str]:
        """Check that the folder is there and can be written."""
        if config.path == "-":
            return []
        path = _expanded(config.path)
        if path.is_dir():
            return [f"path {config.path!r} is a folder; name a file in it"]
        folder = path.resolve().parent
        if not folder.is_dir():
            return [f"path {config.path!r}: the folder {folder} does not exist; create it"]
        return [] if os.access(folder, os.W_OK) else [f"path {config.path!r}: no permission to write in {folder}"]

    def handle(self, event: Mapping[str, Any]) -> None:
        """Write one line, whole or not at all as far as a program that is killed is concerned.

        Raises
        ------
        SubscriberBusyError
            The file cannot be written now.
        """
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n"
        if self._config.path == "-":
            sys.stdout.write(line)
            sys.stdout.flush()
            return
        try:
            self._append(line.encode())
        except OSError as error:
            self.close()
            raise SubscriberBusyError(f"{self._path}: cannot be written: {error.strerror}") from error

    def _append(self, line: bytes) -> None:
        file = self._opened()
        before = os.fstat(file.fileno()).st_size
        try:
            written = file.write(line)
            if written != len(line):  # an unbuffered write is cut short where the disk fills up
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - the handler below mends both
            if self._config.sync:
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), before)  # no half line stays for the next one to be glued to
            raise

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _opened(self) -> FileIO:
        if self._file is not None:
            try:
                there = self._path.stat()
            except FileNotFoundError:
                self.close()
            else:
                mine = os.fstat(self._file.fileno())
                if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
                    self.close()
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)
        return self._file


def _expanded(path: str) -> Path:
    """Replace a leading ``~``; of a user that nobody knows it stays, and the folder will be called missing."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises there

"""A few bytes that two processes share: which event a subscriber handles, and since when."""

from __future__ import annotations

import mmap
import os
import struct
import time
from typing import Final, Self

__all__ = ["Slate"]

_HEAD: Final = struct.Struct("=dI")
_SIZE: Final = 4096
"""Bytes; an event's id has far less."""


class Slate:
    """Written by the process that handles, read by the one that watches it, also when the former is dead or stopped.

    The times are of the monotonic clock, which is the machine's and so the same in both.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _SIZE)

    @classmethod
    def make(cls) -> Self:
        """Make an empty one; its descriptor is to be inherited."""
        descriptor = os.memfd_create("streamcls-slate", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, _SIZE)
            return cls(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Let go of it."""
        self._memory.close()
        os.close(self.descriptor)

    def begin(self, identifier: str) -> None:
        """Note that an event is handled from now on."""
        text = identifier.encode()[: _SIZE - _HEAD.size]
        self._memory[_HEAD.size : _HEAD.size + len(text)] = text
        _HEAD.pack_into(self._memory, 0, time.monotonic(), len(text))

    def end(self) -> None:
        """Note that it is done with."""
        _HEAD.pack_into(self._memory, 0, 0.0, 0)

    def read(self) -> tuple[str, float]:
        """Return the id of the event at hand and since how many seconds it is; empty and 0 where there is none."""
        since, length = _HEAD.unpack_from(self._memory, 0)
        if not since or length > _SIZE - _HEAD.size:
            return "", 0.0
        text = bytes(self._memory[_HEAD.size : _HEAD.size + length]).decode(errors="replace")
        return text, max(0.0, time.monotonic() - since)

"""The file that keeps acknowledgements and mutes over restarts."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any, Final

from streamcls.service.people.entries import Acknowledgement, Mute

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["read", "write"]

_log = logging.getLogger("streamcls.people")

_VERSION: Final = 1
_LARGEST: Final = 64 << 20
"""Bytes; far more than all that may be kept."""


def read(path: Path) -> tuple[list[Mute], list[Acknowledgement]]:
    """Return what is kept. A file that cannot be understood is set aside with a warning, and nothing is kept."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST} bytes")  # noqa: TRY301 - handled like all else that is wrong with it
        kept = json.loads(path.read_bytes())
        if kept["version"] != _VERSION:
            raise ValueError(f"its version is {kept['version']!r}, expected {_VERSION}")  # noqa: TRY301 - as above
        return [Mute.of(item) for item in kept["mutes"]], [Acknowledgement.of(item) for item in kept["acknowledged"]]
    except FileNotFoundError:
        return [], []
    except OSError as error:
        _log.warning("%s cannot be read: %s; no acknowledgement and no mute is in force", path, error.strerror)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        aside = path.with_name(f"{path.name}.corrupt-{time.time_ns() // 1_000_000}")
        with contextlib.suppress(OSError):
            path.rename(aside)
        _log.warning(
            "%s is damaged (%s: %s) and was set aside as %s; no acknowledgement and no mute is in force",
            path,
            type(error).__name__,
            error,
            aside.name,
        )
    return [], []


def write(path: Path, mutes: Iterable[Mute], acknowledged: Iterable[Acknowledgement]) -> None:
    """Replace what is kept, whole or not at all, and force it to the disk; raises OSError."""
    kept: dict[str, Any] = {
        "version": _VERSION,
        "mutes": [mute.kept() for mute in mutes],
        "acknowledged": [entry.kept() for entry in acknowledged],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(kept, file, ensure_ascii=False, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the name as well
    finally:
        os.close(folder)

"""Folders that the daemon writes to: whether it may, and how much room there is."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING, Final

from streamcls.service.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["room_finding", "storage_findings"]

_MIB: Final = 1 << 20
_NO_NAMELESS: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
"""What file systems and kernels answer that know no files without a name (open(2): O_TMPFILE)."""
_FULL: Final = 64 * _MIB
"""Bytes; with less the journal soon cannot be written."""
_NEARLY_FULL: Final = 0.05
"""Of the file system."""


def storage_findings(folders: Mapping[str, Path], wanted_mb: Mapping[str, int]) -> Iterator[Finding]:
    """Look at each folder; one that is missing will be made, so the nearest one above it is looked at.

    Parameters
    ----------
    folders
        By the key that names them.
    wanted_mb
        Megabytes that may be kept in some of them, by the same keys.
    """
    for where, folder in folders.items():
        there = next((place for place in (folder, *folder.parents) if _exists(place)), None)
        label = f"{where}: {folder}"
        if there is None or not there.is_dir():
            yield Finding("storage", "problem", f"{label}: {there} is a file, expected a folder", "name another folder")
            continue
        if not os.access(there, os.W_OK | os.X_OK):
            reason = "it is mounted read-only" if _read_only(there) else f"user {os.geteuid()} has no permission"
            hint = (
                f"remount it, or name another folder in {where}"
                if _read_only(there)
                else f"chown it to the daemon's user, run this as that user, or name another folder in {where}"
            )
            yield Finding("storage", "problem", f"{label}: {there} cannot be written: {reason}", hint)
            continue
        refusal = _refusal(there)
        if refusal is not None:
            yield Finding(
                "storage",
                "problem",
                f"{label}: {there} cannot be written: {refusal.strerror}",
                f"see to the disk (its last words may stand in dmesg), or name another folder in {where}",
            )
            continue
        room = shutil.disk_usage(there)
        yield room_finding(label, room.free, room.total, wanted_mb.get(where, 0) * _MIB - _used(folder))


def room_finding(label: str, free: int, total: int, wanted: int = 0) -> Finding:
    """Judge the room on a disk.

    Parameters
    ----------
    free, total
        Bytes of the file system.
    wanted
        Bytes that may still be written there.
    """
    what = f"{label}: {free // _MIB} MiB free of {total // _MIB} MiB"
    hint = "make room, or lower [journal] max_mb and [evidence] max_mb, or name a folder on another disk"
    if not total:
        return Finding("storage", "problem", f"{label}: that is no disk, and keeps no files", "name a folder on a disk")
    if free < _FULL:
        return Finding("storage", "problem", f"{what}: the disk is full", hint)
    if free < wanted:
        return Finding("storage", "warning", f"{what}, and up to {wanted // _MIB} MiB more may be kept there", hint)
    if free < total * _NEARLY_FULL:
        return Finding("storage", "warning", f"{what}: the disk is nearly full", hint)
    return Finding("storage", "ok", what)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder above may not be entered
        return False


def _refusal(folder: Path) -> OSError | None:
    """Return what the system says to a file that is made there, without a name, so that nothing is left behind.

    A disk that has failed is read-only in fact and not in name: permission and mount say nothing of it.
    """
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return None if error.errno in _NO_NAMELESS else error
    return None


def _read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _used(folder: Path) -> int:
    """Return the bytes of the files in a folder, those in folders below included as far as they can be seen."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 - there may be a hundred thousand
            except OSError:
                continue
    return total

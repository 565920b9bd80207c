"""Where a daemon's control socket is: for the daemon that makes it, and for the command that looks for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from streamcls.errors import StreamclsError

__all__ = ["ControlError", "control_path", "places", "tidy"]

_SOCKET: Final = "control.sock"
_POINTER: Final = "control.path"
_LONGEST: Final = 107
"""Bytes of a Unix socket's path, without the closing zero (unix(7): sun_path)."""
_SYSTEM: Final = Path("/run/streamcls") / _SOCKET
"""Of the service that the package installs."""
_DIGITS: Final = 12
_TMP: Final = Path("/tmp")  # noqa: S108 - what is made in it is this user's alone, and is checked to be


class ControlError(StreamclsError):
    """The control socket cannot be made, or a request over it failed."""


def control_path(state_dir: Path) -> Path:
    """Return where a daemon on ``state_dir`` makes its socket, and leave a pointer to it there where it is elsewhere.

    That is ``$RUNTIME_DIRECTORY``, which systemd gives, else the state folder; where that path is too long for a socket, or the
    state folder cannot be written, a folder of its own under ``$XDG_RUNTIME_DIR`` or ``/tmp``.

    Raises
    ------
    ControlError
        No place is short enough, or somebody else's folder stands at it.
    OSError
        That folder cannot be made.
    """
    state_dir = state_dir.absolute()
    given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    wanted = Path(given) / _SOCKET if given else state_dir / _SOCKET
    path = wanted if _fits(wanted) else _short(state_dir)
    try:
        _point(state_dir, path)
    except OSError:  # a disk that is read-only keeps nobody from asking why: it is found without a pointer
        return path if given else _short(state_dir)
    return path


def places(state_dir: Path, *, only: bool = False) -> list[Path]:
    """Return where the socket of a daemon on ``state_dir`` may be, the likeliest first.

    Parameters
    ----------
    only
        The daemon on this folder is meant, and not just any: the places of the environment and the system are left out.
    """
    state_dir = state_dir.absolute()
    found = []
    given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if given and not only:
        found.append(Path(given) / _SOCKET)
    try:
        pointed = (state_dir / _POINTER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        pointed = ""
    if pointed:
        found.append(Path(pointed))
    found.append(state_dir / _SOCKET)
    found += _private_sockets(state_dir)
    if not only:
        found.append(_SYSTEM)
    return list(dict.fromkeys(found))


def tidy(state_dir: Path, path: Path) -> None:
    """Remove what :func:`control_path` made besides the socket, once the daemon has ended."""
    state_dir = state_dir.absolute()
    with contextlib.suppress(OSError):
        (state_dir / _POINTER).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        if path.parent.name == _private_name(state_dir):
            path.parent.rmdir()


def _point(state_dir: Path, path: Path) -> None:
    state_dir.mkdir(parents=True, exist_ok=True)
    pointer = state_dir / _POINTER
    if path == state_dir / _SOCKET:
        pointer.unlink(missing_ok=True)
    else:
        pointer.write_text(f"{path}\n", encoding="utf-8")


def _private_name(state_dir: Path, user: int | None = None) -> str:
    return f"streamcls-{os.geteuid() if user is None else user}-{hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:_DIGITS]}"


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= _LONGEST


def _base() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or _TMP)


def _private_sockets(state_dir: Path) -> list[Path]:
    """Return the sockets in folders such as :func:`_short` makes: this user's, and the one's who has the state folder."""
    users = {os.geteuid()}
    with contextlib.suppress(OSError):
        users.add(state_dir.stat().st_uid)
    places = ((base / _private_name(state_dir, user), user) for base in (_base(), _TMP) for user in sorted(users))
    return [folder / _SOCKET for folder, user in places if _is_private(folder, user)]


def _is_private(folder: Path, user: int) -> bool:
    """Whether it is a folder of this user's which nobody else may enter."""
    try:
        facts = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == user and not facts.st_mode & 0o077


def _short(state_dir: Path) -> Path:
    """Return a path in a folder that only this user may enter, the same at each start."""
    folder = _base() / _private_name(state_dir)
    path = folder / _SOCKET
    if not _fits(path):
        raise ControlError(
            f"{path}: too long for a socket ({_LONGEST} bytes); set XDG_RUNTIME_DIR or [daemon] state_dir to a shorter path"
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(folder, os.geteuid()):
        raise ControlError(f"{folder}: it is somebody else's or others may enter it; remove it, or set XDG_RUNTIME_DIR")
    return path

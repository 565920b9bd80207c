"""Asking a running daemon over its control socket."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from streamcls.service.control_path import ControlError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["ControlError", "NoDaemonError", "ask_any", "ask_daemon"]

_TIMEOUT_S: Final = 10.0
_LONGEST_ANSWER: Final = 64 << 20
"""Bytes; a daemon with ten thousand streams says less."""
_PIECE: Final = 1 << 16
_PAUSE_S: Final = 0.02


class NoDaemonError(ControlError):
    """No daemon answers there."""


def ask_daemon(path: Path, op: str, *, timeout_s: float = _TIMEOUT_S, **members: Any) -> dict[str, Any]:
    """Ask the daemon whose control socket is at ``path``, and return the result.

    Parameters
    ----------
    op
        ``ping``, ``status``, ``stacks`` …
    timeout_s
        For the whole answer.
    members
        What the operation takes, JSON values.

    Raises
    ------
    NoDaemonError
        There is no socket, or nobody listens at it.
    ControlError
        The daemon refused, does not answer in time, or does not let this user ask.
    """
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            _connect(connection, path, deadline)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise NoDaemonError(f"no daemon answers at {path}") from error
        except PermissionError as error:
            raise ControlError(f"{path}: no permission; ask as the daemon's user or as root") from error
        except TimeoutError as error:
            raise ControlError(f"the daemon at {path} lets nobody in; its log may say why") from error
        except OSError as error:
            raise ControlError(f"{path}: {error.strerror or error}") from error
        try:
            connection.sendall(json.dumps({"op": op, **members}).encode() + b"\n")
            answer = _line(connection, deadline)
        except TimeoutError as error:
            raise ControlError(
                f"the daemon at {path} does not answer within {timeout_s:g} s; its log may say why"
            ) from error
        except OSError as error:
            raise ControlError(f"the daemon at {path} hung up: {error.strerror or error}") from error
    try:
        facts = json.loads(answer)
        if facts["ok"]:
            return dict(facts["result"])
        reason = str(facts["error"])
    except (ValueError, KeyError, TypeError) as error:
        raise ControlError(f"what answers at {path} is no streamcls daemon of this version") from error
    raise ControlError(reason)


def ask_any(paths: Sequence[Path], op: str, *, timeout_s: float = _TIMEOUT_S, **members: Any) -> dict[str, Any]:
    """Ask the first of several daemons that runs.

    Raises
    ------
    NoDaemonError
        None does; it says where was looked.
    ControlError
        See :func:`ask_daemon`.
    """
    for path in paths:
        try:
            return ask_daemon(path, op, timeout_s=timeout_s, **members)
        except NoDaemonError:
            continue
    looked = ", ".join(map(str, paths))
    raise NoDaemonError(
        f"no daemon runs here (looked at {looked}); name its configuration, or its folder with --state-dir, "
        "or its socket with --socket"
    )


def _connect(connection: socket.socket, path: Path, deadline: float) -> None:
    """Connect, and wait where too many others do: a socket with a time limit is not let wait by the system."""
    while True:
        try:
            connection.connect(str(path))
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError from None
            time.sleep(_PAUSE_S)


def _line(connection: socket.socket, deadline: float) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(_PIECE)
        if not piece:
            break
        received += piece
        if len(received) > _LONGEST_ANSWER:
            raise ControlError(f"the answer is longer than {_LONGEST_ANSWER} bytes")
    return bytes(received)

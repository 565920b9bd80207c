"""The control socket: what commands ask a running daemon, as lines of JSON over a Unix socket.

A request is one line, ``{"op": "status"}``, with whatever members the operation takes; the answer is one line,
``{"ok": true, "result": {…}}`` or ``{"ok": false, "error": "…"}``. Only the daemon's own user, and root, may connect.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import selectors
import socket
import stat
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamcls.errors import StreamclsError
from streamcls.service.control_path import ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["ControlBusyError", "ControlError", "ControlServer", "Operation"]

_log = logging.getLogger("streamcls.control")

Operation: TypeAlias = "Callable[[Mapping[str, Any]], Mapping[str, Any]]"
"""Takes a request, returns the result; what it raises is told to whoever asked. Called in the server's thread, one at a time."""

_MODE: Final = 0o600
_BACKLOG: Final = 128
_MOST_CLIENTS: Final = 16
_LONGEST_REQUEST: Final = 64 << 10
"""Bytes of a request."""
_PIECE: Final = 16 << 10
_PID_BYTES: Final = 32
_PATIENCE_S: Final = 5.0
"""How long a client may take for a request, and for taking the answer."""
_LOOK_S: Final = 0.2
_PAUSE_S: Final = 0.1
"""After a client that could not be let in."""
_JOIN_S: Final = 1.0


class ControlBusyError(ControlError):
    """Another daemon runs on the same socket."""


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    deadline: float
    received: bytearray = field(default_factory=bytearray)
    answer: memoryview = field(default_factory=lambda: memoryview(b""))


class ControlServer:
    """Answers requests, in one thread, until closed.

    Every client has five seconds for its request and five for taking the answer; there are at most sixteen at a time, and the one
    that has kept the server waiting longest makes room for another. So neither a slow client nor one that sends without end
    keeps anybody from being answered.

    Parameters
    ----------
    path
        Of the socket, see :func:`~streamcls.service.control_path.control_path`.
    operations
        By the name that a request has as ``op``.
    """

    def __init__(self, path: Path, operations: Mapping[str, Operation], *, patience_s: float = _PATIENCE_S) -> None:
        self.path = path
        self._operations = dict(operations)
        self._patience_s = patience_s
        self._halt = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._lock_path = path.with_name(path.name + ".lock")
        self._lock: int | None = None
        self._owns = False
        self._refuses = False
        self._clients: dict[int, _Client] = {}
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Make the socket, in place of one that a daemon left behind, and answer.

        Raises
        ------
        ControlBusyError
            Another daemon has it.
        ControlError
            Something else stands there, or it cannot be made.
        """
        try:
            self._take_lock()
            self._bind()
        except OSError as error:
            self.close()
            raise ControlError(f"the control socket {self.path} cannot be made: {error.strerror or error}") from error
        except ControlError:
            self.close()
            raise
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it answers."""
        return self._thread.is_alive()

    def close(self) -> bool:
        """Stop answering and remove the socket; return False where the thread did not end in time. May be called twice."""
        self._halt.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with contextlib.suppress(OSError):
                self.path.unlink()
        if self._lock is not None:
            if self._owns:
                with contextlib.suppress(OSError):
                    self._lock_path.unlink()
            os.close(self._lock)
            self._lock = None
        return not self._thread.is_alive()

    def _take_lock(self) -> None:
        """Lock a file beside the socket: whoever has it is the one daemon here, and what stands there is stale."""
        while not self._owns:
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.read(self._lock, _PID_BYTES).decode("ascii", "replace").strip() or "unknown"
                raise ControlBusyError(
                    f"another daemon (process {pid}) has the control socket {self.path}; "
                    "stop it, or give this one a [daemon] state_dir of its own"
                ) from None
            self._owns = self._is_the_file(self._lock)
            if not self._owns:  # its owner ended meanwhile, and removed it
                os.close(self._lock)
                self._lock = None
        if self._lock is not None:
            with contextlib.suppress(OSError):  # of a full disk: the lock is what counts, the number is for people
                os.ftruncate(self._lock, 0)
                os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _is_the_file(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._lock_path.stat())
        except FileNotFoundError:
            return False

    def _bind(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise ControlError(f"{self.path} is no socket; move it away, the daemon wants to make its own there")
            self.path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(listener.fileno(), _MODE)  # before it has a name: Linux gives the file the mode of the socket
            listener.bind(str(self.path))
            self._listener = listener
            self.path.chmod(_MODE)
            listener.listen(_BACKLOG)
            listener.settimeout(0)
        except OSError:
            listener.close()
            raise
        self._selector.register(listener, selectors.EVENT_READ)

    def _run(self) -> None:
        try:
            while not self._halt.is_set():
                for key, _ in self._selector.select(_LOOK_S):
                    client = self._clients.get(key.fd)
                    if client is None:
                        self._accept()
                    else:
                        self._attend(client)
                now = time.monotonic()
                for client in [client for client in self._clients.values() if client.deadline <= now]:
                    self._drop(client)
        except Exception:  # noqa: BLE001 - the daemon goes on without it
            _log.critical("the control socket answers no longer", exc_info=True)
        finally:
            for client in list(self._clients.values()):
                self._drop(client)
            self._selector.close()

    def _accept(self) -> None:
        listener = self._listener
        if listener is None:
            return
        try:
            connection, _ = listener.accept()
        except OSError as error:  # gone again, or no descriptor is free
            if not self._refuses:
                _log.error("nobody can ask now: the control socket lets nobody in: %s", error.strerror or error)
            self._refuses = True
            self._halt.wait(_PAUSE_S)
            return
        self._refuses = False
        if len(self._clients) >= _MOST_CLIENTS:
            self._drop(min(self._clients.values(), key=lambda client: client.deadline))
        connection.settimeout(0)
        client = _Client(connection, time.monotonic() + self._patience_s)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ)

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.connection.fileno(), None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(client.connection)
        client.connection.close()

    def _attend(self, client: _Client) -> None:
        try:
            if client.answer:
                self._send(client)
            elif not self._receive(client):
                self._drop(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _receive(self, client: _Client) -> bool:
        """Take what came; False where the client has gone."""
        piece = client.connection.recv(_PIECE)
        client.received += piece
        line, newline, rest = client.received.partition(b"\n")
        if newline:
            client.received = bytearray(rest)
            self._reply(client, self._answer(bytes(line)))
        elif len(client.received) > _LONGEST_REQUEST:
            client.received.clear()
            self._reply(client, _refusal(f"the request is longer than {_LONGEST_REQUEST} bytes"))
        return bool(piece) or bool(client.answer)

    def _reply(self, client: _Client, answer: bytes) -> None:
        client.answer = memoryview(answer)
        client.deadline = time.monotonic() + self._patience_s
        self._selector.modify(client.connection, selectors.EVENT_WRITE)
        self._send(client)

    def _send(self, client: _Client) -> None:
        with contextlib.suppress(BlockingIOError):
            client.answer = client.answer[client.connection.send(client.answer) :]
        if not client.answer:  # one request a connection: whoever has more to ask comes again
            self._drop(client)

    def _answer(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _refusal("the request is no JSON")
        if not isinstance(request, dict) or not isinstance(request.get("op"), str):
            return _refusal('a request is an object with "op"')
        name = request["op"]
        operation = self._operations.get(name)
        if operation is None:
            return _refusal(f"unknown op {name[:80]!r} (known: {', '.join(sorted(self._operations))})")
        try:
            text = json.dumps({"ok": True, "result": operation(request)}, ensure_ascii=False, allow_nan=False)
            return text.encode("utf-8", "replace") + b"\n"
        except StreamclsError as error:
            return _refusal(str(error))
        except Exception as error:  # noqa: BLE001 - whoever asked is told, and the others are answered
            _log.exception("the request %r failed", name)
            return _refusal(f"{name} raised {type(error).__name__}: {error}")


def _refusal(reason: str) -> bytes:
    return json.dumps({"ok": False, "error": reason}).encode() + b"\n"

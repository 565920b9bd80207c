"""The authenticator: the one place that decides which connections are let in, and which key a message comes from."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final

import zmq

from streamcls.bus import zap
from streamcls.bus.authorised import folder_state, load_authorised
from streamcls.bus.keys import load_server
from streamcls.bus.permissions import KINDS, NOBODY, Principal
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from streamcls.bus.keys import ServerKeys

__all__ = ["SOCKET_DOMAINS", "Security"]

_log = logging.getLogger("streamcls.bus.auth")

SOCKET_DOMAINS: Final = ("publish", "replay", "ingest")
"""Domains that a socket may have; ``control`` is a right, not a socket."""
_KEY_LENGTH: Final = 40
_QUIET_S: Final = 10.0
"""Shortest time between two log lines about refused connections."""
_STOP_S: Final = 2.0


class Security:
    """Loads the keys, answers ZeroMQ's authentication requests in a thread of its own, and watches the folder of keys.

    One for each ZeroMQ context: only sockets of ``context`` are protected by it. Every member may be used by any thread. A socket made
    with :meth:`secure_server` while no authenticator runs lets nobody in.

    Parameters
    ----------
    keys
        The folder made by ``streamcls keys init``.
    context
        The context of the sockets to protect; None: one of its own, which ends with it.
    kinds
        All kinds of events that may be published; see :meth:`Principal.topics`.
    watch_s
        Seconds between two looks at the folder.
    handshake_s
        Seconds after which a connection that was not let in is closed.

    Raises
    ------
    BusError
        The daemon's own keys are missing, damaged, or readable by others; or (from :meth:`start`) the context has an authenticator.
    """

    def __init__(
        self,
        keys: Path,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        *,
        kinds: Collection[str] = KINDS,
        watch_s: float = 2.0,
        handshake_s: float = 5.0,
    ) -> None:
        self._server: ServerKeys = load_server(keys)
        self.context = context or zmq.Context()
        self._owns_context = context is None
        self._folder = keys
        self._kinds = tuple(kinds)
        self._watch_s = watch_s
        self._handshake_s = handshake_s
        self._lock = threading.Lock()
        self._reloading = threading.Lock()
        self._state: frozenset[tuple[str, int, int, int]] = frozenset()
        self._principals: dict[str, Principal] = {}
        self._shut_out: dict[str, Principal] = {}
        self._complaints: dict[str, str] = {}
        self._callbacks: list[Callable[[frozenset[str]], None]] = []
        self._connections = 0
        self._refused = 0
        self._refused_unsaid = 0
        self._refusal_at = -_QUIET_S
        self._socket: zmq.Socket[bytes] | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="bus-auth", daemon=True)
        self._load()

    @property
    def server_key(self) -> str:
        """The daemon's public key, 40 characters of Z85: clients have to know it."""
        return self._server.public

    @property
    def counters(self) -> dict[str, int]:
        """Connections let in and refused since the start, and keys known now."""
        return {"admitted": self._connections, "refused": self._refused, "keys": len(self._principals)}

    @property
    def alive(self) -> bool:
        """Whether it answers; where it has failed, nobody is let in any more."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to answer. Call it before any protected socket is bound."""
        socket = self.context.socket(zmq.ROUTER)
        socket.linger = 0
        try:
            socket.bind(zap.ENDPOINT)
        except zmq.ZMQError as error:
            socket.close()
            if error.errno == zmq.EADDRINUSE:
                raise BusError(
                    "this ZeroMQ context has an authenticator already, and ZeroMQ asks one only; use the one that runs"
                ) from error
            raise BusError(f"the authenticator cannot be bound: {error.strerror}") from error
        self._socket = socket
        self._thread.start()

    def close(self) -> None:
        """Stop; from here on nobody is let in. Close the protected sockets before."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake_write, b"\0")
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
        if self._thread.is_alive():
            _log.error("the authenticator did not stop within %.1f s", _STOP_S)
            return
        os.close(self._wake_read)
        os.close(self._wake_write)
        if self._owns_context:
            # In a thread, since it waits for whoever has left a socket open.
            ending = threading.Thread(target=self.context.term, name="bus-auth-end", daemon=True)
            ending.start()
            ending.join(_STOP_S)

    def secure_server(self, socket: zmq.Socket[bytes], domain: str) -> None:
        """Make a socket admit only keys that are good for a domain of :data:`SOCKET_DOMAINS`. Call it before the socket is bound."""
        if domain not in SOCKET_DOMAINS:
            raise BusError(f"{domain!r} is no domain of a socket, expected one of {', '.join(SOCKET_DOMAINS)}")
        socket.curve_publickey = self._server.public.encode()
        socket.curve_secretkey = self._server.secret.encode()
        socket.curve_server = True
        socket.zap_domain = domain.encode()
        socket.handshake_ivl = round(self._handshake_s * 1000)
        # Without it, ZeroMQ lets everybody in where no authenticator answers.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def connection_of(self, frame: zmq.Frame) -> str:
        """Return what names the connection a message came over, never used twice; empty where it is not an authenticated one."""
        try:
            user = frame.get("User-Id")
        except zmq.ZMQError:
            return ""
        return user if isinstance(user, str) else bytes(user).decode()

    def principal_of(self, frame: zmq.Frame, domain: str = "") -> Principal:
        """Return who sent a message as the keys are now, or NOBODY where its key is not known (any more).

        Parameters
        ----------
        frame
            A frame received with ``copy=False``.
        domain
            Where it is given, a key that is not good for it is nobody's.
        """
        principal = self._principals.get(_key_of(self.connection_of(frame)), NOBODY)
        return principal if not domain or domain in principal.domains else NOBODY

    def permits(self, frame: zmq.Frame, domain: str, stream: str) -> bool:
        """Say whether a message's sender may use a domain for a stream."""
        return self.principal_of(frame, domain).allows_stream(stream)

    def topics_of(self, connection: str) -> frozenset[bytes]:
        """Return the beginnings of topics that a connection may subscribe to."""
        principal = self._principals.get(_key_of(connection), NOBODY)
        return principal.topics(self._kinds) if "publish" in principal.domains else frozenset()

    def on_change(self, callback: Callable[[frozenset[str]], None]) -> None:
        """Have a function called, in the thread that noticed, with the keys that lost something, or whose permission changed.

        Their connections stay until their sockets are closed: whoever owns one closes and binds it anew.
        """
        with self._lock:
            self._callbacks.append(callback)

    def shut_out(self, connection: str, reason: str) -> None:
        """Admit a connection's key no more, until its file changes or the daemon is started anew."""
        key = _key_of(connection)
        with self._lock:
            principal = self._principals.get(key)
            if principal is not None:
                self._shut_out[key] = principal
                self._principals = {known: value for known, value in self._principals.items() if known != key}
        if principal is not None:
            _log.error("client %s is shut out until its key file changes: %s", principal.name, reason)
            self._tell(frozenset([key]))

    def reload(self) -> frozenset[str]:
        """Read the folder again; return, after the callbacks have been called, the keys that were removed or changed."""
        with self._reloading:
            changed = self._load()
        if changed:
            self._tell(changed)
        return changed

    def _load(self) -> frozenset[str]:
        self._state = folder_state(
            self._folder
        )  # before it is read: what changes meanwhile is noticed at the next look
        found, problems = load_authorised(self._folder)
        for name, problem in problems.items():
            if self._complaints.get(name) != problem:
                _log.error("client %s is not admitted: %s", name, problem)
        self._complaints = problems
        with self._lock:
            before = self._principals
            self._shut_out = {key: who for key, who in self._shut_out.items() if found.get(key) == who}
            self._principals = {key: who for key, who in found.items() if key not in self._shut_out}
            gone = frozenset(key for key, who in before.items() if self._principals.get(key) != who)
            added = sorted(who.name for key, who in self._principals.items() if key not in before)
        if added:
            _log.info("clients admitted from now on: %s", ", ".join(added))
        if gone:
            _log.warning("clients removed or changed: %s", ", ".join(sorted(before[key].name for key in gone)))
        return gone

    def _tell(self, keys: frozenset[str]) -> None:
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            try:
                callback(keys)
            except Exception:  # noqa: BLE001 - whoever listens, revocation and the authenticator go on
                _log.exception("somebody could not be told of changed keys")

    def _run(self) -> None:
        socket = self._socket
        assert socket is not None  # noqa: S101 - start() made it
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(self._wake_read, zmq.POLLIN)
        look = time.monotonic() + self._watch_s
        try:
            while not self._closed:
                ready = dict(poller.poll(max(0, round((look - time.monotonic()) * 1000))))
                if socket in ready:
                    self._answer(socket)
                if time.monotonic() >= look:
                    self._look()
                    look = time.monotonic() + self._watch_s
        except zmq.ContextTerminated:
            pass
        except BaseException:
            _log.critical("the authenticator stopped; nobody is let in any more", exc_info=True)
            raise
        finally:
            socket.close()

    def _answer(self, socket: zmq.Socket[bytes]) -> None:
        request = zap.parse_request(socket.recv_multipart())
        if request is None:
            _log.error("a malformed authentication request was dropped")
            return
        principal = self._principals.get(request.key)
        if principal is None or request.domain not in principal.domains or request.domain not in SOCKET_DOMAINS:
            self._refused += 1
            self._complain(request, principal)
            answer = zap.refused(request)
        else:
            self._connections += 1
            answer = zap.admitted(request, f"{request.key} {self._connections:x}")
        with contextlib.suppress(zmq.Again):
            socket.send_multipart(answer, zmq.NOBLOCK)

    def _complain(self, request: zap.ZapRequest, principal: Principal | None) -> None:
        """Write a line about a refused connection, but not for each one of a storm."""
        now = time.monotonic()
        if now - self._refusal_at < _QUIET_S:
            self._refused_unsaid += 1
            return
        who = f"the key {request.key or 'of another mechanism'}" if principal is None else f"client {principal.name}"
        why = "is not known" if principal is None else f"has no permission for {request.domain!r}"
        more = f" ({self._refused_unsaid} more since the last such line)" if self._refused_unsaid else ""
        _log.warning("refused a connection from %s to %s: %s %s%s", request.address, request.domain, who, why, more)
        self._refusal_at, self._refused_unsaid = now, 0

    def _look(self) -> None:
        """Read the folder again where anything in it changed."""
        if folder_state(self._folder) != self._state:
            self.reload()


def _key_of(connection: str) -> str:
    return connection[:_KEY_LENGTH]

"""Answers for the past: what is open now, and everything since a place in the journal. ``docs/wire-format.md`` has the protocol."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import zmq

from streamcls.bus.binding import bind_all, give_up_on_the_dead
from streamcls.bus.permissions import EVERYBODY
from streamcls.bus.reader import JournalReader
from streamcls.bus.replay_request import LARGEST_REQUEST, Request, RequestError, parse_request
from streamcls.bus.store import is_damage
from streamcls.bus.wire import to_json
from streamcls.errors import BusError, StreamclsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamcls.bus.auth import Security
    from streamcls.bus.permissions import Principal
    from streamcls.bus.publisher import Publisher
    from streamcls.bus.reader import Page

__all__ = ["IN_PROCESS_REPLAY", "Handler", "ReplayServer"]

_log = logging.getLogger("streamcls.replay")

IN_PROCESS_REPLAY: Final = "inproc://streamcls-replay"
Handler: TypeAlias = "Callable[[Mapping[str, Any], Principal], Mapping[str, Any]]"
_POLL_MS: Final = 200
_REBIND_S: Final = 5.0
_REBIND_PAUSE_S: Final = 0.05
_MOST_FRAMES: Final = 3
_MOST_CLIENTS: Final = 1_000
_OTHERS: Final = "others"
_QUIET_S: Final = 10.0
"""Shortest time between two log lines about what clients report."""
_REPLIES_KEPT: Final = 64
"""Messages that wait for one peer before further answers to it are dropped; it asks again."""
_REQUESTS_KEPT: Final = 256


class ReplayServer(threading.Thread):
    """Owns the ROUTER sockets and a reading connection to the journal, so that no question delays an event.

    Parameters
    ----------
    publisher
        Whose past it answers for; it must have been started.
    endpoints
        Where others may ask; in this process :data:`IN_PROCESS_REPLAY` is always there.
    private
        Where processes of the daemon's own may ask as well, without a key: sockets in a folder that nobody else enters.
    handlers
        Further operations by name. They are called in this thread; a :class:`StreamclsError` becomes the answer ``refused``.
    """

    def __init__(
        self,
        publisher: Publisher,
        endpoints: Sequence[str],
        *,
        security: Security | None = None,
        handlers: Mapping[str, Handler] | None = None,
        private: Sequence[str] = (),
    ) -> None:
        super().__init__(name="replay", daemon=True)
        self._publisher = publisher
        self._requested = list(endpoints)
        self._private = [IN_PROCESS_REPLAY, *private]
        self.endpoints: list[str] = []
        self.beat: Callable[[], None] = lambda: None  # twice a second at the least, in this thread
        self._security = security
        self._handlers = dict(handlers or {})
        self._public: zmq.Socket[bytes] | None = None
        self._local: zmq.Socket[bytes] | None = None
        self._halt = threading.Event()
        self._renew = threading.Event()
        self._reader: JournalReader | None = None
        self._generation = -1
        self._lock = threading.Lock()
        self._clients: dict[str, dict[str, int]] = {}
        self._quiet_until = 0.0

    def open(self) -> None:
        """Bind every endpoint and begin.

        Raises
        ------
        BusError
            An endpoint cannot be bound; the message names it and says what to do.
        """
        self._local = self._socket()
        try:
            bind_all(self._local, self._private, "replay")
            self._bind_public(self._requested)
        except BusError:
            self._local.close()
            raise
        self.start()

    def renew(self) -> None:
        """Close the public endpoints and bind them again, so that connections of revoked keys end; from any thread."""
        self._renew.set()

    def clients(self) -> dict[str, dict[str, int]]:
        """Return by client how many requests it made and how many lost events it reported; from any thread."""
        with self._lock:
            return {name: dict(counts) for name, counts in self._clients.items()}

    def close(self, timeout_s: float = 2.0) -> bool:
        """End; return False where that took longer than ``timeout_s``."""
        self._halt.set()
        if self.ident is not None:
            self.join(timeout_s)
        return not self.is_alive()

    def run(self) -> None:
        """Answer until closed."""
        try:
            while not self._halt.is_set():
                self.beat()
                if self._renew.is_set():
                    self._renew.clear()
                    self._rebind()
                self._turn()
        except zmq.ContextTerminated:
            pass
        except BusError as error:
            _log.critical("replay stopped: %s", error)
        finally:
            for socket in (self._public, self._local):
                if socket is not None:
                    socket.close(linger=200)
            self._forget_reader()

    def _turn(self) -> None:
        poller = zmq.Poller()
        sockets = [socket for socket in (self._public, self._local) if socket is not None]
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        for ready, _ in poller.poll(_POLL_MS):
            self._answer(ready)

    def _socket(self) -> zmq.Socket[bytes]:
        socket = self._publisher.context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.sndhwm, socket.rcvhwm = _REPLIES_KEPT, _REQUESTS_KEPT
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_REQUEST)
        return socket

    def _rebind(self) -> None:
        """Bind the public endpoints again; the system may take a moment to let go of a port."""
        deadline = time.monotonic() + _REBIND_S
        while not self._halt.is_set():
            try:
                self._bind_public(self.endpoints)
            except BusError:
                if time.monotonic() > deadline:
                    raise
                self._halt.wait(_REBIND_PAUSE_S)
            else:
                return

    def _bind_public(self, endpoints: Sequence[str]) -> None:
        if self._public is not None:
            self._public.close(linger=0)
            self._public = None
        if not endpoints:
            return
        socket = self._socket()
        give_up_on_the_dead(socket)
        if self._security is not None:
            self._security.secure_server(socket, "replay")
        try:
            self.endpoints = bind_all(socket, endpoints, "replay")
        except BusError:
            socket.close()
            raise
        self._public = socket

    def _answer(self, socket: zmq.Socket[bytes]) -> None:
        frames = _receive(socket)
        if frames is None:
            return
        principal = EVERYBODY
        if self._security is not None and socket is self._public:
            principal = self._security.principal_of(frames[-1], "replay")
        raw = [frame.bytes for frame in frames]
        request: Request | None = None
        events: Sequence[bytes] = ()
        try:
            request = parse_request(_question(raw))
            self._count(request, principal)
            header, events = self._result(request, principal)
            header = {"ok": True, **header}
        except RequestError as error:
            header = {"ok": False, "error": error.code, "message": str(error), **error.facts}
        except StreamclsError as error:
            header = {"ok": False, "error": "refused", "message": str(error)}
        except Exception as error:  # noqa: BLE001 - whatever a request brings about costs that request only
            _log.exception("a request could not be answered")
            header = {"ok": False, "error": "failed", "message": f"{type(error).__name__}; see the daemon's log"}
        identity = {"request": request.id if request is not None else ""}
        peer = raw[:2] if len(raw) == _MOST_FRAMES and not raw[1] else raw[:1]
        reply = [*peer, to_json({**identity, **header}), *events]
        with contextlib.suppress(zmq.Again, zmq.ZMQError):  # it has gone, or does not take its answers
            socket.send_multipart(reply, zmq.NOBLOCK)

    def _result(self, request: Request, principal: Principal) -> tuple[dict[str, Any], Sequence[bytes]]:
        if not principal.domains:
            raise RequestError("not_allowed", "this key is no longer known here")
        if request.op in self._handlers:
            if not principal.control:
                raise RequestError("not_allowed", f"the key {principal.name!r} has no permission for {request.op}")
            return {**self._facts(), **self._handlers[request.op](request.members, principal)}, ()
        if request.op == "status":
            with contextlib.suppress(RequestError):
                first, position = self._reading(lambda reader: reader.bounds())
                return {**self._facts(), "first": first, "position": position, "events": 0}, ()
            return {**self._facts(), "events": 0}, ()
        if request.op not in {"snapshot", "since", "topic"}:
            known = ", ".join(sorted({"status", "snapshot", "since", "topic", *self._handlers}))
            raise RequestError("unknown_op", f"no operation {request.op!r}; there are {known}")
        page = self._reading(lambda reader: self._page(reader, request))
        bodies = [body for _, body in page.events if principal is EVERYBODY or _allowed(principal, body)]
        header = {
            **self._facts(),
            "first": page.first,
            "position": page.position,
            "next": page.next,
            "more": page.more,
            "lost": page.lost,
            "events": len(bodies),
        }
        return header, bodies

    def _page(self, reader: JournalReader, request: Request) -> Page:
        if request.op == "snapshot":
            return reader.snapshot(
                request.number("after", 0), kinds=request.kinds, streams=request.streams, limit=request.limit
            )
        until = request.number("until", -1)
        if request.op == "topic":
            return reader.topic(
                request.text("topic"),
                request.text("epoch"),
                request.number("after", 0),
                None if until < 0 else until,
                request.limit,
            )
        wanted = request.text("journal", "")
        if wanted and wanted != reader.id:
            first, position = reader.bounds()
            facts = {**self._facts(), "journal": reader.id, "first": first, "position": position}
            raise RequestError(
                "journal_changed", "the journal was begun anew since; what was in the former one is gone", facts
            )
        return reader.since(
            request.number("position", 0),
            kinds=request.kinds,
            streams=request.streams,
            limit=request.limit,
            until=None if until < 0 else until,
        )

    def _facts(self) -> dict[str, Any]:
        journal = self._publisher.journal
        return {
            "epoch": self._publisher.epoch,
            "source": self._publisher.source,
            "journal": journal.id if journal is not None else "",
        }

    def _reading(self, look: Callable[[JournalReader], Any]) -> Any:
        """Look something up, with a connection to the file that stands there now."""
        journal = self._publisher.journal
        if journal is None:
            raise RequestError("journal_failed", "the daemon keeps no journal ([journal] enabled = false)")
        if self._generation != journal.generation:
            self._forget_reader()
        try:
            if self._reader is None:
                self._generation = journal.generation
                self._reader = JournalReader(journal.path)
            damaged = self._reader.damaged
            result = look(self._reader)
        except sqlite3.Error as error:
            self._forget_reader()
            if is_damage(error):  # else whoever waits for what is there would wait for ever
                journal.suspect(error, self._generation)
            raise RequestError("journal_failed", f"the journal cannot be read: {error}") from error
        if self._reader.damaged > damaged:
            _log.error(
                "%s: %d events in it are damaged and cannot be given to anybody", journal.path, self._reader.damaged
            )
        return result

    def _forget_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(sqlite3.Error):
                reader.close()

    def _count(self, request: Request, principal: Principal) -> None:
        name = principal.name if principal is not EVERYBODY else request.client
        with self._lock:
            if name not in self._clients and len(self._clients) >= _MOST_CLIENTS:
                name = _OTHERS
            counts = self._clients.setdefault(name, {"requests": 0, "missed": 0})
            counts["requests"] += 1
            counts["missed"] += request.missed
            missed = counts["missed"]
        if request.missed and time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _QUIET_S
            _log.warning(
                "subscriber %s reports %d events that did not reach it, %d in all", name, request.missed, missed
            )


def _question(raw: Sequence[bytes]) -> bytes:
    """Return the frame that asks, behind the peer's address and, from a REQ socket, an empty one."""
    if len(raw) == _MOST_FRAMES - 1 or (len(raw) == _MOST_FRAMES and not raw[1]):
        return raw[-1]
    text = f"{len(raw) - 1} frames, expected one of JSON, with an empty one before it or not"
    raise RequestError("malformed", text)


def _receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame] | None:
    """Take one message; of frames that are too many only as many are kept as show it."""
    frames: list[zmq.Frame] = []
    with contextlib.suppress(zmq.Again):
        frames.append(socket.recv(zmq.NOBLOCK, copy=False))
        while socket.getsockopt(zmq.RCVMORE):
            frame = socket.recv(zmq.NOBLOCK, copy=False)
            if len(frames) <= _MOST_FRAMES:
                frames.append(frame)
    return frames or None


def _allowed(principal: Principal, body: bytes) -> bool:
    envelope = json.loads(body)
    return principal.allows(str(envelope["type"]).removeprefix("streamcls."), str(envelope["subject"]))

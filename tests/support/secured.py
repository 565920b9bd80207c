"""Keys and a publisher-like socket for the tests of security."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zmq
from zmq.utils.monitor import recv_monitor_message

from streamcls.bus.auth import Security
from streamcls.bus.authorised import add_client
from streamcls.bus.keys import ClientKeys, create_server, load_server, new_pair
from streamcls.bus.permissions import Principal
from streamcls.bus.subscriptions import MOST_SUBSCRIPTIONS, Subscriptions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PATIENCE_MS = 5_000


def make_client(
    folder: Path,
    name: str,
    domains: Iterable[str] = ("publish",),
    kinds: Iterable[str] = (),
    streams: Iterable[str] = (),
) -> ClientKeys:
    """Admit a client and return its keys."""
    pair = new_pair()
    add_client(folder, Principal(name, pair.public, frozenset(domains), tuple(kinds), tuple(streams)))
    return ClientKeys(load_server(folder).public, pair.public, pair.secret)


def ask(client: zmq.Socket[bytes], topic: str) -> None:
    """Subscribe a SUB or an XSUB socket; the latter shows all that it is sent."""
    if client.getsockopt(zmq.TYPE) == zmq.XSUB:
        client.send(b"\x01" + topic.encode())
    else:
        client.subscribe(topic)


def cancel(client: zmq.Socket[bytes], topic: str) -> None:
    """Cancel what :func:`ask` subscribed to."""
    if client.getsockopt(zmq.TYPE) == zmq.XSUB:
        client.send(b"\0" + topic.encode())
    else:
        client.unsubscribe(topic)


@dataclass
class Bus:
    """A folder of keys, its authenticator, and one XPUB socket that answers like the publisher's; the test's thread drives it."""

    folder: Path
    context: zmq.Context[zmq.Socket[bytes]] = field(default_factory=zmq.Context)
    watch_s: float = 3_600.0
    most: int = MOST_SUBSCRIPTIONS

    def __post_init__(self) -> None:
        create_server(self.folder)
        self.security = Security(self.folder, self.context, watch_s=self.watch_s, handshake_s=0.2)
        self.security.start()
        self.echoed: list[bytes] = []
        self.endpoint = "tcp://127.0.0.1:*"
        self.clients: list[zmq.Socket[bytes]] = []
        self._foreign: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.bind()

    def bind(self) -> None:
        self.socket = self.context.socket(zmq.XPUB)
        self.socket.linger = 0
        self.security.secure_server(self.socket, "publish")
        self.subscriptions = Subscriptions(self.socket, self.security, self._echo, most=self.most)
        self.socket.bind(self.endpoint)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def rebind(self) -> None:
        """Close and bind again, as the publisher does; the system may take a moment to let go of the port."""
        self.socket.close()
        for _ in range(1_000):
            try:
                self.bind()
            except zmq.ZMQError:
                self.socket.close()
                threading.Event().wait(0.005)
            else:
                return
        raise AssertionError(f"{self.endpoint} cannot be bound again")

    def _echo(self, topic: bytes) -> None:
        self.echoed.append(topic)
        self.socket.send_multipart([self.subscriptions.address(topic), b"{}"])

    def publish(self, *topics: str) -> None:
        for topic in topics:
            self.socket.send_multipart([self.subscriptions.address(topic.encode()), b"{}"])

    def admit(self, name: str, *, kinds: Iterable[str] = (), streams: Iterable[str] = ()) -> ClientKeys:
        """Make a client that is admitted from now on, and return its keys."""
        keys = make_client(self.folder, name, kinds=kinds, streams=streams)
        self.security.reload()
        return keys

    def connect(self, keys: ClientKeys | None, kind: int = zmq.SUB) -> zmq.Socket[bytes]:
        """Connect as another process would: from a context of its own."""
        socket = self._foreign.socket(kind)
        socket.linger = 0
        socket.reconnect_ivl = 10
        if keys is not None:
            keys.secure_client(socket)
        socket.connect(self.endpoint)
        self.clients.append(socket)
        return socket

    def settle(self, client: zmq.Socket[bytes]) -> list[bytes]:
        """Ask for an echo and serve until it arrives; return the topics that came before it."""
        token = f"_sync/{uuid.uuid4()}".encode()
        ask(client, token.decode())
        topics: list[bytes] = []
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(client, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(PATIENCE_MS))
            assert ready, f"no echo; {topics}"
            if self.socket in ready:
                assert self.subscriptions.answer()
            if client in ready:
                topic = client.recv_multipart()[0]
                if topic == token:
                    break
                topics.append(topic)
        cancel(client, token.decode())
        return topics

    def subscribe(self, client: zmq.Socket[bytes], *topics: str) -> None:
        """Subscribe, and return once it is in force: the second echo follows everything else."""
        for topic in topics:
            ask(client, topic)
        self.settle(client)
        self.settle(client)

    def received(self, client: zmq.Socket[bytes], *topics: str) -> list[str]:
        """Publish, and return what of it arrives."""
        self.publish(*topics)
        return [topic.decode() for topic in self.settle(client)]

    def serve(self, timeout_ms: int) -> bool:
        """Answer what comes within a time; return what the last answer said."""
        sound = True
        while self.socket.poll(timeout_ms):
            sound = self.subscriptions.answer()
            if not sound:
                return False
        return sound

    def refuses(self, keys: ClientKeys | None) -> bool:
        """Connect, publish, and return whether the client's own library says that it failed; nothing may arrive."""
        socket = self._foreign.socket(zmq.SUB)
        socket.linger = 0
        socket.subscribe("")
        if keys is not None:
            keys.secure_client(socket)
        wanted = (
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_SUCCEEDED
        )
        monitor = socket.get_monitor_socket(wanted)
        try:
            socket.connect(self.endpoint)
            assert monitor.poll(PATIENCE_MS)
            self.publish("genre.window/radio-1")
            assert not socket.poll(20)
            return bool(recv_monitor_message(monitor)["event"] != zmq.EVENT_HANDSHAKE_SUCCEEDED)
        finally:
            socket.disable_monitor()
            monitor.close()
            socket.close()

    def close(self) -> None:
        for socket in (*self.clients, self.socket):
            socket.close()
        self.security.close()
        self.context.term()
        self._foreign.term()

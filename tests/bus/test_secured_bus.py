"""Publisher and replay server with keys: the whole of what a client is given, over sockets, with a foreign library as well."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from secured import PATIENCE_MS, make_client

from streamcls.bus.auth import Security
from streamcls.bus.authorised import remove_client
from streamcls.bus.journal import Journal
from streamcls.bus.keys import ClientKeys, create_server, new_pair
from streamcls.bus.publisher import Publisher
from streamcls.bus.replay import ReplayServer
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = ("genre.segment", "moderation.alert")


class Secured:
    """A publisher with a journal and a replay server, and their authenticator."""

    def __init__(self, folder: Path) -> None:
        self.keys = folder / "keys"
        create_server(self.keys)
        self.security = Security(self.keys, watch_s=3_600, handshake_s=0.2)
        self.security.start()
        self.publisher = Publisher(
            ["tcp://127.0.0.1:*"],
            source="/streamcls/test",
            context=self.security.context,
            journal=Journal(folder / "journal.sqlite3"),
            security=self.security,
        )
        self.replay = ReplayServer(self.publisher, ["tcp://127.0.0.1:*"], security=self.security)
        self.security.on_change(lambda _: self.publisher.renew())
        self.security.on_change(lambda _: self.replay.renew())
        self.publisher.start()
        self.replay.open()
        self.foreign: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sockets: list[zmq.Socket[bytes]] = []

    def client(self, name: str, *domains: str, kinds: tuple[str, ...] = ()) -> ClientKeys:
        keys = make_client(self.keys, name, domains, kinds)
        self.security.reload()
        return keys

    def socket(self, kind: int, endpoint: str, keys: ClientKeys) -> zmq.Socket[bytes]:
        socket = self.foreign.socket(kind)
        socket.linger = 0
        socket.reconnect_ivl = 10
        keys.secure_client(socket)
        socket.connect(endpoint)
        self.sockets.append(socket)
        return socket

    def subscriber(self, keys: ClientKeys) -> zmq.Socket[bytes]:
        socket = self.socket(zmq.SUB, self.publisher.endpoints[0], keys)
        socket.subscribe("")
        for _ in range(2):
            assert self.until_echo(socket) == []
        return socket

    def until_echo(self, socket: zmq.Socket[bytes]) -> list[str]:
        """Return the topics that arrive until the echo does, which follows everything published so far."""
        token = f"_sync/{uuid.uuid4()}".encode()
        socket.subscribe(token)
        topics: list[str] = []
        while True:
            assert socket.poll(PATIENCE_MS), topics
            topic, body = socket.recv_multipart()
            if topic == token:
                return topics
            if not topic.startswith(b"_sync/"):
                topics.append(topic.decode())
                assert json.loads(body)["subject"] == "radio-1"

    def publish(self) -> None:
        for kind in KINDS:
            self.publisher.publish(Event(kind, "radio-1", {"id": uuid.uuid4().hex, "phase": "opened"}))

    def ask(self, socket: zmq.Socket[bytes], **members: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        socket.send_multipart([b"", json.dumps({"request": "1", **members}).encode()])
        assert socket.poll(PATIENCE_MS)
        _, header, *events = socket.recv_multipart()
        return json.loads(header), [json.loads(event) for event in events]

    def close(self) -> None:
        for socket in self.sockets:
            socket.close()
        self.foreign.term()
        assert self.replay.close()
        assert self.publisher.close()
        self.security.close()


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Secured]:
    made = Secured(tmp_path)
    yield made
    made.close()


def refused_again(security: Security) -> None:
    """Wait until one more connection was refused."""
    before, waiting = security.counters["refused"], threading.Event()
    for _ in range(PATIENCE_MS):
        if security.counters["refused"] > before:
            return
        waiting.wait(0.001)
    raise AssertionError(security.counters)


def test_permission_and_revocation_hold_for_events_and_for_the_past(bus: Secured) -> None:
    everything = bus.client("desk", "publish", "replay")
    genres = bus.client("music", "publish", "replay", kinds=("genre.*",))
    desk, music = bus.subscriber(everything), bus.subscriber(genres)
    bus.publish()
    assert bus.until_echo(desk) == ["genre.segment/radio-1/", "moderation.alert/radio-1/"]
    assert bus.until_echo(music) == ["genre.segment/radio-1/"]
    asking = {keys: bus.socket(zmq.DEALER, bus.replay.endpoints[0], keys) for keys in (everything, genres)}
    for op in ({"op": "since", "position": 0}, {"op": "snapshot"}):
        types = {keys: [event["type"] for event in bus.ask(asking[keys], **op)[1]] for keys in asking}
        assert types == {everything: [f"streamcls.{kind}" for kind in KINDS], genres: ["streamcls.genre.segment"]}
    topic = {"op": "topic", "topic": "moderation.alert/radio-1", "epoch": bus.publisher.epoch, "after": 0}
    assert bus.ask(asking[genres], **topic)[1] == []

    remove_client(bus.keys, "music")
    bus.security.reload()
    refused_again(bus.security)
    bus.until_echo(desk)  # it connected and subscribed again by itself
    bus.publish()
    assert bus.until_echo(desk) == ["genre.segment/radio-1/", "moderation.alert/radio-1/"]
    assert not music.poll(100)
    asking[genres].send_multipart([b"", b'{"request":"2","op":"since","position":0}'])
    if asking[genres].poll(100):  # it was still connected
        _, header, *events = asking[genres].recv_multipart()
        assert (json.loads(header)["error"], events) == ("not_allowed", [])


def test_the_past_is_answered_for_after_keys_were_taken_back_again_and_again(bus: Secured) -> None:
    asking = bus.socket(zmq.DEALER, bus.replay.endpoints[0], bus.client("desk", "replay"))
    for number in range(3):
        bus.client(f"gone-{number}", "publish")
        remove_client(bus.keys, f"gone-{number}")
        assert bus.security.reload()
        request = f"r{number}".encode()
        for _ in range(50):  # what is sent while the endpoint is closed may be lost, as its answer may
            asking.send_multipart([b"", b'{"request":"%s","op":"status"}' % request])
            if asking.poll(200) and request in asking.recv_multipart()[1]:
                break
        else:
            pytest.fail("nobody answers any more")
    assert bus.replay.is_alive()


def test_a_key_to_subscribe_may_not_ask_and_a_key_to_ask_may_not_subscribe(bus: Secured) -> None:
    publish, replay = bus.client("publish", "publish"), bus.client("replay", "replay")
    asking = bus.socket(zmq.DEALER, bus.replay.endpoints[0], publish)
    asking.send_multipart([b"", b'{"request":"1","op":"status"}'])
    refused_again(bus.security)
    listening = bus.socket(zmq.SUB, bus.publisher.endpoints[0], replay)
    listening.subscribe("")
    refused_again(bus.security)
    assert bus.security.counters["admitted"] == 0
    bus.publish()
    assert not asking.poll(50)
    assert not listening.poll(50)


def test_the_others_go_on_when_somebody_breaks_the_protocol(bus: Secured) -> None:
    good, bad = bus.client("good", "publish"), bus.client("bad", "publish")
    listening = bus.subscriber(good)
    hostile = bus.socket(zmq.XSUB, bus.publisher.endpoints[0], bad)
    hostile.send(b"\x02")
    refused_again(bus.security)
    bus.until_echo(listening)
    bus.publish()
    assert bus.until_echo(listening) == ["genre.segment/radio-1/", "moderation.alert/radio-1/"]


NODE = """
import { Subscriber } from "zeromq";
const [endpoint, server, publicKey, secretKey] = process.argv.slice(1);
const socket = new Subscriber({ linger: 0 });
if (server) socket.curveServerKey = server;
if (publicKey) { socket.curvePublicKey = publicKey; socket.curveSecretKey = secretKey; }
socket.events.on("handshake:error:protocol", () => { console.log("refused"); process.exit(0); });
socket.events.on("handshake:error:other", () => { console.log("refused"); process.exit(0); });
socket.events.on("handshake:error:auth", () => { console.log("refused"); process.exit(0); });
socket.connect(endpoint);
socket.subscribe("", "moderation.", "_sync/node");
for await (const [topic] of socket) {
  console.log(topic.toString());
  if (topic.toString() === "_sync/end/") process.exit(0);
}
"""


@pytest.fixture
def node(root: Path) -> str:
    path = shutil.which("node")
    if path is None:
        pytest.skip("node is not installed: apt install nodejs npm")
    if not (root / "node_modules" / "zeromq").is_dir():
        pytest.skip("Node's zeromq package is not here: npm install --no-save zeromq@6")
    return path


class Foreign:
    """A subscriber that shares no code with streamcls."""

    def __init__(self, node: str, root: Path, bus: Secured, keys: tuple[str, str, str]) -> None:
        command = [node, "--input-type=module", "-e", NODE, "--", bus.publisher.endpoints[0], *keys]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root)

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def test_a_foreign_library_gets_what_its_key_permits_and_nothing_without_one(
    bus: Secured, node: str, root: Path
) -> None:
    music = bus.client("music", "publish", kinds=("genre.*",))
    gone = bus.client("gone", "publish")
    remove_client(bus.keys, "gone")
    bus.security.reload()
    server, unknown = bus.security.server_key, new_pair()
    wrong = [("", "", ""), (server, unknown.public, unknown.secret), (server, gone.public, gone.secret)]
    for keys in (*wrong, (unknown.public, music.public, music.secret)):
        refused = Foreign(node, root, bus, keys)
        try:
            assert refused.line() == "refused", keys[:2]
        finally:
            refused.close()
    foreign = Foreign(node, root, bus, (music.server_public, music.public, music.secret))
    try:
        assert foreign.line() == "_sync/node"
        bus.publish()
        bus.publish()
        assert [foreign.line(), foreign.line()] == ["genre.segment/radio-1/"] * 2
        remove_client(bus.keys, "music")
        bus.security.reload()
        assert foreign.line() == "refused"
    finally:
        foreign.close()

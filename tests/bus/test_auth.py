"""Who is let in: known keys, for the domains that they are good for, for as long as they are known; over real sockets."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import zmq
from secured import PATIENCE_MS, Bus, make_client
from zmq.utils.monitor import recv_monitor_message

from streamcls.bus.auth import Security
from streamcls.bus.authorised import remove_client
from streamcls.bus.keys import ClientKeys, create_server, new_pair
from streamcls.bus.permissions import NOBODY
from streamcls.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVENTS = ("genre.window/radio-1", "moderation.alert/radio-1")
ARRIVED = [f"{topic}/" for topic in EVENTS]


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    made = Bus(tmp_path / "keys")
    yield made
    made.close()


class Changes:
    """Callback of an authenticator."""

    def __init__(self, security: Security) -> None:
        self.keys: list[frozenset[str]] = []
        self.noticed = threading.Event()
        security.on_change(self)

    def __call__(self, keys: frozenset[str]) -> None:
        self.keys.append(keys)
        self.noticed.set()


def test_without_a_key_nothing_is_received(bus: Bus) -> None:
    assert bus.refuses(None)


def test_with_an_unknown_key_nothing_is_received(bus: Bus) -> None:
    pair = new_pair()
    assert bus.refuses(ClientKeys(bus.security.server_key, pair.public, pair.secret))
    assert bus.security.counters["admitted"] == 0
    assert bus.security.counters["refused"] > 0


def test_a_known_public_key_without_its_secret_does_not_help(bus: Bus) -> None:
    known, other = make_client(bus.folder, "desk"), new_pair()
    bus.security.reload()
    assert bus.refuses(ClientKeys(known.server_public, known.public, other.secret))
    assert bus.security.counters["admitted"] == 0


def test_a_client_notices_a_daemon_that_is_not_its_own(bus: Bus) -> None:
    known, other = make_client(bus.folder, "desk"), new_pair()
    bus.security.reload()
    assert bus.refuses(ClientKeys(other.public, known.public, known.secret))
    assert bus.security.counters == {"admitted": 0, "refused": 0, "keys": 1}


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Bus]:
    made = Bus(tmp_path / "keys", watch_s=0.05)
    yield made
    made.close()


def test_a_file_that_is_added_admits_a_client_that_waits(watching: Bus) -> None:
    bus = watching
    noticed = bus.security.counters["refused"]
    pair = new_pair()
    client = bus.connect(ClientKeys(bus.security.server_key, pair.public, pair.secret))
    while bus.security.counters["refused"] == noticed:
        bus.serve(5)
    entry = bus.folder / "authorised" / "late.toml"
    entry.write_text(f'key = "{pair.public}"\ndomains = ["publish"]\n', encoding="utf-8")
    entry.chmod(0o600)
    bus.subscribe(client, "")
    assert bus.received(client, *EVENTS) == ARRIVED


def test_a_key_that_is_removed_ends_its_connection_and_the_others_go_on(watching: Bus) -> None:
    bus = watching
    stays, goes = make_client(bus.folder, "stays"), make_client(bus.folder, "goes")
    bus.security.reload()
    changes = Changes(bus.security)
    one, two = bus.connect(stays), bus.connect(goes)
    bus.subscribe(one, "")
    bus.subscribe(two, "")
    remove_client(bus.folder, "goes")
    assert changes.noticed.wait(PATIENCE_MS / 1000)
    assert changes.keys == [frozenset([goes.public])]
    refused = bus.security.counters["refused"]
    bus.rebind()
    bus.settle(one)  # its library connected and subscribed again by itself
    assert bus.received(one, *EVENTS) == ARRIVED
    while bus.security.counters["refused"] == refused:
        bus.serve(5)
    assert not two.poll(0)
    assert bus.refuses(goes)


@pytest.mark.parametrize("domains", ["", '["replay"]'])
def test_between_revocation_and_the_new_socket_nothing_can_be_subscribed_to(bus: Bus, domains: str) -> None:
    client = bus.connect(bus.admit("goes"))
    bus.subscribe(client)
    entry = bus.folder / "authorised" / "goes.toml"
    text = entry.read_text(encoding="utf-8")
    entry.write_text(text.replace('["publish"]', domains), encoding="utf-8")
    bus.security.reload()
    client.subscribe("")
    assert bus.settle(client) == []
    assert bus.received(client, *EVENTS) == []


def test_a_permission_that_changes_counts_as_a_key_that_is_taken_back(bus: Bus) -> None:
    make_client(bus.folder, "desk")
    assert bus.security.reload() == frozenset()
    remove_client(bus.folder, "desk")
    keys = make_client(bus.folder, "desk", kinds=["genre.*"])
    bus.security.reload()
    entry = bus.folder / "authorised" / "desk.toml"
    entry.write_text(entry.read_text(encoding="utf-8").replace("genre.*", "genre.window"), encoding="utf-8")
    assert bus.security.reload() == frozenset([keys.public])
    assert bus.security.reload() == frozenset()
    assert bus.security.counters["keys"] == 1


def test_an_entry_that_becomes_unreadable_costs_that_client_only(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = make_client(bus.folder, "good"), make_client(bus.folder, "bad")
    bus.security.reload()
    (bus.folder / "authorised" / "bad.toml").write_text("key = 3\n", encoding="utf-8")
    assert bus.security.reload() == frozenset([bad.public])
    assert "client bad is not admitted" in caplog.text
    client = bus.connect(good)
    bus.subscribe(client, "")
    assert bus.received(client, *EVENTS) == ARRIVED


@pytest.mark.parametrize("domain", ["replay", "ingest", "control"])
def test_a_key_for_another_domain_may_not_subscribe(bus: Bus, domain: str) -> None:
    keys = make_client(bus.folder, "other", domains=[domain])
    bus.security.reload()
    assert bus.refuses(keys)


def test_a_socket_of_a_context_without_an_authenticator_lets_nobody_in(tmp_path: Path) -> None:
    create_server(tmp_path / "keys")
    keys = make_client(tmp_path / "keys", "desk")
    with zmq.Context() as context:
        security = Security(tmp_path / "keys", context)
        with context.socket(zmq.PULL) as server, context.socket(zmq.PUSH) as client:
            security.secure_server(server, "ingest")
            port = server.bind_to_random_port("tcp://127.0.0.1")
            client.linger = 0
            keys.secure_client(client)
            monitor = client.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
            client.connect(f"tcp://127.0.0.1:{port}")
            assert monitor.poll(PATIENCE_MS)
            assert recv_monitor_message(monitor)["event"] == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            client.disable_monitor()
            monitor.close()
        security.close()


def test_a_callback_that_raises_harms_neither_the_others_nor_the_authenticator(
    watching: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    bus = watching

    def raising(_: frozenset[str]) -> None:
        raise RuntimeError("on purpose")

    make_client(bus.folder, "goes")
    bus.security.reload()
    bus.security.on_change(raising)
    changes = Changes(bus.security)
    remove_client(bus.folder, "goes")
    assert changes.noticed.wait(PATIENCE_MS / 1000)
    assert bus.security.alive
    assert "on purpose" in caplog.text


def test_a_folder_that_vanishes_ends_everybody_until_it_is_back(bus: Bus) -> None:
    keys = make_client(bus.folder, "desk")
    bus.security.reload()
    (bus.folder / "authorised").rename(bus.folder / "elsewhere")
    assert bus.security.reload() == frozenset([keys.public])
    assert bus.refuses(keys)
    (bus.folder / "elsewhere").rename(bus.folder / "authorised")
    bus.security.reload()
    client = bus.connect(keys)
    bus.subscribe(client, "")
    assert bus.received(client, *EVENTS) == ARRIVED


def test_a_second_authenticator_of_a_context_is_an_error_that_says_so(bus: Bus) -> None:
    second = Security(bus.folder, bus.context)
    with pytest.raises(BusError, match="has an authenticator already"):
        second.start()
    second.close()


def test_authenticators_of_two_contexts_do_not_know_of_each_other(bus: Bus, tmp_path: Path) -> None:
    other = Bus(tmp_path / "other")
    keys = make_client(other.folder, "desk")
    other.security.reload()
    assert bus.refuses(ClientKeys(bus.security.server_key, keys.public, keys.secret))
    client = other.connect(keys)
    other.subscribe(client, "")
    assert other.received(client, *EVENTS) == ARRIVED
    other.close()


def test_a_message_that_came_over_no_authenticated_connection_is_nobodys(bus: Bus) -> None:
    with bus.context.socket(zmq.PAIR) as one, bus.context.socket(zmq.PAIR) as two:
        one.bind("inproc://plain")
        two.connect("inproc://plain")
        two.send(b"hello")
        frame = one.recv(copy=False)
        assert bus.security.principal_of(frame) is NOBODY
        assert not bus.security.permits(frame, "ingest", "radio-1")
        assert bus.security.connection_of(frame) == ""


def test_a_storm_of_refused_connections_is_logged_once(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    pair = new_pair()
    keys = ClientKeys(bus.security.server_key, pair.public, pair.secret)
    for _ in range(5):
        bus.connect(keys)
    while bus.security.counters["refused"] < 20:
        bus.serve(5)
    assert caplog.text.count("refused a connection") == 1


def test_no_secret_in_log_or_text(bus: Bus, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level("DEBUG")
    keys = make_client(bus.folder, "desk", kinds=["genre.*"])
    bus.security.reload()
    client = bus.connect(keys, zmq.XSUB)
    client.send(b"\x02")
    assert bus.socket.poll(PATIENCE_MS)
    assert not bus.serve(100)
    server = bus.security._server
    text = caplog.text + repr(keys) + str(keys) + repr(server) + repr(bus.security) + repr(vars(bus.security))
    assert "shut out" in text
    assert keys.secret not in text
    assert server.secret not in text

"""The replay endpoint, asked by plain sockets as a stranger asks."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from busside import LONG_S, event, plain_subscriber, received
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcls.bus import Publisher
from streamcls.bus.journal import Journal
from streamcls.bus.replay import ReplayServer
from streamcls.errors import BusError
from streamcls.types import Checkpoint, Event

if TYPE_CHECKING:
    from collections.abc import Iterator


class Daemon:
    """Publisher, journal and replay server, as the daemon puts them together."""

    def __init__(self, folder: Path, **journal: Any) -> None:
        self.journal = Journal(folder / "journal.sqlite3", **{"power": False, **journal})
        self.bus = Publisher(["tcp://127.0.0.1:*"], source="/streamcls/test", journal=self.journal)
        self.replay = ReplayServer(self.bus, ["tcp://127.0.0.1:*"], handlers={"greet": self._greet})
        self.bus.replay_endpoints = lambda: self.replay.endpoints

    def _greet(self, request: Any, principal: Any) -> dict[str, Any]:
        if request.get("rude"):
            raise BusError("no manners")
        return {"hello": principal.name}

    def publish(self, *events: Event) -> None:
        for one in events:
            self.bus.publish(one)
        with plain_subscriber(self.bus.endpoints[0], "nothing"):  # its echoes follow what was published
            pass


@contextlib.contextmanager
def running(folder: Path, **journal: Any) -> Iterator[Daemon]:
    daemon = Daemon(folder, **journal)
    daemon.bus.start()
    daemon.replay.open()
    try:
        yield daemon
    finally:
        assert daemon.replay.close(LONG_S)
        assert daemon.bus.close(LONG_S)


class Asker:
    """A DEALER or REQ socket."""

    def __init__(self, endpoint: str, kind: int = zmq.DEALER) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.linger = 0
        self.socket.connect(endpoint)

    def ask(self, **request: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return self.raw(json.dumps({"request": "r1", **request}).encode())

    def raw(self, *frames: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        self.socket.send_multipart(frames)
        return self.answer()

    def answer(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        header, *bodies = [json.loads(frame) for frame in received(self.socket) if frame]
        return header, bodies

    def close(self) -> None:
        self.socket.close()
        self.context.term()


@contextlib.contextmanager
def asking(daemon: Daemon, kind: int = zmq.DEALER) -> Iterator[Asker]:
    asker = Asker(daemon.replay.endpoints[0], kind)
    try:
        yield asker
    finally:
        asker.close()


def segment(number: int, stream: str = "radio-1") -> Event:
    return event(number, "genre.segment", stream)


def test_what_was_missed_is_given_exactly_as_it_was_published(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, plain_subscriber(daemon.bus.endpoints[0]) as subscriber, asking(daemon) as asker:
        daemon.publish(segment(1), event(2), segment(3))
        live = [json.loads(received(subscriber)[1]) for _ in range(3)]
        header, events = asker.ask(op="since", position=0)
        assert events == [live[0], live[2]]  # windows are not kept
        assert [one["position"] for one in events] == ["1", "2"]
        assert "position" not in live[1]
        assert (header["request"], header["ok"], header["events"], header["next"], header["more"], header["lost"]) == (
            "r1", True, 2, 2, False, 0,
        )  # fmt: skip
        assert (header["epoch"], header["journal"]) == (daemon.bus.epoch, daemon.journal.id)


def test_an_event_is_in_the_journal_before_it_is_published(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, plain_subscriber(daemon.bus.endpoints[0]) as subscriber, asking(daemon) as asker:
        for number in range(200):
            daemon.bus.publish(segment(number))
            position = json.loads(received(subscriber)[1])["position"]
            assert asker.ask(op="since", position=int(position) - 1)[1][0]["data"]["number"] == number


def test_a_req_socket_is_answered_too(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, asking(daemon, zmq.REQ) as asker:
        assert asker.ask(op="status")[0]["ok"]


def test_pages_by_topic_and_by_position(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, asking(daemon) as asker:
        daemon.publish(*(segment(n, f"radio-{n % 2}") for n in range(10)))
        header, events = asker.ask(op="since", position=0, limit=3, streams=["radio-1"])
        assert [one["data"]["number"] for one in events] == [1, 3, 5]
        assert header["more"]
        header, events = asker.ask(op="since", position=header["next"], streams=["radio-1"], journal=daemon.journal.id)
        assert [one["data"]["number"] for one in events] == [7, 9]
        assert not header["more"]
        _, events = asker.ask(op="topic", topic="genre.segment/radio-0", epoch=daemon.bus.epoch, after=1, until=3)
        assert [one["sequence"] for one in events] == ["2", "3"]


def test_the_snapshot_is_what_is_open_now(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, asking(daemon) as asker:
        daemon.publish(
            event(1, "moderation.alert", id="a", phase="opened"),
            event(2, "moderation.alert", id="b", phase="opened"),
            event(3, "moderation.alert", id="a", phase="closed"),
            Event("stream.status", "radio-1", {"state": "running"}),
        )
        assert [one["type"] for one in asker.ask(op="snapshot")[1]] == [
            "streamcls.moderation.alert",
            "streamcls.stream.status",
        ]


def test_another_journal_is_told_from_this_one(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, asking(daemon) as asker:
        daemon.publish(segment(1))
        header, _ = asker.ask(op="since", position=7, journal="0" * 32)
        assert (header["ok"], header["error"]) == (False, "journal_changed")
        assert (header["journal"], header["first"], header["position"]) == (daemon.journal.id, 1, 1)


def test_handlers_and_their_refusals(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, asking(daemon) as asker:
        assert asker.ask(op="greet")[0]["hello"] == "everybody"
        header, _ = asker.ask(op="greet", rude=True)
        assert (header["ok"], header["error"], header["message"]) == (False, "refused", "no manners")


def test_reported_losses_are_counted_by_client(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, asking(daemon) as asker:
        asker.ask(op="status", client="desk", missed={"genre.segment/radio-1": 3, "stream.status/radio-1": 2})
        asker.ask(op="status", client="desk")
        assert daemon.replay.clients() == {"desk": {"requests": 2, "missed": 5}}


def test_clients_that_invent_names_do_not_grow_the_daemon(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, asking(daemon) as asker:
        for number in range(1_100):
            asker.ask(op="status", client=f"client-{number}")
        clients = daemon.replay.clients()
        assert len(clients) == 1_001
        assert clients["others"]["requests"] == 100


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ((b"",), "malformed"),
        ((b"no json",), "malformed"),
        ((b"[]",), "malformed"),
        ((b'{"op": 3}',), "malformed"),
        ((b'{"op": "since", "position": -1}',), "malformed"),
        ((b'{"op": "since", "position": 1e3}',), "malformed"),
        ((b'{"op": "since", "kinds": "genre"}',), "malformed"),
        ((b'{"op": "since", "limit": true}',), "malformed"),
        ((b'{"op": "topic", "topic": "x"}',), "malformed"),
        ((b'{"op": "status", "missed": {"x": "y"}}',), "malformed"),
        ((b'{"op": "' + b"x" * 100 + b'"}',), "malformed"),
        ((b"[" * 30_000,), "malformed"),
        ((b'{"op": "conquer"}',), "unknown_op"),
        ((b'{"op": "status"}', b"more"), "malformed"),
        ((b"", b'{"op": "status"}', b"more", b"still more"), "malformed"),
    ],
)
def test_malformed_requests_are_answered_with_what_is_wrong(
    tmp_path: Path, frames: tuple[bytes, ...], code: str
) -> None:
    with running(tmp_path) as daemon, asking(daemon) as asker:
        header, _ = asker.raw(*frames)
        assert (header["ok"], header["error"]) == (False, code)
        assert header["message"]
        assert asker.ask(op="status")[0]["ok"]


_MEMBERS = [
    "op",
    "position",
    "limit",
    "kinds",
    "streams",
    "missed",
    "topic",
    "epoch",
    "after",
    "until",
    "journal",
    "client",
]
_VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
    | st.sampled_from(["since", "snapshot", "topic", "status", "greet"]) | st.lists(st.text(max_size=5), max_size=4)
    | st.dictionaries(st.text(max_size=4), st.integers(), max_size=3)
)  # fmt: skip
_REQUESTS = st.dictionaries(st.sampled_from(_MEMBERS), _VALUES).map(lambda value: json.dumps(value).encode())


@settings(max_examples=300)
@given(frames=st.lists(st.binary(max_size=40) | _REQUESTS, min_size=1, max_size=6))
def test_whatever_is_asked_the_server_goes_on(shared: tuple[Daemon, Asker], frames: list[bytes]) -> None:
    daemon, asker = shared
    asker.socket.send_multipart(frames)
    assert daemon.replay.is_alive()
    asker.socket.send_multipart([b'{"op": "status", "request": "still there?"}'])
    while True:
        header, _ = asker.answer()
        if header["request"] == "still there?":
            break


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Asker]]:
    with running(tmp_path_factory.mktemp("fuzz")) as daemon, asking(daemon) as asker:
        daemon.publish(*(segment(n) for n in range(20)))
        yield daemon, asker


def test_a_peer_that_takes_no_answers_costs_nobody_anything(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, asking(daemon) as deaf, asking(daemon) as asker:
        daemon.publish(*(event(n, "genre.segment", text="x" * 2000) for n in range(400)))
        for _ in range(300):
            deaf.socket.send(b'{"op": "since", "position": 0, "limit": 1000}', zmq.NOBLOCK)
        assert asker.ask(op="status")[0]["ok"]
        assert len(asker.ask(op="since", position=0)[1]) == 400


def test_a_bus_whose_journal_is_off_says_so(tmp_path: Path) -> None:
    bus = Publisher(["tcp://127.0.0.1:*"], source="/streamcls/test")
    bus.start()
    server = ReplayServer(bus, ["tcp://127.0.0.1:*"])
    server.open()
    asker = Asker(server.endpoints[0])
    try:
        assert asker.ask(op="since", position=0)[0]["error"] == "journal_failed"
        assert asker.ask(op="status")[0]["ok"]
    finally:
        asker.close()
        assert server.close(LONG_S)
        assert bus.close(LONG_S)


def test_an_endpoint_that_is_taken_is_named(tmp_path: Path) -> None:
    other = Publisher(["tcp://127.0.0.1:*"], source="/streamcls/other")
    with running(tmp_path) as daemon:
        taken = daemon.replay.endpoints[0]
        with pytest.raises(BusError, match=rf"{taken}.*\[bus\] replay"):
            ReplayServer(other, [taken]).open()
    other.close()


def test_the_echo_tells_where_to_ask_and_what_was_sent(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        daemon.publish(segment(1), segment(2))
        with plain_subscriber(daemon.bus.endpoints[0]) as subscriber:
            subscriber.subscribe("_sync/mine")
            echo = json.loads(received(subscriber)[1])
        assert (echo["position"], echo["journal"]) == (2, daemon.journal.id)
        assert echo["replay"] == daemon.replay.endpoints


def test_events_and_checkpoint_are_one(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        daemon.bus.publish_all([segment(1), segment(2)], Checkpoint("radio-1", "tail", {"mark": 3}))
        daemon.publish()
        from streamcls.bus.reader import JournalReader

        reader = JournalReader(daemon.journal.path)
        assert reader.checkpoints()["radio-1"].state == {"mark": 3}
        assert reader.since(0).position == 2
        reader.close()


def test_a_journal_that_fails_is_told_of_and_events_go_on(tmp_path: Path) -> None:
    with (
        running(tmp_path) as daemon,
        plain_subscriber(daemon.bus.endpoints[0], "daemon.journal", "genre.") as subscriber,
    ):
        daemon.publish(segment(1))
        received(subscriber)
        pages = daemon.journal._file.connection.execute("PRAGMA page_count").fetchone()[0]
        daemon.journal._file.connection.execute(f"PRAGMA max_page_count = {pages}")
        told: dict[str, Any] = {}
        for number in range(200):
            daemon.bus.publish(event(number, "genre.segment", text="x" * 2000))
            topic, body = received(subscriber)
            if topic.startswith(b"daemon.journal"):
                told = json.loads(body)["data"]
                break
        assert told["state"] == "failed"
        assert "full" in told["reason"]
        assert daemon.bus.alive


def test_a_journal_that_was_damaged_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").write_bytes(b"this is no database" * 500)
    with running(tmp_path) as daemon, asking(daemon) as asker:
        daemon.publish(segment(1))
        told = [one["data"] for one in asker.ask(op="since", position=0, kinds=["daemon.journal"])[1]]
        assert [(one["state"], one["journal"]) for one in told] == [("ok", daemon.journal.id)]
        assert "set aside" in told[0]["reason"]


def test_a_checkpoint_that_is_no_json_costs_itself_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path) as daemon, asking(daemon) as asker:
        daemon.bus.publish_all([segment(1)], Checkpoint("radio-1", "tail", {"mark": float("nan")}))
        daemon.publish(segment(2))
        assert len(asker.ask(op="since", position=0)[1]) == 2
        assert "checkpoint of stream radio-1" in caplog.text


def test_an_epoch_sorts_after_the_former_one_though_the_clock_was_set_back(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        daemon.bus._numbering.epoch = "ff00000000000f-00000000"
        daemon.publish(segment(1))
    with running(tmp_path) as daemon:
        assert daemon.bus.epoch.startswith("ff000000000010-")
        daemon.publish(segment(2))


def test_a_note_that_cannot_be_made_does_not_cost_the_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path) as daemon, plain_subscriber(daemon.bus.endpoints[0]) as subscriber:
        daemon.bus.annotate = lambda event: {}[event.kind]
        daemon.publish(segment(1))
        assert json.loads(received(subscriber)[1])["data"]["number"] == 1
        assert "could not be annotated" in caplog.text


def test_many_askers_at_once_while_events_flow(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        daemon.publish(*(segment(n) for n in range(300)))
        failures: list[str] = []

        def ask() -> None:
            with asking(daemon) as asker:
                position, numbers = 0, []
                while len(numbers) < 600:
                    header, events = asker.ask(op="since", position=position, limit=50)
                    numbers += [one["data"]["number"] for one in events]
                    position = header["next"]
                if numbers[:600] != list(range(600)):
                    failures.append("out of order")

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        daemon.publish(*(segment(n) for n in range(300, 600)))
        for thread in threads:
            thread.join(LONG_S)
        assert not failures
        assert not any(thread.is_alive() for thread in threads)


def test_no_file_stays_open_behind(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with running(tmp_path) as daemon, asking(daemon) as asker:
            daemon.publish(segment(1))
            asker.ask(op="since", position=0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2

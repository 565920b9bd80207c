"""Acknowledging and muting from the command line, through a real replay endpoint."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from busside import LONG_S
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from secured import make_client

from streamcls import Event
from streamcls.bus import EventClient, Publisher
from streamcls.bus.auth import Security
from streamcls.bus.keys import create_server, write_client_keys
from streamcls.bus.replay import ReplayServer
from streamcls.bus.request import ask
from streamcls.cli.main import cli
from streamcls.cli.people import moment, seconds
from streamcls.errors import BusError
from streamcls.service.people import People

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALERT = "ab" * 16


class Daemon:
    """Publisher, people and replay server, as the daemon puts them together."""

    def __init__(self, folder: Path) -> None:
        self.bus = Publisher(["tcp://127.0.0.1:*"], source="/streamcls/studio")
        self.people = People(folder / "people.json", self.bus.publish, name="studio")
        self.replay = ReplayServer(self.bus, ["tcp://127.0.0.1:*"], handlers=self.people.handlers())
        self.bus.annotate = self.people.annotate

    def run(self, *arguments: str) -> str:
        result = CliRunner().invoke(cli, [*arguments, "--from", self.replay.endpoints[0]], standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return result.output

    def alert(self) -> None:
        self.bus.publish(Event("moderation.alert", "radio-1", {"id": ALERT, "phase": "opened", "label": "siren"}))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    daemon.bus.start()
    daemon.replay.open()
    try:
        yield daemon
    finally:
        assert daemon.replay.close(LONG_S)
        assert daemon.bus.close(LONG_S)


@pytest.fixture
def listener(daemon: Daemon) -> Iterator[EventClient]:
    with EventClient(daemon.bus.endpoints[0]) as client:
        list(client.synchronise(LONG_S))
        yield client


def received(client: EventClient, kind: str) -> dict[str, Any]:
    while (event := client.receive(LONG_S)) is not None:
        if event["type"] == f"streamcls.{kind}":
            return dict(event["data"])
    raise AssertionError("nothing came")


def test_an_alert_is_acknowledged_and_its_next_event_says_so(daemon: Daemon, listener: EventClient) -> None:
    daemon.alert()
    assert "acknowledged" not in received(listener, "moderation.alert")
    output = daemon.run("ack", ALERT, "--by", "ada", "--note", "seen")
    assert output == f"{ALERT} acknowledged by ada: seen\n"
    told = received(listener, "moderation.ack")
    assert (told["alert_id"], told["by"], told["note"]) == (ALERT, "ada", "seen")
    daemon.alert()
    assert received(listener, "moderation.alert")["acknowledged"] == {"by": "ada", "at": told["at"], "note": "seen"}
    with pytest.raises(BusError, match=r"no alert 'nonsense' is open or was of late.*\(refused\)"):
        daemon.run("ack", "nonsense")


def test_alerts_are_muted_listed_and_unmuted(daemon: Daemon, listener: EventClient) -> None:
    assert daemon.run("mutes") == "nothing is muted\n"
    output = daemon.run("mute", "--label", "siren", "--stream", "radio-*", "--for", "2h", "--by", "ada")
    identifier = output.split()[0]
    assert "mutes label siren, stream radio-* until " in output
    assert received(listener, "moderation.mute")["state"] == "muted"
    daemon.alert()
    assert received(listener, "moderation.alert")["muted"]["id"] == identifier
    assert daemon.run("mutes") == output
    (listed,) = json.loads(daemon.run("mutes", "--json"))["mutes"]
    assert listed["id"] == identifier
    left = datetime.fromisoformat(listed["until"]) - datetime.fromisoformat(listed["at"])
    assert left.total_seconds() == pytest.approx(7200, abs=0.01)
    assert daemon.run("unmute", identifier, "--by", "bob") == f"{identifier} ended\n"
    assert received(listener, "moderation.mute")["ended_by"] == "bob"
    daemon.alert()
    assert "muted" not in received(listener, "moderation.alert")
    assert "for ever" in daemon.run("mute", "--id", ALERT, "--forever")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["mute", "--for", "2h"], "say what to mute"),
        (["mute", "--label", "siren"], "say how long"),
        (["mute", "--label", "siren", "--for", "2h", "--forever"], "say how long"),
        (["mute", "--label", "siren", "--for", "2 fortnights"], "is no span, expected e.g. 90s"),
        (["mute", "--label", "siren", "--until", "noon"], "is no time, expected e.g. 18:00"),
    ],
)
def test_wrong_usage_asks_nobody(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert text in result.output


def test_nobody_there_is_said_with_what_to_look_for() -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(BusError, match=r"no answer from tcp.* within 0\.2 s; does a daemon run there"):
            ask(f"tcp://127.0.0.1:{port}", {"op": "mutes"}, 0.2)
    with pytest.raises(BusError, match="cannot connect to nonsense"):
        ask("nonsense", {"op": "mutes"}, 0.2)
    with pytest.raises(BusError, match="expected at most 65536"):
        ask("tcp://127.0.0.1:1", {"op": "mute", "note": "x" * 70_000}, 0.2)


def test_an_answer_to_another_question_is_passed_over(daemon: Daemon) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        port = server.bind_to_random_port("tcp://127.0.0.1")

        def serve() -> None:
            peer, body = server.recv_multipart()
            token = json.loads(body)["request"]
            for header in (b"no JSON", b'{"request": "another", "ok": true}', b'{"ok": true}'):
                server.send_multipart([peer, header])
            server.send_multipart([peer, json.dumps({"request": token, "ok": True, "n": 1}).encode(), b"e1", b"e2"])

        import threading

        thread = threading.Thread(target=serve)
        thread.start()
        header, events = ask(f"tcp://127.0.0.1:{port}", {"op": "status"}, LONG_S)
        thread.join()
    assert (header["n"], events) == (1, [b"e1", b"e2"])


def test_spans_are_read() -> None:
    assert [seconds(text) for text in ("90s", "45m", "2h", "1h30m", "1 H 30 M", "3d", "1w", "1.5h")] == [
        90,
        2700,
        7200,
        5400,
        5400,
        259_200,
        604_800,
        5400,
    ]


@given(st.text(max_size=12))
def test_whatever_is_typed_is_a_span_or_refused_with_an_example(text: str) -> None:
    try:
        assert seconds(text) >= 0
    except ValueError as error:
        assert "expected e.g. 90s" in str(error)  # noqa: PT017 - either outcome is right


def test_times_are_read() -> None:
    now = datetime(2026, 1, 31, 12, 30).astimezone()
    assert moment("18:00", now) == now.replace(hour=18, minute=0)
    assert moment("12:30", now) == now.replace(month=2, day=1)
    assert moment("2026-02-03 04:05", now) == datetime(2026, 2, 3, 4, 5).astimezone()
    assert moment("2026-02-03T04:05Z", now) == datetime(2026, 2, 3, 4, 5, tzinfo=UTC)


def test_with_curve_a_key_with_control_may_and_is_named_and_any_other_may_not(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    create_server(folder)
    security = Security(folder, handshake_s=0.2)
    files = {}
    for name, domains in (("desk", ("replay", "control")), ("listener", ("publish", "replay"))):
        files[name] = tmp_path / f"{name}.toml"
        write_client_keys(files[name], make_client(folder, name, domains, ()))
    security.reload()
    security.start()
    bus = Publisher(["tcp://127.0.0.1:*"], source="/streamcls/studio", context=security.context, security=security)
    people = People(tmp_path / "people.json", bus.publish, name="studio")
    replay = ReplayServer(bus, ["tcp://127.0.0.1:*"], security=security, handlers=people.handlers())
    bus.start()
    replay.open()
    try:
        arguments = ["mute", "--label", "siren", "--forever", "--by", "ada", "--from", replay.endpoints[0], "--keys"]
        output = CliRunner().invoke(cli, [*arguments, str(files["desk"])], standalone_mode=False).output
        assert "by ada (desk)" in output
        refused = CliRunner().invoke(cli, [*arguments, str(files["listener"])], standalone_mode=False)
        assert "not_allowed" in str(refused.exception)
        with pytest.raises(BusError, match="does it want a key"):
            ask(replay.endpoints[0], {"op": "mutes"}, 0.5)
    finally:
        assert replay.close(LONG_S)
        assert bus.close(LONG_S)
        security.close()

"""The daemon's side of the bus as the configuration puts it together: who may ask for the past, and what a bad start makes of it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import zmq
from busside import LONG_S
from secured import make_client
from zmq.utils.monitor import recv_monitor_message

from streamcls.bus.keys import create_server
from streamcls.bus.reader import JournalReader
from streamcls.bus.store import JournalFile
from streamcls.config import parse_config
from streamcls.daemon.busside import BusSide
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from streamcls.bus.keys import ClientKeys

LONG_MS = round(1000 * LONG_S)
PLAIN = """
[bus]
publish = ["tcp://127.0.0.1:*"]
replay = ["tcp://127.0.0.1:*"]
[[source]]
name = "s"
type = "demo"
"""
CURVE = f"{PLAIN}[security]\ncurve = true\n"
ISOLATED = f'{PLAIN}[[subscriber]]\ntype = "console"\nisolate = true\n'
SHAKEN = zmq.EVENT_HANDSHAKE_SUCCEEDED
REFUSED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


@contextlib.contextmanager
def running(text: str, folder: Path) -> Iterator[BusSide]:
    side = BusSide(parse_config(text, "test"), folder)
    side.start()
    try:
        yield side
    finally:
        assert side.stop() == []


@contextlib.contextmanager
def asking(endpoint: str, keys: ClientKeys | None = None) -> Iterator[tuple[zmq.Socket[bytes], int]]:
    """Connect to an endpoint from outside; yields the socket and what became of the handshake."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        if keys is not None:
            keys.secure_client(socket)
        monitor = socket.get_monitor_socket(SHAKEN | REFUSED)
        socket.connect(endpoint)
        assert monitor.poll(LONG_MS)
        outcome = recv_monitor_message(monitor)["event"]
        socket.disable_monitor()
        monitor.close()
        yield socket, outcome


def answer(socket: zmq.Socket[bytes], **members: Any) -> dict[str, Any]:
    socket.send(json.dumps({"request": "1", **members}).encode())
    assert socket.poll(LONG_MS)
    header: dict[str, Any] = json.loads(socket.recv_multipart()[0])
    return header


def test_with_curve_nobody_without_a_key_may_ask_for_the_past_or_mute_an_alert(tmp_path: Path) -> None:
    create_server(tmp_path / "keys")
    known = make_client(tmp_path / "keys", "known", ["replay"])
    with running(CURVE, tmp_path) as side:
        with asking(side.replay.endpoints[0]) as (_, outcome):
            assert outcome != SHAKEN
        with asking(side.replay.endpoints[0], known) as (socket, outcome):
            assert outcome == SHAKEN
            assert answer(socket, op="since", position=0)["ok"] is True
            assert answer(socket, op="mute", labels=["x"])["error"] == "not_allowed"


def test_a_subscriber_in_a_process_of_its_own_is_told_of_an_endpoint_that_answers(tmp_path: Path) -> None:
    with running(ISOLATED, tmp_path) as side:
        (endpoint,) = side.publisher.private_replay_endpoints
        with asking(endpoint) as (socket, _):
            assert answer(socket, op="status")["ok"] is True


def test_that_nobody_answers_for_the_past_any_more_is_noticed(tmp_path: Path) -> None:
    with running(PLAIN, tmp_path) as side:
        assert side.stopped() == []
        assert side.replay.close(LONG_S)
        assert side.stopped() == ["replay"]


def test_what_was_left_open_is_closed_also_where_the_disk_is_full_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(PLAIN, tmp_path) as side:
        side.publisher.publish(Event("moderation.alert", "radio-1", {"id": "a", "phase": "opened"}))
    open_file, full = JournalFile.open, [True]

    def opened(path: Path, **settings: Any) -> JournalFile:
        if full[0]:
            raise sqlite3.OperationalError("database or disk is full")
        return open_file(path, **settings)

    monkeypatch.setattr(JournalFile, "open", opened)
    with running(PLAIN, tmp_path) as side:
        assert side.journal is not None
        assert side.journal.state == "failed"
        side.resumption().close_lost(())
        full[0] = False
    # What waited is written when it stops.
    reader = JournalReader(tmp_path / "journal.sqlite3")
    assert reader.open_findings() == []
    (_, opening), (_, closing), *_ = reader.since(0, kinds=("moderation.",)).events
    reader.close()
    assert json.loads(opening)["data"]["phase"] == "opened"
    assert json.loads(closing)["data"]["reason"] == "daemon_lost"

"""Audio is taken from keys that may send it, and from nobody else."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import click
import numpy as np
import pytest
import zmq
from click.testing import CliRunner
from secured import make_client

import streamcls_zmq
from streamcls import SourceContext, SourceError
from streamcls.bus.auth import Security
from streamcls.bus.authorised import remove_client
from streamcls.bus.keys import ClientKeys, create_server, new_pair, write_client_keys
from streamcls_zmq.config import ZmqConfig, config_problems
from streamcls_zmq.sender import DeliveryError, Sender
from streamcls_zmq.source import ZmqSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from streamcls.types import StreamItem

PATIENCE_S = 10.0


def message(stream: str, first: int = 0) -> list[bytes]:
    header = {"version": 1, "sample_rate": 16_000, "channels": 1, "encoding": "pcm_f32le", "first_sample": first}
    return [stream.encode(), json.dumps(header).encode(), np.zeros(160, "<f4").tobytes()]


@pytest.fixture
def security(tmp_path: Path) -> Iterator[Security]:
    create_server(tmp_path / "keys")
    with zmq.Context() as context:
        made = Security(tmp_path / "keys", context, watch_s=3_600, handshake_s=0.2)
        made.start()
        yield made
        made.close()


class Ingest:
    """A source that runs in a thread."""

    def __init__(self, folder: Path, security: Security | None, **settings: object) -> None:
        config = ZmqConfig.model_validate({"bind": "tcp://127.0.0.1:*", **settings})
        self.source = ZmqSource(config, SourceContext("ingest", folder, security=security))
        self.items: list[StreamItem] = []
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.until(lambda: bool(self.source.endpoints))
        (self.endpoint,) = self.source.endpoints

    def _run(self) -> None:
        for item in self.source.items(self._stop):
            self.items.append(item)

    def until(self, done: Callable[[], object]) -> None:
        waiting = threading.Event()
        for _ in range(round(PATIENCE_S / 0.005)):
            if done():
                return
            waiting.wait(0.005)
        raise AssertionError(self.source.counters)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def ingest(tmp_path: Path, security: Security) -> Iterator[Ingest]:
    made = Ingest(tmp_path, security)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_a_key_may_send_its_streams_and_no_other(ingest: Ingest, security: Security, folder: Path) -> None:
    keys = make_client(folder, "studio", ["ingest"], streams=["radio-1", "tv-*"])
    security.reload()
    with Sender(ingest.endpoint, PATIENCE_S, keys) as sender:
        for stream in ("radio-10", "radio-1", "other", "tv-7", "a/b"):
            sender.send(message(stream))
        ingest.until(lambda: ingest.source.counters["messages"] == 5)
    assert [getattr(item, "stream", "") for item in ingest.items] == ["radio-1", "tv-7"]
    assert ingest.source.counters["denied"] == 3


def test_a_key_that_is_removed_while_it_sends_is_heard_no_more(
    ingest: Ingest, security: Security, folder: Path
) -> None:
    keys = make_client(folder, "studio", ["ingest"])
    security.reload()
    with Sender(ingest.endpoint, PATIENCE_S, keys) as sender:
        sender.send(message("radio-1"))
        ingest.until(lambda: ingest.items)
        remove_client(folder, "studio")
        security.reload()
        sender.send(message("radio-1", 160))
        ingest.until(lambda: ingest.source.counters["denied"])
    assert len(ingest.items) == 1


@pytest.mark.parametrize("domains", [["publish"], ["replay", "control"]])
def test_a_key_for_another_domain_is_refused_and_the_sender_says_so(
    ingest: Ingest, security: Security, folder: Path, domains: list[str]
) -> None:
    keys = make_client(folder, "desk", domains)
    security.reload()
    with pytest.raises(DeliveryError, match="does not know these keys"), Sender(ingest.endpoint, PATIENCE_S, keys):
        pass
    assert security.counters["refused"] > 0
    assert ingest.source.counters["messages"] == 0


def test_without_keys_and_with_an_unknown_key_the_sender_is_refused(ingest: Ingest, security: Security) -> None:
    pair = new_pair()
    with pytest.raises(DeliveryError, match="give yours with --keys"), Sender(ingest.endpoint, PATIENCE_S):
        pass
    unknown = ClientKeys(security.server_key, pair.public, pair.secret)
    with pytest.raises(DeliveryError, match="does not know these keys"), Sender(ingest.endpoint, PATIENCE_S, unknown):
        pass
    assert ingest.source.counters["messages"] == 0


def test_the_command_sends_with_a_clients_file(
    ingest: Ingest, security: Security, folder: Path, tmp_path: Path
) -> None:
    @click.group()
    def cli() -> None:
        """Stand in for the command line that the plugin is given."""

    streamcls_zmq.register_commands(cli)
    file = tmp_path / "studio.client.toml"
    write_client_keys(file, make_client(folder, "studio", ["ingest"]))
    security.reload()
    arguments = ["send", "-", "--rate", "16000", "--to", ingest.endpoint, "--stream", "radio-1"]
    refused = CliRunner().invoke(cli, arguments, input=bytes(3_200))
    assert refused.exit_code == 1
    assert "--keys" in refused.output
    result = CliRunner().invoke(cli, [*arguments, "--keys", str(file)], input=bytes(3_200))
    assert result.exit_code == 0, result.output
    ingest.until(lambda: ingest.source.counters["ended"])


def test_curve_false_takes_audio_from_everybody(tmp_path: Path, security: Security) -> None:
    ingest = Ingest(tmp_path, security, curve=False)
    try:
        with Sender(ingest.endpoint, PATIENCE_S) as sender:
            sender.send(message("radio-1"))
        ingest.until(lambda: ingest.items)
    finally:
        ingest.close()


def test_curve_without_the_daemons_keys_is_an_error(tmp_path: Path) -> None:
    source = ZmqSource(ZmqConfig(bind=("tcp://127.0.0.1:*",), curve=True), SourceContext("ingest", tmp_path))
    with pytest.raises(SourceError, match=r"set curve = true in \[security\]"):
        next(iter(source.items(threading.Event())))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"bind": "tcp://0.0.0.0:5756"}, "curve = true"),
        ({"bind": "tcp://0.0.0.0:5756", "curve": False}, "not authenticated"),
        ({"bind": "tcp://0.0.0.0:5756", "curve": True}, ""),
        ({"bind": "tcp://0.0.0.0:5756", "insecure": True}, ""),
        ({"bind": "tcp://127.0.0.1:5756", "curve": True, "insecure": True}, "contradict"),
        ({"connect": "tcp://127.0.0.1:5756", "curve": True}, "no effect without bind"),
    ],
)
def test_an_address_that_others_reach_needs_curve_or_the_word_insecure(settings: dict[str, object], says: str) -> None:
    problems = " ".join(config_problems(ZmqConfig.model_validate(settings)))
    assert says in problems
    assert bool(says) == bool(problems)

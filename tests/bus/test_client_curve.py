"""The client where the daemon wants keys, and shows some clients only some kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from busside import LONG_S, event
from replayside import daemon
from secured import make_client

from streamcls.bus import EventClient, Received
from streamcls.bus.auth import Security
from streamcls.bus.keys import create_server

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kinds", [(), ("genre.segment",)], ids=["all kinds", "one kind"])
def test_what_a_client_may_not_see_is_neither_delivered_nor_called_lost(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """The heartbeats count alerts too, of which nothing ever comes."""
    create_server(tmp_path / "keys")
    keys = make_client(tmp_path / "keys", "desk", ("publish", "replay"), ("genre.*", "daemon.heartbeat"))
    security = Security(tmp_path / "keys", watch_s=3_600)
    security.start()
    try:
        with daemon(tmp_path, context=security.context, security=security) as running:
            for number in range(3):
                running.bus.publish(event(number, "genre.segment"))
                running.bus.publish(event(number, "moderation.alert"))
            with EventClient(running.endpoint, kinds=kinds, begin="first", curve=keys) as client:
                numbers: list[int] = []
                for number in range(3, 6):
                    while len(numbers) < number:
                        item = client.next(LONG_S)
                        assert isinstance(item, Received), item
                        if item.topic.startswith("genre."):
                            numbers.append(item.envelope["data"]["number"])
                    running.bus.publish(event(number, "genre.segment"))
                    running.bus.publish(event(number, "moderation.alert"))
                    running.bus.publish(event(number, "moderation.window"))
                    running.heartbeat()
                while (item := client.next(0.3)) is not None:
                    assert isinstance(item, Received), item
                    assert "moderation" not in item.topic
                    numbers += [item.envelope["data"]["number"]] if item.topic.startswith("genre.") else []
                assert numbers == list(range(6))
                assert client.losses == 0
    finally:
        security.close()

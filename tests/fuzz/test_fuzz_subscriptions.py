"""Whatever two subscribers subscribe to and cancel, in whatever order, each gets exactly what it asked for and may see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from secured import Bus, ask, cancel, make_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamcls.bus.keys import ClientKeys

TOPICS = (
    "genre.window/radio-1",
    "genre.segment/radio-1",
    "genre.segment/radio-10",
    "genre.segment/tv",
    "moderation.alert/radio-1",
    "moderation.alert/radio-10",
    "stream.status/radio-1",
    "daemon.heartbeat/studio",
)
PERMITTED = (("genre.", "stream.status"), ("moderation.alert/radio-1/", "genre.segment/radio-1/"))
"""Beginnings of topics that belong to the two clients below."""
ASKED = st.sampled_from(
    [
        "",
        "g",
        "genre.",
        "genre.segment/",
        "genre.segment/radio-1",
        "genre.segment/radio-1/",
        "genre.window/radio-1/",
        "m",
        "moderation.alert/radio-10",
        "stream.status/radio-1/x",
        "daemon.",
        "_sync/",
        "\0",
        "é",
    ]
)
STEPS = st.lists(st.tuples(st.integers(0, 1), st.booleans(), ASKED), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def admitting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bus, list[ClientKeys]]]:
    bus = Bus(tmp_path_factory.mktemp("subscriptions") / "keys")
    keys = [
        make_client(bus.folder, "music", kinds=["genre.*", "stream.status"]),
        make_client(bus.folder, "one", kinds=["moderation.alert", "genre.segment"], streams=["radio-1"]),
    ]
    bus.security.reload()
    yield bus, keys
    bus.close()


@given(STEPS)
@settings(deadline=None, max_examples=60)
def test_each_gets_what_it_asked_for_and_may_see(
    admitting: tuple[Bus, list[ClientKeys]], steps: list[tuple[int, bool, str]]
) -> None:
    bus, keys = admitting
    clients = [bus.connect(one, zmq.XSUB) for one in keys]  # a SUB socket would filter what it is sent too much
    asked: list[set[str]] = [set(), set()]
    for client in clients:
        bus.subscribe(client)
    for who, cancels, prefix in steps:
        if not cancels and prefix not in asked[who]:
            ask(clients[who], prefix)
            asked[who].add(prefix)
        elif cancels and prefix in asked[who]:
            cancel(clients[who], prefix)
            asked[who].remove(prefix)
        for client in clients:
            bus.settle(client)
        bus.publish(*TOPICS)
        for client, prefixes, permitted in zip(clients, asked, PERMITTED, strict=True):
            sent = [f"{topic}/" for topic in TOPICS]
            wanted = [topic for topic in sent if topic.startswith(tuple(prefixes)) and topic.startswith(permitted)]
            assert [topic.decode() for topic in bus.settle(client)] == wanted
    for client in clients:
        client.close()
    bus.clients.clear()
    bus.serve(5)


@given(st.lists(st.binary(max_size=40).map(lambda body: [b"\x01" + body]), max_size=30))
@settings(deadline=None, max_examples=40)
def test_any_bytes_as_a_subscription_give_nothing_that_is_not_permitted(
    admitting: tuple[Bus, list[ClientKeys]], requests: list[list[bytes]]
) -> None:
    bus, keys = admitting
    client = bus.connect(keys[0])
    bus.subscribe(client)
    for (request,) in requests:
        client.subscribe(request[1:])
    bus.settle(client)
    bus.publish(*TOPICS)
    assert all(topic.startswith((b"genre.", b"stream.status/")) for topic in bus.settle(client))
    client.close()
    bus.clients.clear()
    bus.serve(5)

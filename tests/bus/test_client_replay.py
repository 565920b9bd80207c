"""The client against a real publisher with a journal and a replay server, over TCP and within the process."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
import zmq
from busside import LONG_S, event
from replayside import Daemon, Network, daemon

from streamcls.bus import AsyncEventClient, Cursor, EventClient, Loss, Publisher, Received
from streamcls.bus.client import LossReason, Patience
from streamcls.bus.publisher import IN_PROCESS

if TYPE_CHECKING:
    from pathlib import Path

ALERT = "moderation.alert"


def number_of(item: object) -> int:
    assert isinstance(item, Received), item
    return int(item.envelope["data"]["number"])


def take(client: EventClient, count: int, beating: Daemon | None = None) -> list[int]:
    """Take the next events; a daemon that beats does so until they are there, as a real one would."""
    numbers: list[int] = []
    while len(numbers) < count:
        item = None
        for _ in range(int(LONG_S)):
            if beating is not None:
                beating.heartbeat()
            if (item := client.next(1.0)) is not None:
                break
        assert item is not None, f"nothing came after {numbers}"
        numbers.append(number_of(item))
    return numbers


@pytest.mark.parametrize("local", [False, True], ids=["tcp", "inproc"])
def test_a_subscriber_that_was_too_slow_gets_the_rest_out_of_the_journal(tmp_path: Path, *, local: bool) -> None:
    count = 5_000
    with daemon(tmp_path, high_water_mark=50) as running:
        endpoint, context = (IN_PROCESS, running.bus.context) if local else (running.endpoint, None)
        with EventClient(endpoint, context=context, kinds=[ALERT], high_water_mark=50, name="slow") as client:
            assert list(client.synchronise(LONG_S)) == []
            for number in range(count):
                running.bus.publish(event(number, ALERT, filler="x" * 1_000))
            running.heartbeat()
            running.heartbeat()
            received = take(client, 50)  # it begins only now
            beat = threading.Event()

            def go_on() -> None:
                while not beat.wait(0.05):
                    running.heartbeat()

            thread = threading.Thread(target=go_on)
            thread.start()
            try:
                received += take(client, count - 50)
            finally:
                beat.set()
                thread.join()
            assert received == list(range(count))
            assert (client.missed, client.losses) == (0, 0)
            assert client.replayed > count / 2
            assert running.replay.clients()["slow"]["missed"] > 0, "the daemon was told"


def test_a_subscriber_lives_through_restarts_of_the_daemon_and_misses_nothing(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        endpoint = running.endpoint
    numbers: list[int] = []
    with EventClient(endpoint, kinds=[ALERT], begin="first", patience=Patience(silence_s=0.5)) as client:
        for start in range(4):
            with daemon(tmp_path, endpoint) as running:
                for number in range(3):  # before the client can be connected again
                    running.bus.publish(event(10 * start + number, ALERT))
                numbers += take(client, 3, running)
                running.bus.publish(event(10 * start + 3, ALERT))
                numbers += take(client, 1)
        assert numbers == [10 * start + number for start in range(4) for number in range(4)]
        assert client.losses == 0


def test_windows_cannot_be_had_again_and_that_is_said(tmp_path: Path) -> None:
    with (
        daemon(tmp_path, high_water_mark=10) as running,
        EventClient(running.endpoint, kinds=["genre.window"], high_water_mark=10) as client,
    ):
        assert list(client.synchronise(LONG_S)) == []
        for number in range(5_000):
            running.bus.publish(event(number, filler="x" * 1_000))
        arrived = lost = 0
        while arrived + lost < 5_000:
            running.heartbeat()
            item = client.next(0.05)
            if isinstance(item, Loss):
                assert (item.reason, item.topic) == (LossReason.NOT_JOURNALED, "genre.window/radio-1")
                lost += item.count or 0
            arrived += isinstance(item, Received)
        assert (client.missed, arrived + lost) == (lost, 5_000)
        assert lost > 1_000


def test_what_is_open_comes_first_and_then_what_follows(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        running.bus.publish(event(1, ALERT, id="a", phase="opened"))
        running.bus.publish(event(2, ALERT, id="b", phase="opened"))
        running.bus.publish(event(3, ALERT, id="a", phase="closed"))
        with EventClient(running.endpoint, begin="snapshot") as client:
            item = client.next(LONG_S)
            assert isinstance(item, Received)
            assert (number_of(item), item.snapshot) == (2, True)
            running.bus.publish(event(4, ALERT, id="b", phase="closed"))
            item = client.next(LONG_S)
            assert isinstance(item, Received)
            assert (number_of(item), item.snapshot) == (4, False)


def test_a_cursor_goes_on_where_it_was_and_what_was_not_handled_comes_again(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        for number in range(5):
            running.bus.publish(event(number, ALERT))
        cursor = Cursor(tmp_path / "cursors", "archive")
        with EventClient(running.endpoint, cursor=cursor, begin="first") as client:
            assert take(client, 3) == [0, 1, 2]  # 2 has been delivered, and not handled
        with EventClient(running.endpoint, cursor=Cursor(tmp_path / "cursors", "archive")) as client:
            assert take(client, 2) == [2, 3]
            client.commit()
        running.bus.publish(event(5, ALERT))
        with EventClient(running.endpoint, cursor=Cursor(tmp_path / "cursors", "archive")) as client:
            assert take(client, 2) == [4, 5]
            client.commit()
            assert client.next(0.1) is None
            running.bus.publish(event(6, ALERT))
            assert take(client, 1) == [6]


def test_a_cursor_of_a_journal_that_was_replaced_reports_that_and_takes_the_new_one_from_its_beginning(
    tmp_path: Path,
) -> None:
    cursors = tmp_path / "cursors"
    with daemon(tmp_path / "one") as running:
        running.bus.publish(event(1, ALERT))
        with EventClient(running.endpoint, cursor=Cursor(cursors, "c"), begin="first") as client:
            assert take(client, 1) == [1]
            client.commit()
    with daemon(tmp_path / "two") as running:
        running.bus.publish(event(2, ALERT))
        with EventClient(running.endpoint, cursor=Cursor(cursors, "c")) as client:
            item = client.next(LONG_S)
            assert isinstance(item, Loss)
            assert item.reason is LossReason.JOURNAL_CHANGED
            assert take(client, 1) == [2]


def test_without_a_journal_a_hole_is_a_loss(tmp_path: Path) -> None:
    bus = Publisher(["tcp://127.0.0.1:*"], source="/streamcls/test")
    bus.start()
    try:
        with EventClient(bus.endpoints[0], begin="snapshot") as client:
            item = client.next(LONG_S)
            assert isinstance(item, Loss)
            assert item.reason is LossReason.NO_REPLAY
            bus.publish(event(7, ALERT))
            assert take(client, 1) == [7]
    finally:
        assert bus.close(LONG_S)


def test_a_replay_endpoint_that_nobody_answers_is_given_up_and_said(tmp_path: Path) -> None:
    with daemon(tmp_path) as running, zmq.Context() as context, context.socket(zmq.ROUTER) as mute:
        mute.bind("tcp://127.0.0.1:*")
        running.bus.replay_endpoints = lambda: [mute.last_endpoint.decode().rstrip("\0")]
        running.bus.publish(event(1, ALERT))
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(0.02):
                running.heartbeat()

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            patience = Patience(reply_s=0.1)
            with EventClient(running.endpoint, kinds=[ALERT], begin="first", patience=patience) as client:
                item = client.next(LONG_S)
                assert isinstance(item, Loss)
                assert item.reason is LossReason.NO_REPLAY
                running.bus.publish(event(2, ALERT))
                assert take(client, 1) == [2]
        finally:
            stop.set()
            thread.join()
            mute.close(linger=0)


def test_a_publisher_that_has_fallen_silent_is_connected_to_anew(tmp_path: Path) -> None:
    with zmq.Context() as context, daemon(tmp_path) as running:
        network = Network(context, running.endpoint)
        network.start()
        try:
            with EventClient(network.endpoint, kinds=[ALERT], patience=Patience(silence_s=0.3, echo_s=0.2)) as client:
                assert list(client.synchronise(LONG_S)) == []
                running.heartbeat()
                running.bus.publish(event(1, ALERT))
                assert take(client, 1) == [1]
                network.gone.set()
                running.bus.publish(event(2, ALERT))
                assert client.next(0.5) is None
                assert network.swallowed
                network.gone.clear()
                assert take(client, 1) == [2]
                assert client.losses == 0
        finally:
            network.halt.set()
            network.join(LONG_S)


def test_the_client_for_asyncio_does_the_same(tmp_path: Path) -> None:
    async def story(running: Daemon) -> None:
        cursor = Cursor(tmp_path / "cursors", "async")
        async with AsyncEventClient(running.endpoint, kinds=[ALERT], cursor=cursor, begin="first") as client:
            assert [e async for e in client.synchronise(LONG_S)] == []
        numbers = []
        async with AsyncEventClient(running.endpoint, kinds=[ALERT], cursor=cursor, begin="first") as client:
            async for item in client:
                numbers.append(number_of(item))
                if len(numbers) == 2:
                    running.bus.publish(event(2, ALERT))
                if len(numbers) == 3:
                    break
            assert numbers == [0, 1, 2]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.receive(LONG_S), 0.05)
            running.bus.publish(event(3, ALERT))
            envelope = await client.receive(LONG_S)
            assert envelope is not None
            assert envelope["data"]["number"] == 3
            await client.commit()
            assert (client.missed, client.losses, client.malformed) == (0, 0, 0)

    with daemon(tmp_path) as running:
        for number in range(2):
            running.bus.publish(event(number, ALERT))
        asyncio.run(story(running))

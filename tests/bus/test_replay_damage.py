"""What those who ask for the past may meet, and may do to the daemon: a damaged file, a flood of reports."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from busside import LONG_S, event
from replayside import daemon

from streamcls.bus import Cursor, EventClient
from streamcls.bus.client import Loss, Patience, Received
from streamcls.bus.request import ask

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PAGE = 4096
PATIENCE = Patience(silence_s=10 * LONG_S)


def spoil(path: Path, text: bytes) -> None:
    """Overwrite the page of the file in which something stands."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:
        at = file.read().index(text)
        file.seek(at - at % PAGE)
        file.write(b"\xa5" * PAGE)


def test_damage_that_only_a_reader_meets_has_the_file_set_aside_and_subscribers_go_on(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        for number in range(2_000):
            running.bus.publish(event(number, "moderation.alert"))
        with EventClient(running.endpoint, begin="now") as first:
            list(first.synchronise(LONG_S))
        spoil(running.journal.path, b'"number":700}')
        cursor = Cursor(tmp_path, "me")  # with one, a subscriber asks until it is answered
        with EventClient(
            running.endpoint, cursor=cursor, kinds=("moderation.",), begin="first", patience=PATIENCE
        ) as subscriber:
            delivered, losses = [], []
            for _ in range(3_000):
                item = subscriber.next(0.2)
                if isinstance(item, Received):
                    delivered.append(item.envelope["data"]["number"])
                    if delivered[-1] == -1:
                        break
                elif isinstance(item, Loss):
                    losses.append(item)
                    running.bus.publish(event(-1, "moderation.alert"))
                else:
                    running.heartbeat()  # the bus has something to do now and then
        assert sum(loss.count or 0 for loss in losses) == 2_000 - len(delivered) + delivered.count(-1)
        assert delivered == [*range(len(delivered) - 1), -1]
        assert running.journal.set_aside == 1
        assert running.journal.position > 2_000


def test_a_client_that_reports_losses_without_end_does_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with daemon(tmp_path) as running:
        for _ in range(50):
            ask(running.replay.endpoints[0], {"op": "status", "missed": {"a/b": 2}, "client": "me"}, LONG_S)
        assert running.replay.clients() == {"me": {"requests": 50, "missed": 100}}
    assert caplog.text.count("did not reach it") == 1

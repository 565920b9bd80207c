"""A journal that nobody can read: what is published is delivered all the same, and once."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from busside import LONG_S, event, plain_subscriber
from journaling import journaled

from streamcls.bus import Cursor, EventClient
from streamcls.bus.client import Patience, Received

if TYPE_CHECKING:
    from streamcls.bus.client import Item

KIND = "moderation.alert"


def numbers(items: list[Item]) -> list[int]:
    return [item.envelope["data"]["number"] for item in items if isinstance(item, Received)]


def test_an_alert_does_not_wait_for_a_disk(tmp_path: Path) -> None:
    store, aside = tmp_path / "journal.sqlite3", tmp_path / "aside"
    with journaled(tmp_path) as bus:
        bus.publish(event(0, KIND))
        with plain_subscriber(bus.endpoints[0]):  # its echoes follow what was published
            pass
        patience = Patience(hold_s=0.3, reply_s=0.2, silence_s=10 * LONG_S)
        cursor = Cursor(tmp_path / "cursors", "me")
        client = EventClient(bus.endpoints[0], kinds=(KIND,), cursor=cursor, begin="first", patience=patience)
        # Readers come to the file by its name; the writer has it open, and is not to look after it now.
        assert bus.journal is not None
        bus.journal._trim_at = time.monotonic() + 1000 * LONG_S
        for suffix in ("", "-wal", "-shm"):
            (store.parent / f"{store.name}{suffix}").rename(f"{aside}{suffix}")
        with client:
            items: list[Item] = []
            pause = threading.Event()
            for number in range(1, 200):
                bus.publish(event(number, KIND))
                while (item := client.next(0.02)) is not None:
                    items.append(item)
                if len(items) > 3:
                    break
                pause.wait(0.02)
            published = number
            assert len(items) > 3, "nothing came while the past could not be had"
            assert cursor.position is None or cursor.position == 0, "the place does not move by it"
            for suffix in ("-shm", "-wal", ""):
                Path(f"{aside}{suffix}").rename(store.parent / f"{store.name}{suffix}")
            while sorted(numbers(items)) != list(range(published + 1)):
                item = client.next(LONG_S)
                assert item is not None, f"only {sorted(numbers(items))}"
                items.append(item)
            assert len(numbers(items)) == len(set(numbers(items))), "none twice"
            client.next(0.2)
            client.commit()
        assert cursor.position == published + 1


def test_what_came_while_the_disk_was_full_does_not_come_again(tmp_path: Path) -> None:
    with (
        journaled(tmp_path) as bus,
        EventClient(bus.endpoints[0], begin="first", cursor=Cursor(tmp_path, "me")) as client,
    ):
        list(client.synchronise(LONG_S))
        journal = bus.journal
        assert journal is not None
        assert journal._file is not None
        pages = journal._file.connection.execute("PRAGMA page_count").fetchone()[0]
        journal._file.connection.execute(f"PRAGMA max_page_count = {pages}")  # what a full disk looks like to SQLite
        received: list[Item] = []
        number, pause = 0, threading.Event()
        while journal.state == "ok":
            bus.publish(event(number, KIND, text="x" * 2000))
            number += 1
            pause.wait(0.01)
        while journal.state != "ok":
            bus.publish(event(number, KIND))
            number += 1
            pause.wait(0.05)
        bus.publish(event(number, KIND))
        while len(received) <= number:
            item = client.next(LONG_S)
            assert item is not None
            if isinstance(item, Received) and item.topic.startswith(KIND):
                received.append(item)
        assert sorted(numbers(received)) == list(range(number + 1))
        assert any("position" not in item.envelope for item in received if isinstance(item, Received))

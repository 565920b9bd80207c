"""A daemon whose disk was full when it started, and its subscribers once there is room."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Any

from busside import LONG_S, event
from replayside import daemon

from streamcls.bus import Cursor, EventClient
from streamcls.bus.client import Patience
from streamcls.bus.store import JournalFile

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_subscriber_keeps_its_place_as_soon_as_there_is_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file, full = JournalFile.open, [True]

    def open_when_there_is_room(path: Path, **settings: Any) -> JournalFile:
        if full[0]:
            raise sqlite3.OperationalError("database or disk is full")
        return open_file(path, **settings)

    monkeypatch.setattr(JournalFile, "open", open_when_there_is_room)
    with (
        daemon(tmp_path) as running,
        EventClient(
            running.endpoint,
            kinds=("moderation.",),
            cursor=Cursor(tmp_path, "me"),
            begin="first",
            patience=Patience(silence_s=10 * LONG_S),
        ) as subscriber,
    ):
        list(subscriber.synchronise(LONG_S))
        running.bus.publish(event(1, "moderation.alert"))
        running.heartbeat()
        first = subscriber.receive(LONG_S)
        assert first is not None
        full[0] = False
        waiting = threading.Event()
        while running.journal.state != "ok":
            waiting.wait(0.001)
        again = None
        for _ in range(
            int(LONG_S)
        ):  # as a daemon beats on: who asks between the journal and its reader has no answer yet
            running.heartbeat()
            if (again := subscriber.receive(1.0)) is not None:
                break
        assert again is not None
        assert (again["id"], "position" in again) == (first["id"], True)
        subscriber.commit()
        assert subscriber.cursor is not None
        assert subscriber.cursor.position is not None
        assert subscriber.cursor.position >= 1

"""A publisher with a journal and answers for the past, as the daemon puts them together."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from busside import LONG_S

from streamcls.bus import Publisher
from streamcls.bus.journal import Journal
from streamcls.bus.replay import IN_PROCESS_REPLAY, ReplayServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["journaled"]


@contextlib.contextmanager
def journaled(folder: Path) -> Iterator[Publisher]:
    """Run one that answers in this process and on a free port of the loopback device."""
    bus = Publisher(
        ["tcp://127.0.0.1:*"], source="/streamcls/test", journal=Journal(folder / "journal.sqlite3", power=False)
    )
    replay = ReplayServer(bus, ["tcp://127.0.0.1:*"])
    bus.replay_endpoints = lambda: replay.endpoints
    bus.private_replay_endpoints = (IN_PROCESS_REPLAY,)
    bus.start()
    replay.open()
    try:
        yield bus
    finally:
        assert replay.close(LONG_S)
        assert bus.close(LONG_S)

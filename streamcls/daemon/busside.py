"""The daemon's side of the bus: journal, publisher, answers for the past, and what people said of alerts."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus.auth import Security
from streamcls.bus.journal import Journal
from streamcls.bus.publisher import Publisher
from streamcls.bus.reader import JournalReader
from streamcls.bus.replay import IN_PROCESS_REPLAY, ReplayServer
from streamcls.config.resolve import expanded
from streamcls.runtime.board import Board
from streamcls.runtime.resume import Resumption
from streamcls.service.people import People

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamcls.config import Settings
    from streamcls.types import Checkpoint, Event

__all__ = ["BusSide", "keys_folder"]

_log = logging.getLogger("streamcls.daemon")

_JOURNAL: Final = "journal.sqlite3"
_PEOPLE: Final = "people.json"
_KEYS: Final = "keys"
_STOP_S: Final = 0.5


class BusSide:
    """Everything behind the workers, put together as the configuration says.

    Attributes
    ----------
    board
        What is open on each stream, as the events say.
    private_endpoint
        Where subscribers in processes of their own connect; empty where there are none.
    """

    def __init__(self, settings: Settings, state_dir: Path, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        kept = settings.journal
        self.journal = None
        if kept.enabled:
            self.journal = Journal(
                state_dir / _JOURNAL,
                power=kept.durability == "power",
                windows=kept.windows,
                max_mb=kept.max_mb,
                max_age_days=kept.max_age_days,
            )
        self._folder = _private_folder() if any(entry.isolate for entry in settings.subscriber) else None
        publish = [f"ipc://{self._folder}/events"] if self._folder is not None else []
        ask = [f"ipc://{self._folder}/replay"] if self._folder is not None else []
        self.private_endpoint = publish[0] if publish else ""
        self.security = Security(keys_folder(settings, state_dir)) if settings.security.curve else None
        self.publisher = Publisher(
            settings.bus.publish,
            source=f"/streamcls/{settings.daemon.name}",
            high_water_mark=settings.bus.high_water_mark,
            journal=self.journal,
            clock=clock,
            private=publish,
            context=self.security.context if self.security is not None else None,
            security=self.security,
        )
        self.people = People(
            state_dir / _PEOPLE,
            self.publisher.publish,
            name=settings.daemon.name,
            silence=settings.silence,
            known=self._stream_of,
            clock=clock,
        )
        self.replay = ReplayServer(
            self.publisher,
            settings.bus.replay_endpoints,
            security=self.security,
            handlers=self.people.handlers(),
            private=ask,
        )
        self.board = Board()
        self.publisher.annotate = self._annotated
        self.publisher.replay_endpoints = lambda: self.replay.endpoints
        self.publisher.private_replay_endpoints = ask or (IN_PROCESS_REPLAY,)

    def start(self) -> None:
        """Bind, open the journal, and begin. Raises BusError where an endpoint or the journal is another daemon's."""
        if self.security is not None:
            self.security.on_change(lambda _: self._renew())
            self.security.start()
        self.publisher.start()
        self.replay.open()

    def tick(self) -> None:
        """Do what is due now and then."""
        self.people.tick()

    def facts(self) -> dict[str, Any]:
        """Return what a heartbeat says of all this."""
        facts: dict[str, Any] = {"clients": self.replay.clients()}
        if self.journal is not None:
            facts["journal"] = self.journal.facts()
        if self.security is not None:
            facts["security"] = {"alive": self.security.alive, **self.security.counters}
        return facts

    def stopped(self) -> list[str]:
        """Return the names of what has stopped by itself."""
        return [
            name for name, runs in (("the bus", self.publisher.alive), ("replay", self.replay.is_alive())) if not runs
        ]

    def resumption(self) -> Resumption:
        """Return what the daemon before this one left behind, as the journal shows it."""
        checkpoints: dict[str, Checkpoint] = {}
        findings: list[dict[str, Any]] = []
        states: list[dict[str, Any]] = []
        if self.journal is not None and self.journal.path.exists():  # a full disk can be read
            try:
                reader = JournalReader(self.journal.path)
                try:
                    checkpoints = reader.checkpoints()
                    findings = _decoded(reader.open_findings())
                    states = _decoded(reader.stream_states())
                finally:
                    reader.close()
            except sqlite3.Error as error:
                _log.error("%s: what was left open before this start cannot be read: %s", self.journal.path, error)
        for finding in findings:
            self.board.restore(finding)
        return Resumption(
            checkpoints, findings, states, self.publisher.publish_all, resume_s=self._settings.journal.resume_s
        )

    def stop(self) -> list[str]:
        """Stop in the reverse order; return the names of what did not stop in time."""
        late = [] if self.replay.close(_STOP_S) else ["replay"]
        late += [] if self.publisher.close(_STOP_S) else ["the bus"]
        if self.security is not None:
            self.security.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        return late

    def _renew(self) -> None:
        """End the connections of keys that lost something: all are closed, and those that may come back."""
        self.publisher.renew()
        self.replay.renew()

    def _annotated(self, event: Event) -> Event:
        """Mark an event with what people said of it, and note what it tells; in the bus thread."""
        event = self.people.annotate(event)
        self.board.take(event)
        return event

    def _stream_of(self, identifier: str) -> str | None:
        return self.journal.open_stream(identifier) if self.journal is not None else None


def keys_folder(settings: Settings, state_dir: Path) -> Path:
    """Return the folder of the daemon's own key and of those that it admits."""
    return expanded(settings.security.keys) if settings.security.keys else state_dir / _KEYS


def _private_folder() -> Path:
    """Make a folder that only this user may enter, short enough for the name of a socket."""
    return Path(tempfile.mkdtemp(prefix="streamcls-", dir=os.environ.get("RUNTIME_DIRECTORY") or None))


def _decoded(rows: Iterable[tuple[int, bytes]]) -> list[dict[str, Any]]:
    """Return envelopes; one that is damaged is left out."""
    found = []
    for _, body in rows:
        try:
            envelope = json.loads(body)
        except ValueError:
            _log.error("the journal holds an event that is no JSON; what it told of is not known any more")
            continue
        found.append(envelope)
    return found

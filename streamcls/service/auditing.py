"""Feeds the audit log from the bus, in a thread of its own that gives no event up."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from streamcls.bus import Cursor, EventClient
from streamcls.errors import BusError, StreamclsError
from streamcls.runtime.complaints import Complaints

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamcls.bus import Envelope
    from streamcls.service.audit import AuditLog

__all__ = ["AuditThread"]

_log = logging.getLogger("streamcls.audit")

_NAME: Final = "audit"
_POLL_S: Final = 0.2
_SYNCHRONISE_S: Final = 5.0
_COMMIT_S: Final = 1.0
_PAUSE_S: Final = 1.0
"""Between two attempts to write a record."""


class AuditThread(threading.Thread):
    """Records event after event. Where the log cannot be written it waits, and goes on with the same event; the journal keeps the rest.

    ``ready`` is set once no event can be missed any more, or where the bus is in trouble. What was lost all the same, because the
    journal no longer had it, is recorded as such.

    Parameters
    ----------
    endpoint, context
        Of the bus in this process.
    cursors
        Folder for its place in the journal; None: it begins with what is published now.
    kinds
        Kinds, or their beginnings, that may be of interest; empty: all.
    """

    def __init__(
        self, log: AuditLog, endpoint: str, context: Any, *, cursors: Path | None = None, kinds: Sequence[str] = ()
    ) -> None:
        super().__init__(name="audit", daemon=True)
        self.ready = threading.Event()
        self._audit = log
        self._connection: dict[str, Any] = {"endpoint": endpoint, "context": context, "kinds": tuple(kinds)}
        self._cursors = cursors
        self._missed = 0
        self._next_commit = 0.0
        self._finishing = threading.Event()
        self._deadline = math.inf
        self._complaints = Complaints(_log.error)

    def configure(self, digest: str) -> None:
        """State another configuration in the records to come."""
        self._audit.configuration = digest

    def finish(self, drain_s: float) -> None:
        """Ask it to record what was published so far, for at most ``drain_s`` seconds, and to end."""
        self._deadline = time.monotonic() + drain_s
        self._finishing.set()

    def facts(self) -> dict[str, Any]:
        """Return what a heartbeat says of it; may be called from any thread."""
        return self._audit.facts()

    def run(self) -> None:
        """Record until finished."""
        try:
            self._open_log()
            client = self._connected()
            if client is not None:
                try:
                    self._follow(client)
                finally:
                    client.close()
        except BusError as error:
            _log.log(logging.INFO if self._finishing.is_set() else logging.ERROR, "the audit log ends: %s", error)
        finally:
            self.ready.set()
            self._audit.close()

    def _open_log(self) -> None:
        """Show at once, and not only with the first alert, that the log cannot be written."""
        try:
            self._audit.open()
        except StreamclsError as error:
            self._complaints.complain(f"{error}; what is to be recorded waits")

    def _connected(self) -> EventClient | None:
        """Connect, with its place in the journal where that can be kept; None where it was asked to end before."""
        while not self._finishing.is_set():
            try:
                # Saved from here only, once a record is on the disk.
                cursor = None
                if self._cursors is not None:
                    cursor = Cursor(self._cursors, _NAME, every_s=math.inf, every_events=sys.maxsize)
                client = EventClient(**self._connection, name=_NAME, cursor=cursor)
                client.connect()
            except BusError as error:
                self._complaints.complain(f"the audit log cannot follow the bus: {error}")
                self.ready.set()
                self._finishing.wait(_PAUSE_S)
            else:
                return client
        return None

    def _follow(self, client: EventClient) -> None:
        try:
            for event in client.synchronise(_SYNCHRONISE_S):
                self._record(client, event)
        except BusError as error:
            _log.info("the audit log has more to catch up with: %s", error)
        self.ready.set()
        while not self._finishing.is_set():
            received = client.receive(_POLL_S)
            if received is not None:
                self._record(client, received)
            elif time.monotonic() >= self._next_commit:
                self._commit(client)
        try:
            for event in client.synchronise(max(0.0, self._deadline - time.monotonic())):
                self._record(client, event)
        except BusError as error:
            _log.warning(
                "not all that was published has been recorded before the stop, the rest is after the next start: %s",
                error,
            )
        else:
            self._commit(client)

    def _record(self, client: EventClient, event: Envelope) -> None:
        """Record an event, however long that takes; raises BusError where it is asked to end before."""
        while True:
            try:
                if client.missed > self._missed:
                    self._audit.note("missed", events=client.missed - self._missed)
                    self._missed = client.missed
                self._audit.handle(event)
            except StreamclsError as error:
                self._complaints.complain(f"{error}; it is tried again, and what follows waits in the journal")
            else:
                self._complaints.recovered("the audit log is written again")
                if time.monotonic() >= self._next_commit:
                    self._commit(client)
                return
            if self._finishing.wait(_PAUSE_S):
                raise BusError("the audit log cannot be written; what is not in it comes again after the next start")

    def _commit(self, client: EventClient) -> None:
        """Save the place in the journal; where that fails, some events come again, and are recognised."""
        self._next_commit = time.monotonic() + _COMMIT_S
        try:
            client.commit()
        except BusError as error:
            self._complaints.complain(f"the place of the audit log in the journal cannot be saved: {error}")

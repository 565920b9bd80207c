"""The synchronous client."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from streamcls.bus.client.items import Begin, Item, Received
from streamcls.bus.client.session import Session, Sync
from streamcls.bus.client.settings import Patience, Wish
from streamcls.errors import BusError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    import zmq

    from streamcls.bus.client.cursor import Cursor
    from streamcls.bus.keys import ClientKeys
    from streamcls.bus.wire import Envelope

__all__ = ["EventClient"]

_POLL_S: Final = 0.2


@dataclass(slots=True)
class EventClient:
    """Subscribes to a publisher, and gets what it missed from the daemon's journal. Made and used by one thread.

    Attributes
    ----------
    endpoint
        E.g. ``tcp://127.0.0.1:5757``.
    kinds
        Kinds or beginnings of kinds, e.g. ``moderation`` or ``genre.segment``; empty for all.
    streams
        Stream names or shell patterns; empty for all.
    context
        The publisher's context where it is in the same process.
    high_water_mark
        Most messages that wait here for the application.
    name
        What the subscriber calls itself to the daemon, which counts by it what did not arrive.
    cursor
        Where it was, kept on disk; None: it begins anew each time.
    begin
        Where to begin without a cursor, or with a new one: with what is published from now on, with what is open now, or with the first
        event that the journal keeps.
    replay
        Whether to ask the daemon for what is missing.
    curve
        Its keys, where the daemon wants some; :func:`streamcls.bus.keys.load_client_keys` reads them.
    patience
        How long to wait for what.
    """

    endpoint: str
    kinds: Sequence[str] = ()
    streams: Sequence[str] = ()
    context: zmq.Context[zmq.Socket[bytes]] | None = None
    high_water_mark: int = 100_000
    name: str = ""
    cursor: Cursor | None = None
    begin: Begin = "now"
    replay: bool = True
    curve: ClientKeys | None = None
    patience: Patience = field(default_factory=Patience)
    _session: Session | None = None
    _totals: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def missed(self) -> int:
        """Events that were asked for, published and lost for good, as far as they could be counted, since the client was made."""
        return self._totals[0] + (self._session.core.progress.missed if self._session else 0)

    @property
    def losses(self) -> int:
        """Losses that were delivered, or passed over by ``receive``."""
        return self._totals[1] + (self._session.core.progress.losses if self._session else 0)

    @property
    def malformed(self) -> int:
        """Messages that arrived and were no events, and were dropped."""
        return self._totals[2] + (self._session.core.malformed if self._session else 0)

    @property
    def replayed(self) -> int:
        """Events that came out of the daemon's journal."""
        return self._totals[3] + (self._session.core.progress.replayed if self._session else 0)

    def connect(self) -> None:
        """Connect and subscribe. A publisher that is not there yet is waited for by ZeroMQ.

        Raises
        ------
        BusError
            The endpoint is malformed, or another process uses the cursor.
        """
        if self._session is not None:
            return
        wish = Wish(
            self.endpoint,
            tuple(self.kinds),
            tuple(self.streams),
            name=self.name,
            begin=self.begin,
            replay=self.replay,
            restricted=self.curve is not None,
            durable=self.cursor is not None,
            patience=self.patience,
        )
        self._session = Session(
            wish,
            context=self.context,
            high_water_mark=self.high_water_mark,
            cursor=self.cursor,
            curve=self.curve,
        )

    def close(self) -> None:
        """Disconnect, and save the cursor. What was delivered last counts as handled only where ``commit`` said so."""
        if self._session is not None:
            self._totals = (self.missed, self.losses, self.malformed, self.replayed)
            session, self._session = self._session, None
            session.close()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def receive(self, timeout_s: float) -> Envelope | None:
        """Return the next event that was asked for, or None when none came in time. Losses are logged and counted."""
        deadline = time.monotonic() + timeout_s
        while True:
            item = self.next(max(0.0, deadline - time.monotonic()))
            if isinstance(item, Received):
                return item.envelope
            if item is None:
                return None

    def next(self, timeout_s: float) -> Item | None:
        """Return the next event or loss, or None when none came in time. What was returned before has then been handled."""
        session = self.session
        deadline = time.monotonic() + timeout_s
        while True:
            item = session.pull()
            self._save_if_due(session)
            if item is not None:
                return item
            session.pump()
            if len(session.core.progress):
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            session.sockets.wait(session.patience_s(left))

    def items(self, stop: threading.Event | None = None) -> Iterator[Item]:
        """Yield events and losses until ``stop`` is set.

        An event has been handled once the next one is asked for, or ``commit`` was called.
        """
        while stop is None or not stop.is_set():
            item = self.next(_POLL_S)
            if item is not None:
                yield item
                self.session.handled()

    def commit(self) -> None:
        """Note that everything delivered so far has been handled, and save the cursor.

        Raises
        ------
        BusError
            It cannot be saved.
        """
        session = self.session
        session.handled()
        if session.cursor is not None:
            session.cursor.save()

    def synchronise(self, timeout_s: float) -> Iterator[Envelope]:
        """Yield the events that arrive until the publisher has echoed a fresh token.

        After the last one, every event handed to the publisher before the call has been yielded, and every later one will be received.
        The first time, what an earlier run missed may still follow.

        Raises
        ------
        BusError
            No echo in time: nobody publishes there, or what came before it took too long to take.
        """
        session = self.session
        sync = Sync(session, timeout_s)
        while True:
            item = session.pull()
            self._save_if_due(session)
            if isinstance(item, Received):
                yield item.envelope
                session.handled()
            if sync.done:
                return
            left = sync.left_s(self.endpoint)
            if not len(session.core.progress):
                session.pump()
                if not len(session.core.progress) and not sync.done:
                    session.sockets.wait(session.patience_s(left))

    @property
    def session(self) -> Session:
        """The connection; BusError where there is none."""
        if self._session is None:
            raise BusError("connect() first")
        return self._session

    @staticmethod
    def _save_if_due(session: Session) -> None:
        if session.save_is_due and session.cursor is not None:
            session.cursor.save()

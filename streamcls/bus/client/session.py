"""What the synchronous and the asyncio client share: a core, its sockets and its cursor. It never waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from streamcls.bus.client.core import Core
from streamcls.bus.client.progress import Place
from streamcls.bus.client.sockets import Sockets
from streamcls.bus.ledger import HEARTBEAT
from streamcls.errors import BusError

if TYPE_CHECKING:
    import zmq

    from streamcls.bus.client.cursor import Cursor
    from streamcls.bus.client.items import Item
    from streamcls.bus.client.progress import Entry
    from streamcls.bus.client.settings import Wish
    from streamcls.bus.keys import ClientKeys

__all__ = ["Session", "Sync"]

_HEARTBEATS: Final = f"{HEARTBEAT}/"


class Session:
    """One connection's life, from connect to close.

    Parameters
    ----------
    wish
        What is wanted.
    cursor
        Opened here, and closed with the session.
    """

    def __init__(
        self,
        wish: Wish,
        *,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        high_water_mark: int = 100_000,
        cursor: Cursor | None = None,
        curve: ClientKeys | None = None,
    ) -> None:
        place = None
        if cursor is not None:
            cursor.open()
            if cursor.position is not None:
                place = Place(cursor.source, cursor.journal, cursor.position, frozenset(cursor.beyond))
        self.cursor = cursor
        self.core = Core(wish, place)
        self._endpoint = wish.endpoint
        self._last: Entry | None = None
        self._begun = False
        # Heartbeats always, since they tell of losses; last, so that the rest is subscribed to by the time one arrives.
        prefixes = [*wish.kinds, _HEARTBEATS] if wish.kinds else [""]
        self.sockets = Sockets(wish.endpoint, prefixes, context=context, high_water_mark=high_water_mark, curve=curve)
        try:
            self.sockets.connect()
        except BusError:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect. What was taken last and not acknowledged by a further call comes again under a cursor."""
        self.sockets.close()
        if self.cursor is not None:
            self.cursor.close()

    def pull(self) -> Item | None:
        """Return the next item that is there; the one returned before has been handled."""
        self.handled()
        while (entry := self.core.progress.pop()) is not None:
            self._last = entry
            if entry.item is not None:
                return entry.item
            self.handled()
        return None

    def handled(self) -> None:
        """Note that the last item has been handled."""
        entry, self._last = self._last, None
        if entry is None or self.cursor is None:
            return
        if entry.place is not None:
            place = entry.place
            self.cursor.begin(place.source, place.journal, place.position, place.beyond)
        else:
            self.cursor.handled(entry.position, entry.complete)

    @property
    def save_is_due(self) -> bool:
        """Whether the cursor should be saved now."""
        return self.cursor is not None and self.cursor.is_due

    def pump(self) -> None:
        """Take what has arrived, and do what is due."""
        now = time.monotonic()
        if not self._begun:
            self._begun = True
            self.core.start(now)
        live, replies = self.sockets.read()
        for frames in live:
            self.core.take_live(frames, now)
        for frames in replies:
            self.core.take_reply(frames, now)
        self.core.tick(now, idle=not live)
        while self.core.actions:
            self.sockets.do(self.core.actions.popleft())

    def patience_s(self, timeout_s: float) -> float:
        """Return how long to wait before ``pump`` has something to do, at most ``timeout_s``."""
        wake_at = self.core.wake_at
        return timeout_s if wake_at is None else max(0.0, min(timeout_s, wake_at - time.monotonic()))


class Sync:
    """Waits for an echo while events are taken.

    Parameters
    ----------
    timeout_s
        Seconds from now.
    """

    def __init__(self, session: Session, timeout_s: float) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        session.pump()  # so that the core has begun
        # The first one may be under way already, and what was published before it is fetched by and by.
        self._first = session.core.echoes == 0
        self._number = session.core.sync(time.monotonic())

    @property
    def done(self) -> bool:
        """Whether the echo has come, and what was published before it has been taken."""
        core = self._session.core
        return core.echoes >= self._number and (self._first or core.settled) and not len(core.progress)

    def left_s(self, endpoint: str) -> float:
        """Return the time left.

        Raises
        ------
        BusError
            None is.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise BusError(f"no answer from {endpoint} within {self._timeout_s:g} s; does a daemon run there?")
        return left

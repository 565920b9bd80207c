"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

import zmq

from streamcls.bus.client.items import Received
from streamcls.bus.client.session import Session, Sync
from streamcls.bus.client.sync import EventClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from streamcls.bus.client.items import Item
    from streamcls.bus.wire import Envelope

__all__ = ["AsyncEventClient"]

_POLL_S = 3600.0


class AsyncEventClient:
    """As :class:`EventClient`, for asyncio: used by one task at a time, and made of the same parts.

    ``async with AsyncEventClient(endpoint) as client: async for item in client: …`` yields events and losses. A wait may be cancelled;
    nothing is lost by that.

    Parameters
    ----------
    endpoint, settings
        As those of :class:`EventClient`.
    """

    def __init__(self, endpoint: str, **settings: Any) -> None:
        self._client = EventClient(endpoint, **settings)

    @property
    def missed(self) -> int:
        """As :attr:`EventClient.missed`."""
        return self._client.missed

    @property
    def losses(self) -> int:
        """As :attr:`EventClient.losses`."""
        return self._client.losses

    @property
    def malformed(self) -> int:
        """As :attr:`EventClient.malformed`."""
        return self._client.malformed

    @property
    def replayed(self) -> int:
        """As :attr:`EventClient.replayed`."""
        return self._client.replayed

    async def connect(self) -> None:
        """As :meth:`EventClient.connect`."""
        await asyncio.to_thread(self._client.connect)

    async def close(self) -> None:
        """As :meth:`EventClient.close`."""
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def next(self, timeout_s: float) -> Item | None:
        """Return the next event or loss, or None when none came in time. What was returned before has then been handled."""
        session = self._client.session
        deadline = time.monotonic() + timeout_s
        while True:
            session.handled()
            await self._save_if_due(session)
            item = session.pull()
            if item is not None:
                return item
            session.pump()
            if len(session.core.progress):
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            await _wait(session, session.patience_s(left))

    async def receive(self, timeout_s: float) -> Envelope | None:
        """As :meth:`EventClient.receive`."""
        deadline = time.monotonic() + timeout_s
        while True:
            item = await self.next(max(0.0, deadline - time.monotonic()))
            if isinstance(item, Received):
                return item.envelope
            if item is None:
                return None

    async def __aiter__(self) -> AsyncIterator[Item]:
        while True:
            item = await self.next(_POLL_S)
            if item is not None:
                yield item
                self._client.session.handled()

    async def commit(self) -> None:
        """As :meth:`EventClient.commit`."""
        await asyncio.to_thread(self._client.commit)

    async def synchronise(self, timeout_s: float) -> AsyncIterator[Envelope]:
        """As :meth:`EventClient.synchronise`."""
        session = self._client.session
        sync = Sync(session, timeout_s)
        while True:
            item = session.pull()
            await self._save_if_due(session)
            if isinstance(item, Received):
                yield item.envelope
                session.handled()
            if sync.done:
                return
            left = sync.left_s(self._client.endpoint)
            if not len(session.core.progress):
                session.pump()
                if not len(session.core.progress) and not sync.done:
                    await _wait(session, session.patience_s(left))

    @staticmethod
    async def _save_if_due(session: Session) -> None:
        if session.save_is_due and session.cursor is not None:
            await asyncio.to_thread(session.cursor.save)


async def _wait(session: Session, timeout_s: float) -> None:
    """Return once something has arrived, or after the time-out.

    ZeroMQ's descriptor only says that something may have changed, and only once: so it is looked at again after it is watched.
    """
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    descriptors = [int(socket.getsockopt(zmq.FD)) for socket in session.sockets.open]
    for descriptor in descriptors:
        loop.add_reader(descriptor, changed.set)
    try:
        if not session.sockets.ready():
            await asyncio.wait_for(changed.wait(), timeout_s)
    except TimeoutError:
        pass
    finally:
        for descriptor in descriptors:
            loop.remove_reader(descriptor)

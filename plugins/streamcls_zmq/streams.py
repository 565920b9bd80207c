"""All streams of one source: their number, memory and life are bounded here. Pure: time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final

from streamcls import StreamStatus
from streamcls_zmq.complaints import Complaints
from streamcls_zmq.ingest import REASONS, MalformedMessageError, parse_message
from streamcls_zmq.reorder import ORDER_COUNTERS, StreamOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamcls.types import StreamItem
    from streamcls_zmq.config import ZmqConfig
    from streamcls_zmq.ingest import Arrival

__all__ = ["StreamTable", "new_counters"]

_MAX_WAITING_BYTES: Final = 64 << 20
"""Memory of the chunks of all streams that wait for a missing one."""
_MAX_QUOTE: Final = 60
"""Characters of a refused stream's name that the log repeats."""


def new_counters() -> dict[str, int]:
    """Return every counter of a source at zero. Keys never come or go, so any thread may read them."""
    names = (
        "messages",
        *ORDER_COUNTERS,
        "streams",
        "opened",
        "idle",
        "refused",
        "denied",
        "malformed",
        *(f"malformed_{reason}" for reason in REASONS),
    )
    return dict.fromkeys(names, 0)


class _Slot:
    __slots__ = ("order", "seen")

    def __init__(self, order: StreamOrder, seen: float) -> None:
        self.order = order
        self.seen = seen


class StreamTable:
    """Turns messages of any number of senders into items of at most ``max_streams`` streams.

    Parameters
    ----------
    config
        The source's configuration.
    source
        The source's name, for the log.
    counters
        From :func:`new_counters`; raised in place.
    """

    def __init__(self, config: ZmqConfig, source: str, counters: dict[str, int]) -> None:
        self._config = config
        self._counters = counters
        self._complaints = Complaints(source)
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._waiting: set[str] = set()
        self._waiting_bytes = 0
        counters["streams"] = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def waiting_bytes(self) -> int:
        """Memory of the chunks that wait for a missing one, at most 64 MiB between two calls."""
        return self._waiting_bytes

    def push(self, frames: Sequence[bytes], now: float) -> list[StreamItem]:
        """Take a message at a time in seconds and return what it makes ready. Nothing a sender did raises."""
        self._counters["messages"] += 1
        try:
            arrival = parse_message(
                frames,
                max_message_bytes=self._config.max_message_bytes,
                max_chunk_s=self._config.max_chunk_s,
            )
        except MalformedMessageError as error:
            self._counters["malformed"] += 1
            self._counters[f"malformed_{error.reason}"] += 1
            self._complaints.note(error.reason, f"malformed message dropped: {error}", now)
            return []
        slot = self._slot(arrival, now)
        if slot is None:
            return []
        name = arrival.chunk.stream
        slot.seen = now
        self._slots.move_to_end(name)
        items = self._do(name, slot, partial(slot.order.push, arrival, now), now)
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            items += self._do(name, slot, partial(slot.order.release, now), now)
        return items

    def deny(self, stream: bytes, now: float) -> None:
        """Count a message that its sender's key does not permit."""
        self._counters["messages"] += 1
        self._counters["denied"] += 1
        name = stream.decode("utf-8", errors="replace")
        text = f"message for stream {name[:_MAX_QUOTE]!r} dropped: its sender's key does not permit that"
        self._complaints.note("denied", text, now)

    def expire(self, now: float) -> list[StreamItem]:
        """Return what waited too long, and end the streams of which nothing came for ``idle_s`` seconds."""
        items: list[StreamItem] = []
        for name in list(self._waiting):
            slot = self._slots[name]
            items += self._do(name, slot, partial(slot.order.expire, now), now)
        while self._slots:
            name, slot = next(iter(self._slots.items()))
            if now - slot.seen < self._config.idle_s:
                break
            last = self._do(name, slot, partial(slot.order.finish, now), now)
            self._counters["idle"] += 1
            reason = f"nothing received for {self._config.idle_s:g} s"
            self._complaints.note(
                "idle", f"stream {name} ended: {reason}, and its sender did not say that it is over", now
            )
            items += [*last[:-1], StreamStatus(name, "stalled", reason), *last[-1:]]
        self._complaints.flush(now)
        return items

    def _slot(self, arrival: Arrival, now: float) -> _Slot | None:
        name = arrival.chunk.stream
        slot = self._slots.get(name)
        if slot is not None:
            return slot
        if not len(arrival.chunk.samples):
            self._counters["late"] += 1
            return None
        if len(self._slots) >= self._config.max_streams:
            self._counters["refused"] += 1
            text = f"stream {name} refused: max_streams allows {self._config.max_streams} at a time"
            self._complaints.note("refused", text, now)
            return None
        self._counters["opened"] += 1
        slot = self._slots[name] = _Slot(StreamOrder(name, self._config.reorder_s, self._counters), now)
        return slot

    def _do(self, name: str, slot: _Slot, act: Callable[[], list[StreamItem]], now: float) -> list[StreamItem]:
        bytes_before, expected = slot.order.waiting_bytes, slot.order.expected
        restarts_before = self._counters["restarts"]
        items = act()
        if self._counters["restarts"] > restarts_before:
            text = f"stream {name} began anew: its sender left the order, sample {expected} was expected"
            self._complaints.note("restart", text, now)
        self._waiting_bytes += slot.order.waiting_bytes - bytes_before
        if slot.order.over:
            del self._slots[name]
        if slot.order.waiting_bytes and not slot.order.over:
            self._waiting.add(name)
        else:
            self._waiting.discard(name)
        self._counters["streams"] = len(self._slots)
        return items

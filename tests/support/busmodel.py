"""A publisher, its journal and a lossy network, without sockets, threads or time: what a client's core is tried against."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from busside import raw_event

from streamcls.bus.client.actions import Ask, Hush, Listen, Reconnect, Unlisten
from streamcls.bus.client.core import Core
from streamcls.bus.client.items import Loss, Received
from streamcls.bus.client.progress import Place

if TYPE_CHECKING:
    from streamcls.bus.client.cursor import Cursor
    from streamcls.bus.client.settings import Wish

__all__ = ["World"]

SOURCE = "/streamcls/test"


@dataclass
class World:
    """Everything around a core.

    Attributes
    ----------
    journal
        Position, kind, stream and body of what is kept.
    published
        Id of every event ever published that the journal kept, by identity of the journal and position.
    windows
        Id of every event that it did not keep.
    lives
        What each life of the consumer was given.
    """

    wish: Wish
    cursor: Cursor | None = None
    journal: list[tuple[int, str, str, bytes]] = field(default_factory=list)
    journal_id: str = "a" * 32
    has_journal: bool = True
    journals: list[str] = field(default_factory=lambda: ["a" * 32])
    composed: dict[str, int] | None = None
    starts: int = 1
    position: int = 0
    sequences: dict[str, int] = field(default_factory=dict)
    published: dict[tuple[str, int], str] = field(default_factory=dict)
    windows: list[str] = field(default_factory=list)
    lives: list[list[Received | Loss]] = field(default_factory=lambda: [[]])
    begun: list[Place] = field(default_factory=list)
    now: float = 0.0
    link: deque[list[bytes]] = field(default_factory=deque)
    upstream: deque[bytes] = field(default_factory=deque)
    requests: deque[bytes] = field(default_factory=deque)
    replies: deque[list[bytes]] = field(default_factory=deque)
    reported: int = 0
    asked: int = 0
    saved: Place | None = None

    def __post_init__(self) -> None:
        self.begin()

    @property
    def epoch(self) -> str:
        return f"{self.starts:014x}-00000000"

    # The daemon

    def publish(self, kind: str, stream: str, data: dict[str, Any] | None = None) -> None:
        topic = f"{kind}/{stream}"
        self.sequences[topic] = sequence = self.sequences.get(topic, 0) + 1
        identifier = f"{self.epoch}/{topic}/{sequence}"
        changes: dict[str, Any] = {"id": identifier, "epoch": self.epoch, "source": SOURCE, "data": data or {}}
        if self.has_journal and not kind.endswith((".window", ".heartbeat")):
            self.position += 1
            frames = raw_event(topic, sequence, **changes, position=str(self.position))
            self.journal.append((self.position, kind, stream, frames[1]))
            self.published[self.journal_id, self.position] = identifier
        else:
            frames = raw_event(topic, sequence, **changes)
            self.windows.append(identifier)
        if not self.wish.kinds or f"{kind}/{stream}".startswith((*self.wish.kinds, "daemon.heartbeat/")):
            self.link.append(frames)

    def compose(self) -> None:
        """Gather a heartbeat's positions of topics; that of the journal is gathered when it is sent, which may be later."""
        self.composed = dict(self.sequences)

    def heartbeat(self) -> None:
        journal = {"journal": self.journal_id, "position": self.position} if self.has_journal else {}
        sequences, self.composed = self.composed, None
        self.publish("daemon.heartbeat", "d", {"positions": sequences or dict(self.sequences), "journal": journal})

    def restart(self) -> None:
        """Kill the daemon and start it again: what was under way is gone, the journal is not."""
        self.starts += 1
        self.sequences.clear()
        self.composed = None
        self.disconnect()

    def set_journal_aside(self) -> None:
        self.restart()
        self.journal.clear()
        self.position = 0
        self.journal_id = f"{self.starts:032x}"
        self.journals.append(self.journal_id)

    def trim(self, count: int) -> None:
        del self.journal[:count]

    def answer_subscriptions(self) -> None:
        while self.upstream:
            topic = self.upstream.popleft()
            body = {"epoch": self.epoch, "source": SOURCE, "published": 0}
            if self.has_journal:
                body |= {"journal": self.journal_id, "position": self.position, "replay": ["tcp://127.0.0.1:9"]}
            self.link.append([topic, json.dumps(body).encode()])

    def answer_request(self) -> None:
        if not self.requests:
            return
        asked = json.loads(self.requests.popleft())
        self.asked += 1
        self.reported += sum(asked.get("missed", {}).values())
        first = self.journal[0][0] if self.journal else self.position + 1
        facts = {"request": asked["request"], "journal": self.journal_id, "first": first, "position": self.position}
        if asked["op"] == "snapshot":
            self.replies.append([json.dumps({**facts, "ok": True, "next": 0, "more": False, "events": 0}).encode()])
            return
        if asked["journal"] not in {"", self.journal_id}:
            self.replies.append([json.dumps({**facts, "ok": False, "error": "journal_changed"}).encode()])
            return
        start = asked["position"]
        kinds = tuple(asked.get("kinds", ()))
        bodies: list[bytes] = []
        reached, more = max(start, self.position), False
        for position, kind, _, body in self.journal:
            if position <= start or (kinds and not kind.startswith(kinds)):
                continue
            if len(bodies) == asked["limit"]:
                more, reached = True, json.loads(bodies[-1])["position"]
                break
            bodies.append(body)
        header = {
            **facts,
            "ok": True,
            "next": int(reached),
            "more": more,
            "lost": max(0, first - 1 - start),
            "events": len(bodies),
        }
        self.replies.append([json.dumps(header).encode(), *bodies])

    # The network

    def disconnect(self) -> None:
        """Break the connection: what was under way is gone; ZeroMQ connects again and repeats the subscriptions."""
        self.link.clear()
        self.requests.clear()
        self.replies.clear()
        self.upstream.clear()
        self.upstream.extend(self.tokens)

    def drop(self, index: int) -> None:
        if index < len(self.link) and not self.link[index][0].startswith(b"_"):
            del self.link[index]

    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.link))):
            self.core.take_live(self.link.popleft(), self.now)
            self.act()

    def deliver_reply(self) -> None:
        if self.replies:
            self.core.take_reply(self.replies.popleft(), self.now)
            self.act()

    def flow(self) -> None:
        """Let everything through once, each way."""
        self.answer_subscriptions()
        self.deliver(1_000)
        self.answer_request()
        self.deliver_reply()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.core.tick(self.now, idle=not self.link)
        self.act()

    def act(self) -> None:
        while self.core.actions:
            action = self.core.actions.popleft()
            if isinstance(action, Listen):
                self.tokens.append(action.topic)
                self.upstream.append(action.topic)
            elif isinstance(action, Unlisten):
                if action.topic in self.tokens:
                    self.tokens.remove(action.topic)
            elif isinstance(action, Ask):
                assert action.endpoint == "tcp://127.0.0.1:9"
                self.requests.append(action.request)
            elif isinstance(action, Hush):
                self.requests.clear()
                self.replies.clear()
            elif isinstance(action, Reconnect):
                self.tokens.clear()
                self.disconnect()

    # The consumer

    def begin(self) -> None:
        self.tokens: list[bytes] = []
        self.core = Core(self.wish, self.saved)
        self.core.start(self.now)
        self.act()

    def consume(self, count: int) -> None:
        """Take items; each has been handled once it was taken."""
        while count > 0 and (entry := self.core.progress.pop()) is not None:
            if entry.item is not None:
                self.lives[-1].append(entry.item)
                count -= 1
            if entry.place is not None:
                self.begun.append(entry.place)
            if self.cursor is not None:
                if entry.place is not None:
                    place = entry.place
                    self.cursor.begin(place.source, place.journal, place.position, place.beyond)
                else:
                    self.cursor.handled(entry.position, entry.complete)

    def save(self) -> None:
        cursor = self.cursor
        if cursor is not None and cursor.position is not None:
            self.saved = Place(cursor.source, cursor.journal, cursor.position, frozenset(cursor.beyond))

    def crash(self) -> None:
        """Kill the consumer and start it again from what its cursor has saved."""
        if self.cursor is not None:
            cursor, saved = self.cursor, self.saved
            cursor.position = None
            if saved is not None:
                cursor.begin(saved.source, saved.journal, saved.position, saved.beyond)
        self.lives.append([])
        self.disconnect()
        self.begin()

    def settle(self) -> None:
        """Let everything arrive, with as many heartbeats as that takes."""
        for _ in range(12):
            self.heartbeat()
            for _ in range(60):
                self.flow()
                self.consume(1_000_000)
            self.wait(5.1)
        assert self.core.settled, "it waits for something that does not come"
        assert not self.link

    # What must hold

    def delivered(self) -> list[Received]:
        return [item for life in self.lives for item in life if isinstance(item, Received)]

    def losses(self) -> list[Loss]:
        return [item for life in self.lives for item in life if isinstance(item, Loss)]

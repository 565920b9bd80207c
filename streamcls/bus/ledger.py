"""What a subscriber can know about what it missed, from the sequences alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamcls.bus.wire import Envelope

__all__ = ["HEARTBEAT", "Hole", "Ledger", "is_heartbeat", "journal_stated"]

_log = logging.getLogger("streamcls.bus.client")

HEARTBEAT: Final = "daemon.heartbeat"
_MOST_OTHERS: Final = 4


def is_heartbeat(envelope: Envelope) -> bool:
    """Whether an event is a daemon's heartbeat."""
    return bool(envelope["type"].endswith(f".{HEARTBEAT}"))


def journal_stated(heartbeat: Envelope) -> tuple[str, int | None]:
    """Return identity and last position of the journal that a heartbeat states; empty and None where it states none."""
    said = heartbeat["data"].get("journal")
    said = said if isinstance(said, dict) else {}
    journal, position = said.get("journal"), said.get("position")
    return journal if isinstance(journal, str) else "", position if isinstance(position, int) else None


@dataclass(frozen=True, slots=True)
class Hole:
    """Events of a topic that were published and did not arrive.

    Attributes
    ----------
    first, last
        Their sequences.
    certain
        False where they may have been published before this subscriber listened, or may not be meant for it.
    """

    topic: str
    epoch: str
    first: int
    last: int
    certain: bool = True

    @property
    def count(self) -> int:
        """How many."""
        return self.last - self.first + 1


@dataclass(slots=True)
class _Account:
    """One start of a publisher. ``whole``: a topic that was never heard of has been at 0 since this subscriber listened."""

    epoch: str
    whole: bool
    known: dict[str, int] = field(default_factory=dict)
    received: set[str] = field(default_factory=set)
    first_heartbeat: int | None = None


class Ledger:
    """Finds the events that a publisher numbered and that did not arrive.

    A hole shows in three ways: a sequence jumps; a heartbeat states a position that was not reached, also of a topic that never
    arrived; a restarted publisher's first event of a topic is not its number 1. What was published before the subscriber listened
    is not lost, and what an earlier start of the publisher published last, when no heartbeat followed, cannot be known.

    Parameters
    ----------
    wanted
        Whether a topic was asked for; others are not looked at.
    restricted
        Whether the publisher may keep topics from this subscriber, so that a topic of which nothing ever came is in doubt.
    """

    def __init__(self, wanted: Callable[[str], bool], *, restricted: bool = False) -> None:
        self._wanted = wanted
        self._restricted = restricted
        self._accounts: dict[str, _Account] = {}
        self._ahead: dict[str, dict[str, int]] = {}

    def open(self, source: str, epoch: str) -> None:
        """Learn which start of a publisher is the present one."""
        account = self._accounts.get(source)
        if account is None or account.epoch != epoch:
            if account is not None:
                _log.warning("%s has been restarted", source)
            known = self._ahead.pop(epoch, {})
            self._accounts[source] = _Account(epoch, account is not None, known, set(known))

    def enter_other(self, topic: str, envelope: Envelope) -> None:
        """Enter an event of a start of the publisher that is not the present one, in case it will be."""
        epoch = envelope["epoch"]
        if epoch not in self._ahead and len(self._ahead) >= _MOST_OTHERS:
            del self._ahead[next(iter(self._ahead))]
        known = self._ahead.setdefault(epoch, {})
        known[topic] = max(int(envelope["sequence"]), known.get(topic, 0))

    def doubt(self, source: str, topics: Callable[[str], bool]) -> None:
        """Forget what was known of some topics, and what heartbeats said: these begin now."""
        account = self._accounts.get(source)
        if account is not None:
            known = {topic: last for topic, last in account.known.items() if not topics(topic)}
            self._accounts[source] = _Account(account.epoch, whole=False, known=known, received=account.received)

    def has(self, topic: str, envelope: Envelope) -> bool:
        """Whether an event of the present start, or a later one of its topic, was entered before."""
        account = self._accounts.get(envelope["source"])
        if account is None or account.epoch != envelope["epoch"]:
            return False
        return int(envelope["sequence"]) <= account.known.get(topic, 0)

    def whole(self, source: str) -> bool:
        """Whether no topic's beginning is in doubt any more."""
        account = self._accounts.get(source)
        return account is not None and account.whole

    def sound(self, topic: str, envelope: Envelope) -> bool:
        """Whether a heartbeat's positions speak of a time at which this subscriber listened already.

        They were gathered some time before the heartbeat was sent. Only when they were gathered after an earlier heartbeat had
        arrived here do they.
        """
        account = self._accounts.get(envelope["source"])
        if account is None or account.epoch != envelope["epoch"] or account.first_heartbeat is None:
            return False
        own = _positions(envelope).get(topic, 0)
        return isinstance(own, int) and own >= account.first_heartbeat

    def examine(self, topic: str, envelope: Envelope) -> list[Hole]:
        """Return what an event shows to be missing; nothing is entered."""
        epoch = envelope["epoch"]
        account = self._accounts.get(envelope["source"])
        if account is not None and epoch < account.epoch:
            return []  # two publishers of one name behind a proxy: the newer one is followed
        if account is None or epoch > account.epoch:
            account = _Account(epoch, whole=account is not None)
        holes = []
        if self._wanted(topic):
            before = int(envelope["sequence"]) - 1
            last = account.known.get(topic, 0 if account.whole else before)
            if before > last:
                holes.append(Hole(topic, epoch, last + 1, before))
        if is_heartbeat(envelope):
            holes += self._behind(account, topic, envelope)
        return holes

    def enter(self, topic: str, envelope: Envelope) -> None:
        """Enter an event that arrived; its topic need not be wanted where it is a heartbeat."""
        account = self._account(envelope["source"], envelope["epoch"])
        if account is None:
            return
        sequence = int(envelope["sequence"])
        if self._wanted(topic):
            account.known[topic] = max(sequence, account.known.get(topic, 0))
            account.received.add(topic)
        if not is_heartbeat(envelope):
            return
        sound = self.sound(topic, envelope)
        for name, position in self._stated(envelope):
            if account.whole or sound or name in account.known:
                account.known[name] = max(position, account.known.get(name, 0))
        account.whole = account.whole or sound
        if account.first_heartbeat is None:
            account.first_heartbeat = sequence

    def _behind(self, account: _Account, topic: str, envelope: Envelope) -> Iterator[Hole]:
        """Hold a heartbeat's positions against what arrived."""
        sound = self.sound(topic, envelope)
        for name, position in self._stated(envelope):
            if name == topic:
                continue
            last = account.known.get(name)
            certain = (account.whole or last is not None) and not (self._restricted and name not in account.received)
            if position > (last or 0) and (certain or sound or last is not None):
                yield Hole(name, account.epoch, (last or 0) + 1, position, certain)

    def _stated(self, envelope: Envelope) -> Iterator[tuple[str, int]]:
        for name, position in _positions(envelope).items():
            if isinstance(position, int) and self._wanted(name):
                yield name, position

    def _account(self, source: str, epoch: str) -> _Account | None:
        account = self._accounts.get(source)
        if account is not None and epoch < account.epoch:
            return None
        if account is None or epoch > account.epoch:
            if account is not None:
                _log.warning("%s has been restarted", source)
            account = self._accounts[source] = _Account(epoch, whole=account is not None)
        return account


def _positions(envelope: Envelope) -> dict[str, object]:
    positions = envelope["data"].get("positions")
    return positions if isinstance(positions, dict) else {}

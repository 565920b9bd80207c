"""What a subscriber can know about what it missed, from the sequences alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamcls.bus.wire import Envelope

__all__ = ["HEARTBEAT", "Ledger"]

_log = logging.getLogger("streamcls.bus.client")

HEARTBEAT: Final = "daemon.heartbeat"


@dataclass(slots=True)
class _Account:
    """One start of a publisher. ``whole``: a topic that was never heard of has been at 0 since this subscriber listened."""

    epoch: str
    whole: bool
    known: dict[str, int] = field(default_factory=dict)
    first_heartbeat: int | None = None


class Ledger:
    """Counts the events that a publisher numbered and that did not arrive.

    A hole shows in three ways: a sequence jumps; a heartbeat states a position that was not reached, also of a topic that never
    arrived; a restarted publisher's first event of a topic is not its number 1. What was published before the subscriber listened
    is not lost, and what an earlier start of the publisher published last, when no heartbeat followed, cannot be known.

    Parameters
    ----------
    wanted
        Whether a topic was asked for; others are not counted.
    """

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted
        self._accounts: dict[str, _Account] = {}
        self.missed = 0

    def take(self, topic: str, envelope: Envelope) -> None:
        """Enter an event that arrived; its topic need not be wanted where it is a heartbeat."""
        account = self._account(envelope["source"], envelope["epoch"])
        if account is None:
            return
        sequence = int(envelope["sequence"])
        if self._wanted(topic):
            self._advance(account, topic, sequence - 1)
            account.known[topic] = max(sequence, account.known.get(topic, 0))
        positions = envelope["data"].get("positions")
        if envelope["type"].endswith(f".{HEARTBEAT}") and isinstance(positions, dict):
            self._compare(account, topic, sequence, positions)

    def _account(self, source: str, epoch: str) -> _Account | None:
        account = self._accounts.get(source)
        if account is not None and epoch < account.epoch:
            return None  # two publishers of one name behind a proxy: the newer one is followed
        if account is None or epoch > account.epoch:
            if account is not None:
                _log.warning(
                    "%s has been restarted; what it published before this subscriber was connected again is lost",
                    source,
                )
            account = self._accounts[source] = _Account(epoch, whole=account is not None)
        return account

    def _compare(self, account: _Account, topic: str, sequence: int, positions: dict[str, object]) -> None:
        """Hold a heartbeat's positions against what arrived.

        They were gathered some time before the heartbeat was sent. Only when they were gathered after an earlier heartbeat had
        arrived here do they speak of a time at which this subscriber listened already.
        """
        own = positions.get(topic, 0)
        sound = account.first_heartbeat is not None and isinstance(own, int) and own >= account.first_heartbeat
        for name, position in positions.items():
            if not isinstance(position, int) or not self._wanted(name):
                continue
            if account.whole or name in account.known:
                self._advance(account, name, position)
            elif sound:
                account.known[name] = position
        account.whole = account.whole or sound
        if account.first_heartbeat is None:
            account.first_heartbeat = sequence

    def _advance(self, account: _Account, topic: str, position: int) -> None:
        """Learn that a topic had reached a position before now."""
        last = account.known.get(topic)
        if last is None:
            last = 0 if account.whole else position
        if position > last:
            self.missed += position - last
            _log.warning("%d events of %s were lost on the way", position - last, topic)
        account.known[topic] = max(position, last)

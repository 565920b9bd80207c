"""Telling the application what is gone for good. Without sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamcls.bus.client.items import Loss, LossReason
from streamcls.bus.ledger import HEARTBEAT, Hole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamcls.bus.client.catchup import CatchUp
    from streamcls.bus.client.progress import Progress

__all__ = ["Losses"]

_WINDOW: Final = ".window"


class Losses:
    """Reports holes, once, and knows which kinds the journal keeps."""

    def __init__(self, progress: Progress, past: CatchUp) -> None:
        self._progress = progress
        self._past = past
        self._kept_windows: set[str] = set()

    def note(self, topic: str) -> None:
        """Learn that the journal keeps a kind: an event of it has a position."""
        kind = topic.partition("/")[0]
        if kind.endswith(_WINDOW):
            self._kept_windows.add(kind)

    def is_kept(self, topic: str) -> bool:
        """Whether the journal keeps events of a topic, as far as that was seen."""
        kind = topic.partition("/")[0]
        return kind in self._kept_windows or not (kind.endswith(_WINDOW) or kind == HEARTBEAT)

    def report(self, holes: Iterable[Hole], reason: LossReason) -> int:
        """Report holes, except for what was reported while fetching; return how many events of the journal are among them."""
        told = 0
        for hole in holes:
            count, kept = hole.count, self.is_kept(hole.topic)
            if not hole.certain:
                continue
            if kept:
                excused = min(count, self._past.lost)
                self._past.lost -= excused
                count -= excused
                told += count
            if count > 0:
                why = reason if kept else LossReason.NOT_JOURNALED
                self._progress.lose(Loss(why, hole.topic, count, hole.epoch, hole.last - count + 1, hole.last))
        return told

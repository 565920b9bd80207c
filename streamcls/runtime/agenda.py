"""What waits to be decided on one stream: levels and windows, until everything that ends before them is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamcls.runtime.consumer import Consumer
    from streamcls.types import FeatureWindow, Levels

__all__ = ["Agenda", "Item"]

Item: TypeAlias = "Levels | tuple[Consumer, FeatureWindow]"


@dataclass(frozen=True, slots=True)
class _Waiting:
    end_sample: int
    rank: int
    item: Item


class Agenda:
    """Models with different rates hold back different amounts of audio; what they give is handed out in the order in which it ends."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []

    def add_levels(self, levels: Levels) -> None:
        """Take levels; of what ends with them they come first."""
        self._waiting.append(_Waiting(levels.end_sample, 0, levels))

    def add_windows(self, windows: Iterable[tuple[int, Consumer, FeatureWindow]]) -> None:
        """Take windows, each with the rank of its front end, by which those that end together are ordered."""
        self._waiting += [_Waiting(window.end_sample, rank, (consumer, window)) for rank, consumer, window in windows]

    def until(self, index: int | None) -> list[Item]:
        """Take out what ends at or before an index (None: everything), in order of its end."""
        entries = sorted(self._waiting, key=lambda entry: (entry.end_sample, entry.rank))
        ready = len(entries) if index is None else sum(entry.end_sample <= index for entry in entries)
        self._waiting = entries[ready:]
        return [entry.item for entry in entries[:ready]]

    def windows_of(self, consumer: Consumer) -> list[FeatureWindow]:
        """Take out the windows of one consumer, in order of their end."""
        windows, others = [], []
        for entry in self._waiting:
            if isinstance(entry.item, tuple) and entry.item[0] is consumer:
                windows.append(entry.item[1])
            else:
                others.append(entry)
        self._waiting = others
        return sorted(windows, key=lambda window: window.end_sample)

"""The marks of a stream's last chunks: from where its source can deliver again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.audio import Run

__all__ = ["Marks"]

_SPACING_S: Final = 0.1
"""Marks that lie closer together than this are thinned out."""
_MOST: Final = 4_096


@dataclass(frozen=True, slots=True)
class _Mark:
    first_sample: int
    mark: Mapping[str, Any]
    stays: bool
    """It is the first one behind a gap: what lies before may not be there any more."""


class Marks:
    """Bounded: marks older than what is needed go when a newer one serves, and never more than 4096 are kept. Used by one thread."""

    def __init__(self) -> None:
        self._kept: deque[_Mark] = deque()
        self._next: int | None = None

    def __bool__(self) -> bool:
        return bool(self._kept)

    def clear(self) -> None:
        """Forget them: another source delivers the stream."""
        self._kept.clear()
        self._next = None

    def add(self, run: Run) -> None:
        """Take the marks of the next samples; an index that went back makes the earlier ones useless."""
        if self._next is not None and run.first_sample < self._next:
            self._kept.clear()
        spacing = round(_SPACING_S * run.sample_rate)
        for first, mark in run.marks:
            stays = first == run.first_sample != self._next
            last = self._kept[-1] if self._kept else None
            if (
                last is not None
                and len(self._kept) > 1
                and not last.stays
                and first - self._kept[-2].first_sample < spacing
            ):
                self._kept.pop()
            self._kept.append(_Mark(first, mark, stays))
        while len(self._kept) > _MOST:
            del self._kept[1]
        self._next = run.end_sample

    def newest(self, needed: int, wanted: int) -> Mapping[str, Any] | None:
        """Return the newest mark at or before ``wanted``, else the oldest at or before ``needed``; what lies before it is forgotten.

        Parameters
        ----------
        needed, wanted
            Absolute indices, ``wanted <= needed``.
        """
        while len(self._kept) > 1 and self._kept[1].first_sample <= wanted:
            self._kept.popleft()
        return self._kept[0].mark if self._kept and self._kept[0].first_sample <= needed else None

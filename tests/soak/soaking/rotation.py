"""How often a journal that drops its oldest events has been replaced as a whole."""

from __future__ import annotations

__all__ = ["Rotations"]


class Rotations:
    """Counts: one rotation is over when everything that the journal held at the end of the one before has been dropped.

    Attributes
    ----------
    count
        Rotations so far.
    dropped
        Events dropped so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self.dropped = 0
        self._begin: int | None = None
        self._until: int | None = None

    def note(self, first: int, position: int) -> None:
        """Take the journal's first and last position, as a heartbeat states them."""
        if position < first:
            return  # it is empty still
        if self._begin is None or self._until is None:
            self._begin, self._until = first, position
        self.dropped = first - self._begin
        if first > self._until:
            self.count += 1
            self._until = position

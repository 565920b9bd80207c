"""When something that fails is tried again. Pure: no thread, no clock."""

from __future__ import annotations

from typing import Final

__all__ = ["Circuit"]

_FIRST_S: Final = 1.0
_LONGEST_S: Final = 60.0
_FAILURES: Final = 6


class Circuit:
    """Pauses that double after each failure in a row; after ``failures`` of them the circuit is open, with one probe per ``longest_s``.

    Parameters
    ----------
    first_s, longest_s
        Seconds.
    failures
        In a row, with the last of which it opens.
    """

    def __init__(self, first_s: float = _FIRST_S, longest_s: float = _LONGEST_S, failures: int = _FAILURES) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._most = failures
        self.failures = 0

    @property
    def open(self) -> bool:
        """Whether it has failed too often in a row for more than a probe now and then."""
        return self.failures >= self._most

    def failed(self) -> float:
        """Count a failure, and return for how many seconds to wait."""
        self.failures += 1
        if self.open:
            return self._longest_s
        return float(min(self._longest_s, self._first_s * 2 ** (self.failures - 1)))

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0

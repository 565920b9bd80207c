"""Voting: an answer counts when it was given often enough of late."""

from __future__ import annotations

from collections import deque

__all__ = ["KOfN"]


class KOfN:
    """True while at least ``k`` of the last ``n`` answers were true; remembers where the earliest of those lies."""

    def __init__(self, k: int, n: int) -> None:
        if not 1 <= k <= n:
            raise ValueError(f"k is {k} and n {n}, expected 1 <= k <= n")
        self.k = k
        self._answers: deque[tuple[int, bool]] = deque(maxlen=n)

    def reset(self) -> None:
        """Forget everything, as after a gap."""
        self._answers.clear()

    def push(self, at_sample: int, answer: bool) -> bool:
        """Take the next answer, given at an index, and return whether enough are true."""
        self._answers.append((at_sample, answer))
        return sum(answer for _, answer in self._answers) >= self.k

    @property
    def earliest(self) -> int | None:
        """Index at which the earliest remembered true answer was given, or None."""
        return next((at for at, answer in self._answers if answer), None)

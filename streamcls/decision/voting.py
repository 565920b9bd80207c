"""Voting: an answer counts when it was given often enough of late."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    def state(self) -> list[list[Any]]:
        """Return the remembered answers as JSON values: index and answer of each."""
        return [[at, answer] for at, answer in self._answers]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Take over what :meth:`state` returned; raise ``ValueError`` where it is something else."""
        answers = [(at, answer) for at, answer in state]
        if not all(isinstance(at, int) and isinstance(answer, bool) for at, answer in answers):
            raise ValueError("no state of a vote: expected pairs of index and answer")
        if len(answers) > (self._answers.maxlen or 0):
            raise ValueError(f"{len(answers)} answers, expected at most {self._answers.maxlen}")
        self._answers.clear()
        self._answers.extend(answers)

    def push(self, at_sample: int, answer: bool) -> bool:
        """Take the next answer, given at an index, and return whether enough are true."""
        self._answers.append((at_sample, answer))
        return sum(answer for _, answer in self._answers) >= self.k

    @property
    def earliest(self) -> int | None:
        """Index at which the earliest remembered true answer was given, or None."""
        return next((at for at, answer in self._answers if answer), None)

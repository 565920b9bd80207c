"""A finding: one thing that was looked at, and how it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Finding", "Level", "worst", "worst_first"]

Level: TypeAlias = Literal["ok", "warning", "problem"]

_ORDER: Final[tuple[Level, ...]] = ("ok", "warning", "problem")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    area
        What it belongs to, e.g. ``storage``.
    level
        ``ok``; ``warning``: it works, and may not for long; ``problem``: something does not work.
    what
        What was found.
    hint
        What to do; empty where nothing is to be done.
    """

    area: str
    level: Level
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.level:8} {self.area}: {self.what}" + (f" ({self.hint})" if self.hint else "")


def worst(findings: Iterable[Finding]) -> Level:
    """Return the highest level there is."""
    return max((finding.level for finding in findings), key=_ORDER.index, default="ok")


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort them by level; those of one level stay in their order."""
    return sorted(findings, key=lambda finding: -_ORDER.index(finding.level))

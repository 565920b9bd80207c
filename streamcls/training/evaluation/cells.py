"""Figures as they are written into tables: never without their interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["listed", "per_cent", "per_hour", "plain", "table"]

_NONE = "-"


def per_cent(row: Mapping[str, Any], name: str) -> str:
    """Write a share and its 95 % interval, e.g. ``62.7 % (58 to 67)``."""
    value, bounds = row.get(name), row.get(f"{name}_95")
    if value is None:
        return _NONE
    text = f"{100 * value:.1f} %"
    return f"{text} ({_bound(bounds[0])} to {_bound(bounds[1])})" if bounds else f"{text} (one recording)"


def _bound(share: float) -> str:
    """Write one end of an interval in per cent, with a decimal place only where it would else seem to be 0 or 100."""
    text = f"{100 * share:.0f}"
    return f"{100 * share:.1f}" if text in {"0", "100"} and share not in {0.0, 1.0} else text


def plain(row: Mapping[str, Any], name: str, digits: int = 3) -> str:
    """Write a number and its 95 % interval, e.g. ``0.057 (0.039 to 0.088)``."""
    value, bounds = row.get(name), row.get(f"{name}_95")
    if value is None:
        return _NONE
    text = f"{value:.{digits}f}"
    return f"{text} ({bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})" if bounds else f"{text} (one recording)"


def per_hour(row: Mapping[str, Any], name: str) -> str:
    """Write a rate and its 95 % interval."""
    return plain(row, name, 1)


def listed(counts: Mapping[str, int], most: int = 10) -> str:
    """Write counts, the largest first, e.g. ``a (3), b (2), and 4 more (7)``."""
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    text = ", ".join(f"{name} ({count})" for name, count in ordered[:most])
    rest = ordered[most:]
    return f"{text}, and {len(rest)} more ({sum(count for _, count in rest)})" if rest else text


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Write a table in Markdown, with an empty line before it; nothing without rows."""
    if not rows:
        return []
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return ["", *lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]

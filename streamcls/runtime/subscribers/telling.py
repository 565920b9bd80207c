"""What a subscriber tells of itself beside its events, where it has attributes for that: deliveries that wait, and what it counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

__all__ = ["own_facts", "sound"]

_MOST_COUNTERS: Final = 30
_LONGEST_NAME: Final = 60
_LONGEST_REASON: Final = 400
_NAMES: Final = ("waiting", "waited_s", "trouble", "counters")


def own_facts(subscriber: object) -> dict[str, Any]:
    """Read what a subscriber tells; it may raise whatever its code raises, and take as long.

    Returns
    -------
    dict
        Any of ``waiting`` (events that it has taken and not delivered), ``waited_s`` (seconds for which the oldest of them has
        waited), ``trouble`` (why they wait) and ``counters`` (numbers by name), those that the subscriber has.
    """
    return sound({name: getattr(subscriber, name) for name in _NAMES if hasattr(subscriber, name)})


def sound(told: Any) -> dict[str, Any]:
    """Return of what somebody tells that which is of the right type, at a bounded length."""
    if not isinstance(told, Mapping):
        return {}
    facts: dict[str, Any] = {}
    waiting, waited_s, trouble, counters = (told.get(name) for name in _NAMES)
    if _is_number(waiting) and waiting >= 0:
        facts["waiting"] = int(waiting)
    if _is_number(waited_s) and waited_s >= 0:
        facts["waited_s"] = round(float(waited_s), 1)
    if isinstance(trouble, str):
        facts["trouble"] = trouble[:_LONGEST_REASON]
    if isinstance(counters, Mapping):
        numbers = {str(name)[:_LONGEST_NAME]: value for name, value in dict(counters).items() if _is_number(value)}
        facts["counters"] = dict(list(numbers.items())[:_MOST_COUNTERS])
    return facts


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

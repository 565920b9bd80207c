"""Planned silence: times of day in which alerts are marked as muted."""

from __future__ import annotations

import fnmatch
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamcls.config.schema import SilenceSettings

__all__ = ["Silence", "local_instant"]

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = timedelta(days=1)
_MINUTE_S: Final = 60


class Silence:
    """One ``[[silence]]`` table.

    It begins on each of its days at ``begin`` and lasts until ``end``, on the next day where that is not after ``begin``; both are
    local times of day. Where a clock change skips ``begin`` or ``end``, the moment of the change takes its place; where one repeats
    them, it begins with the first and ends with the second.
    """

    def __init__(self, settings: SilenceSettings) -> None:
        self.name = settings.name
        self._labels = frozenset(settings.labels)
        self._streams = settings.streams
        self._days = frozenset(map(_DAYS.index, settings.days))
        self._begin, self._end = _minutes(settings.begin), _minutes(settings.end)
        self._zone = ZoneInfo(settings.timezone) if settings.timezone else None
        self._known: tuple[int, float | None] = (-1, None)

    def until(self, stream: str, data: Mapping[str, Any], now: float) -> float | None:
        """Return when the silence that an alert falls into ends, in Unix seconds, or None where it falls into none."""
        if self._labels and data.get("label") not in self._labels:
            return None
        if self._streams and not any(fnmatch.fnmatchcase(stream, pattern) for pattern in self._streams):
            return None
        # It begins and ends with a minute, so that each minute is reckoned once. One tuple, so that threads need no lock.
        minute, end = self._known
        if minute != int(now // _MINUTE_S):
            end = self.end_of_current(now)
            self._known = (int(now // _MINUTE_S), end)
        return end

    def end_of_current(self, now: float) -> float | None:
        """Return when the silence that is in force at ``now`` ends, both in Unix seconds; None where none is."""
        today = datetime.fromtimestamp(now, self._zone).date()
        ends = [end for day in (today - _DAY, today) for begin, end in self._span(day) if begin <= now < end]
        return max(ends, default=None)

    def _span(self, day: date) -> list[tuple[float, float]]:
        if day.weekday() not in self._days:
            return []
        last = day if self._end > self._begin else day + _DAY
        begin = local_instant(day, self._begin, self._zone, last=False)
        return [(begin, local_instant(last, self._end, self._zone, last=True))]


def local_instant(day: date, minutes: int, zone: ZoneInfo | None, *, last: bool) -> float:
    """Return the Unix time at which a local clock shows a time of day.

    Parameters
    ----------
    minutes
        Of the day, 0 to 1440.
    zone
        None: the machine's.
    last
        Of two such moments, where the clock is set back, the second one.
    """
    wall = datetime.combine(day, time.min) + timedelta(minutes=minutes)
    first, second = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if first <= second:
        return second if last else first
    # The clock is set forward over it (PEP 495): the moment of the change, by halving to the second.
    low, high = int(second), int(first)
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).replace(tzinfo=None) < wall:
            low = middle
        else:
            high = middle
    return float(high)


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)

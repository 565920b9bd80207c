"""Days, hours and spans as people say them, in a time zone of their choice."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Period", "Zone", "moment"]

_UNIT_S: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_CALENDAR_S: Final = (0.0, 253_339_228_800.0)
"""From 1970 to the beginning of 9998, so that a zone's offset does not lead beyond what ``datetime`` can hold."""
_YEARS: Final = (1971, 9996)
_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_DAYS_AGO: Final = {"today": 0, "yesterday": 1}


class Zone:
    """A time zone: the machine's, or one of the IANA database.

    Parameters
    ----------
    name
        E.g. ``Europe/Berlin`` or ``UTC``; empty: the machine's.

    Raises
    ------
    ValueError
        There is none of this name.
    """

    def __init__(self, name: str = "") -> None:
        self._zone: ZoneInfo | None = None
        if name:
            try:
                self._zone = ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError(
                    f"{name!r} is no time zone that is known here; expected e.g. Europe/Berlin or UTC"
                ) from error

    def at(self, instant: float) -> datetime:
        """Return a Unix time as date and time in the zone, with its offset; one beyond the calendar as its end."""
        bounded = min(max(instant, _CALENDAR_S[0]), _CALENDAR_S[1])
        return datetime.fromtimestamp(bounded, UTC).astimezone(self._zone)

    def instant(self, local: datetime) -> float:
        """Return the Unix time of a date and time without offset; of one that the clock shows twice, the first."""
        return local.replace(tzinfo=self._zone).timestamp()

    def midnight(self, day: date) -> float:
        """Return the Unix time at which a day begins."""
        return self.instant(datetime.combine(day, time.min))

    def days(self, began: float, ended: float) -> Iterator[tuple[date, float, float]]:
        """Cut a span at the days' borders; days of 23 and 25 hours are as long as they are. An empty span is in one day."""
        day = self.at(began).date()
        while True:
            border = self.midnight(day + timedelta(days=1))
            yield day, began, min(border, ended)
            if border >= ended:
                return
            day, began = day + timedelta(days=1), border


@dataclass(frozen=True, slots=True)
class Period:
    """From ``since`` up to ``until`` (exclusive), Unix times in seconds."""

    since: float
    until: float

    @classmethod
    def of_day(cls, text: str, zone: Zone, now: float) -> Period:
        """Return a whole day: ``today``, ``yesterday`` or a date. Raises ``ValueError`` where it is none."""
        day = _day(text, zone, now)
        if day is None:
            raise ValueError(f"{text!r} is no day; expected today, yesterday or a date such as 2026-01-31")
        _check(text, day.year)
        return cls(zone.midnight(day), zone.midnight(day + timedelta(days=1)))

    def clip(self, began: float, ended: float) -> tuple[float, float]:
        """Return what of a span lies in the period."""
        return max(began, self.since), min(ended, self.until)


def moment(text: str, zone: Zone, now: float) -> float:
    """Return the Unix time that a text means.

    ``now``; ``90m``, ``24h``, ``7d``, ``2w``: so long ago; ``today``, ``yesterday``, ``2026-01-31``: the day's beginning;
    ``2026-01-31T18:30``: that time of day, or with an offset or ``Z`` that one.

    Raises
    ------
    ValueError
        It means none.
    """
    text = text.strip()
    if text == "now":
        return now
    ago = _AGO.fullmatch(text)
    if ago:
        return max(_CALENDAR_S[0], now - float(ago[1]) * _UNIT_S[ago[2]])
    day = _day(text, zone, now)
    if day is not None:
        _check(text, day.year)
        return zone.midnight(day)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; expected e.g. 7d, 24h, today, yesterday, 2026-01-31 or 2026-01-31T18:30"
        ) from None
    _check(text, parsed.year)
    return parsed.timestamp() if parsed.tzinfo else zone.instant(parsed)


def _check(text: str, year: int) -> None:
    if not _YEARS[0] <= year <= _YEARS[1]:
        raise ValueError(f"{text!r} is beyond the calendar; expected a year from {_YEARS[0]} to {_YEARS[1]}")


def _day(text: str, zone: Zone, now: float) -> date | None:
    if text in _DAYS_AGO:
        return zone.at(now).date() - timedelta(days=_DAYS_AGO[text])
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None

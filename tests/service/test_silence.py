from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcls.config.schema import SilenceSettings
from streamcls.service.people.silence import Silence, local_instant

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    """Unix time of a UTC time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def silence(begin: str, end: str, *days: str, timezone: str = "Europe/Berlin") -> Silence:
    settings = {"name": "night", "begin": begin, "end": end, "timezone": timezone}
    return Silence(SilenceSettings.model_validate(settings | ({"days": days} if days else {})))


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        # 2026-01-05 is a Monday; Berlin is UTC+1 in winter, UTC+2 in summer
        (("22:00", "23:00"), ["2026-01-05T21:00", "2026-01-05T21:59:59"], ["2026-01-05T20:59:59", "2026-01-05T22:00"]),
        (("22:00", "23:00"), ["2026-07-05T20:00", "2026-07-05T20:59:59"], ["2026-07-05T19:59:59", "2026-07-05T21:00"]),
        (("22:00", "06:00", "mon"), ["2026-01-05T21:00", "2026-01-06T04:59:59"], ["2026-01-05T04:00", "2026-01-06T05:00"]),
        (("22:00", "06:00", "mon"), [], ["2026-01-06T22:00"]),
        (("00:00", "24:00", "sun"), ["2026-01-10T23:00", "2026-01-11T22:59:59"], ["2026-01-10T22:59:59", "2026-01-11T23:00"]),
        (("08:00", "08:00", "tue"), ["2026-01-06T07:00", "2026-01-07T06:59:59"], ["2026-01-06T06:59:59", "2026-01-07T07:00"]),
        # 2026-03-29: the clock goes from 02:00 to 03:00 at 01:00 UTC
        (("02:30", "03:30", "sun"), ["2026-03-29T01:00", "2026-03-29T01:29:59"], ["2026-03-29T00:59:59", "2026-03-29T01:30"]),
        (("01:00", "02:30", "sun"), ["2026-03-29T00:00", "2026-03-29T00:59:59"], ["2026-03-29T01:00"]),
        (("02:10", "02:50", "sun"), [], ["2026-03-29T00:59:59", "2026-03-29T01:00", "2026-03-29T01:10"]),
        # 2026-10-25: it goes back from 03:00 to 02:00 at 01:00 UTC
        (("02:30", "04:00", "sun"), ["2026-10-25T00:30", "2026-10-25T01:10"], ["2026-10-25T00:29:59"]),
        (("02:30", "04:00", "sun"), ["2026-10-25T02:59:59"], ["2026-10-25T03:00"]),
        (("01:00", "02:30", "sun"), ["2026-10-24T23:00", "2026-10-25T00:45", "2026-10-25T01:29:59"], ["2026-10-25T01:30"]),
    ],
)  # fmt: skip
def test_it_begins_and_ends_by_the_local_clock(window: tuple[str, ...], inside: list[str], outside: list[str]) -> None:
    plan = silence(*window)
    for text in inside:
        end = plan.end_of_current(at(text))
        assert end is not None, text
        assert end > at(text)
        assert plan.end_of_current(end) is None
    for text in outside:
        assert plan.end_of_current(at(text)) is None, text


def test_without_a_time_zone_it_is_the_machines() -> None:
    noon = datetime(2026, 6, 1, 12, 0).timestamp()  # noqa: DTZ001 - local on purpose
    plan = silence("12:00", "12:01", timezone="")
    assert plan.end_of_current(noon) == noon + 60
    assert plan.end_of_current(noon - 1) is None


def test_what_is_reckoned_once_a_minute_is_what_is_reckoned_each_time() -> None:
    plan = silence("23:59", "00:02")
    start = at("2026-05-04T21:50")
    for second in range(0, 1200, 7):
        now = start + second
        assert plan.until("radio-1", {}, now) == plan.end_of_current(now)


@given(
    st.dates(date(1980, 1, 1), date(2037, 12, 1)),
    st.integers(0, 1440),
    st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"]
    ),
    st.booleans(),
)
def test_the_clock_shows_the_time_of_day_at_its_instant_or_has_just_passed_over_it(
    day: date, minutes: int, name: str, last: bool
) -> None:
    zone = ZoneInfo(name)
    wall = datetime.combine(day, datetime.min.time()) + timedelta(minutes=minutes)
    instant = local_instant(day, minutes, zone, last=last)
    shown = datetime.fromtimestamp(instant, zone).replace(tzinfo=None)
    before = datetime.fromtimestamp(instant - 1, zone).replace(tzinfo=None)
    assert shown == wall or before < wall < shown


def test_of_two_moments_of_the_same_time_of_day_the_wanted_one_is_taken() -> None:
    day = date(2026, 10, 25)
    assert local_instant(day, 150, BERLIN, last=False) == at("2026-10-25T00:30")
    assert local_instant(day, 150, BERLIN, last=True) == at("2026-10-25T01:30")

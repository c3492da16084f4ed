"""quotas.windows: fixed UTC hours and days, all or nothing."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.ids import TokenId
from gatewayd.quotas.windows import Meter, limits

T = TokenId("t")
AT = dt.datetime(2026, 11, 21, 23, 59, 59, 999_999, tzinfo=dt.UTC)
HOUR = AT.replace(minute=0, second=0, microsecond=0)
DAY = HOUR.replace(hour=0)
MIDNIGHT = DAY + dt.timedelta(days=1)


def test_windows_are_of_the_clock_not_of_the_first_use() -> None:
    hour, day = limits(T, hourly=5, daily=9, now=AT)

    assert (hour.key, hour.allowed, hour.ends_at) == ((T, "hour", HOUR), 5, MIDNIGHT)
    assert (day.key, day.allowed, day.ends_at) == ((T, "day", DAY), 9, MIDNIGHT)


def test_next_window_begins_on_the_hour() -> None:
    (hour,) = limits(T, hourly=5, daily=None, now=MIDNIGHT)

    assert hour.key == (T, "hour", MIDNIGHT)


def test_no_limit_is_no_window() -> None:
    assert limits(T, hourly=None, daily=None, now=AT) == ()
    assert [limit.allowed for limit in limits(T, hourly=0, daily=None, now=AT)] == [0]


def test_limit_of_zero_lets_nothing_through() -> None:
    applying = limits(T, hourly=0, daily=None, now=AT)

    assert Meter({}).exceeded(applying, 1) is applying[0]


@given(st.lists(st.integers(1, 5), max_size=30), st.integers(0, 20), st.integers(0, 20))
def test_nothing_is_debited_beyond_a_limit(units: list[int], hourly: int, daily: int) -> None:
    """Both windows count the same, and what is refused counts in none."""
    applying = limits(T, hourly=hourly, daily=daily, now=AT)
    meter = Meter({})
    debited = 0
    for count in units:
        if meter.exceeded(applying, count) is None:
            meter.debit(applying, count)
            debited += count

    assert debited <= min(hourly, daily)
    assert set(meter.changed.values()) <= {debited}


def test_of_two_limits_the_one_that_ends_last_is_named() -> None:
    noon = DAY + dt.timedelta(hours=12)
    applying = limits(T, hourly=1, daily=1, now=noon)
    found = Meter({limit.key: 1 for limit in applying}).exceeded(applying, 1)

    assert found is applying[1]


def test_only_what_was_debited_is_written() -> None:
    applying = limits(T, hourly=5, daily=9, now=AT)
    meter = Meter({limit.key: 3 for limit in applying})
    assert meter.changed == {}
    meter.debit(applying[:1], 2)

    assert meter.changed == {applying[0].key: 5}

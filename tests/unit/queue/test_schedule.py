"""queue.schedule: when to try next, and when to give up (RFC 5321 4.5.4.1)."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.queue.schedule import Schedule
from tests.fakes.clock import NOW

SCHEDULE = Schedule()
MIDDLE = 0.5  # of the jitter: none
MINUTES = [5, 11.5, 26.45, 60.8, 139.9, 321.8, 740.2, 1702.4, 3915.5]


def _wait(attempts: int, chance: float = MIDDLE, *, age: dt.timedelta = dt.timedelta()) -> float:
    at = SCHEDULE.next_attempt_at(attempts=attempts, accepted_at=NOW - age, now=NOW, chance=chance)
    assert at is not None
    return (at - NOW) / dt.timedelta(minutes=1)


@pytest.mark.parametrize(("attempts", "minutes"), list(enumerate(MINUTES, start=1)))
def test_each_wait_is_2_3_times_the_last(attempts: int, minutes: float) -> None:
    """5 min, 12 min, 26 min, 1 h, 2.3 h, 5.4 h, 12 h, 28 h, 65 h."""
    assert _wait(attempts) == pytest.approx(minutes, rel=0.001)


def test_jitter_is_ten_percent_each_way() -> None:
    assert _wait(1, 0) == pytest.approx(4.5)
    assert _wait(1, 1) == pytest.approx(5.5)


@given(st.integers(1, 9), st.floats(0, 1))
def test_wait_is_within_the_jitter(attempts: int, chance: float) -> None:
    middle = _wait(attempts)

    assert 0.9 * middle - 0.001 <= _wait(attempts, chance) <= 1.1 * middle + 0.001


def test_all_waits_together_are_within_five_days() -> None:
    """The tenth attempt can still be made."""
    assert sum(MINUTES) < 5 * 24 * 60


@pytest.mark.parametrize("attempts", [10, 11, 100])
def test_ten_attempts_are_enough(attempts: int) -> None:
    assert SCHEDULE.next_attempt_at(attempts=attempts, accepted_at=NOW, now=NOW, chance=0) is None


def test_five_days_are_enough() -> None:
    """An attempt that would come later is not waited for."""
    last = dt.timedelta(days=5, minutes=-5)

    assert _wait(1, age=last) == pytest.approx(5)
    assert (
        SCHEDULE.next_attempt_at(
            attempts=1, accepted_at=NOW - last - dt.timedelta(seconds=1), now=NOW, chance=MIDDLE
        )
        is None
    )

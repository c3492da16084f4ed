"""Window arithmetic: fixed UTC hours and days, counted in accepted recipients.

Pure: `Meter` holds counters that were loaded for a whole set, debits them as submissions of the set
are accepted one after the other, and says which have changed.
"""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import dataclass
from typing import Final

from gatewayd.ids import TokenId

HOUR: Final = "hour"
DAY: Final = "day"

Key = tuple[TokenId, str, dt.datetime]


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of one token in the window that is open now."""

    key: Key
    allowed: int
    ends_at: dt.datetime


@functools.lru_cache(64)  # asked for each submission of a set, whose `now` is one
def limits(
    token_id: TokenId, *, hourly: int | None, daily: int | None, now: dt.datetime
) -> tuple[Limit, ...]:
    """The limits that apply now; None is none."""
    if hourly is None and daily is None:
        return ()
    hour = now.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    found: list[Limit] = []
    if hourly is not None:
        found.append(Limit((token_id, HOUR, hour), hourly, hour + dt.timedelta(hours=1)))
    if daily is not None:
        found.append(Limit((token_id, DAY, day), daily, day + dt.timedelta(days=1)))
    return tuple(found)


class Meter:
    """Counters of a set. All or nothing: a submission debits every window or none."""

    def __init__(self, used: dict[Key, int]) -> None:
        self._used = used
        self._debited: set[Key] = set()

    def exceeded(self, applying: tuple[Limit, ...], units: int) -> Limit | None:
        """The limit that so many units more would exceed; of several the one that ends last."""
        over = [limit for limit in applying if self.used(limit) + units > limit.allowed]
        return max(over, key=lambda limit: limit.ends_at, default=None)

    def debit(self, applying: tuple[Limit, ...], units: int) -> None:
        for limit in applying:
            self._used[limit.key] = self.used(limit) + units
            self._debited.add(limit.key)

    def used(self, limit: Limit) -> int:
        return self._used.get(limit.key, 0)

    @property
    def changed(self) -> dict[Key, int]:
        return {key: self._used[key] for key in sorted(self._debited)}

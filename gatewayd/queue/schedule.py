"""When to try next, and when to give up (RFC 5321 4.5.4.1).

After 5 minutes, each wait 2.3 times the last, 10% jitter; at most 10 attempts and 5 days:
5 min, 12 min, 26 min, 1 h, 2.3 h, 5.4 h, 12 h, 28 h, 65 h.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The retry policy of the configuration."""

    first: dt.timedelta = dt.timedelta(seconds=300)
    factor: float = 2.3
    jitter: float = 0.1
    attempts: int = 10
    max_age: dt.timedelta = dt.timedelta(days=5)

    def next_attempt_at(
        self, *, attempts: int, accepted_at: dt.datetime, now: dt.datetime, chance: float
    ) -> dt.datetime | None:
        """When to try again, or None when the recipient has expired.

        Args:
            attempts: how many were made, this one included.
            accepted_at: when we took responsibility.
            now: when the last attempt ended.
            chance: 0 to 1, drawn by the caller: where in the jitter the wait falls.
        """
        if attempts >= self.attempts:
            return None
        wait = self.first * self.factor ** (attempts - 1)
        at = now + wait * (1 + self.jitter * (2 * chance - 1))
        return at if at - accepted_at <= self.max_age else None

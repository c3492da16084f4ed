"""A clock that stands still until it is told."""

from __future__ import annotations

import datetime as dt

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)


class ManualClock:
    """Both faces of a Clock, moved together; it starts at NOW."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> dt.datetime:
        return NOW + dt.timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, *, seconds: float = 0, **more: float) -> None:
        """Let time pass: `advance(seconds=1)`, `advance(hours=5)`."""
        self.seconds += dt.timedelta(seconds=seconds, **more).total_seconds()

"""How much one next hop is given at once: slow start, back-off, and a breaker. Pure over a clock.

| what happened                   | window                             | breaker                  |
|---------------------------------|------------------------------------|--------------------------|
| first contact                   | `start`                            | closed                   |
| an attempt reached the next hop | +1; once backed off, +1 a window   | closed, pause forgotten  |
| it could not be reached         | halved, at least 1                 | opens after 3 in a row   |
| breaker open                    | 0                                  | 30 s, then 60 s .. 300 s |
| the pause is over               | 1 probe, and no more until it ends | closes or opens again    |

"Could not be reached" is about the session: no route, refused, no TLS, no login. A next hop that
answers 4yz to mail was reached. Three, because one reset is not an outage, and with a window of 5
the first burst alone proves it.
"""

from __future__ import annotations

from typing import Final

from gatewayd.clock import Clock

OPENS_AFTER: Final = 3  # attempts in a row that could not reach the next hop
PAUSE_FIRST_S: Final = 30.0
PAUSE_MAX_S: Final = 300.0


class Window:
    """Attempts that may run at one next hop at the same time."""

    def __init__(self, *, start: int, maximum: int, clock: Clock) -> None:
        self._size = float(min(start, maximum))
        self._maximum = maximum
        self._clock = clock
        self._slow_start = True
        self._is_proved = False
        self._failures = 0  # in a row
        self._pause_s = PAUSE_FIRST_S
        self._opens_at: float | None = None  # when the breaker lets a probe through
        self.running = 0

    @property
    def size(self) -> int:
        """How many may run now."""
        if self._opens_at is None:
            return int(self._size)
        return 1 if self._clock.monotonic() >= self._opens_at else 0

    @property
    def free(self) -> int:
        """How many more may start now."""
        return max(0, self.size - self.running)

    @property
    def probe_in_s(self) -> float | None:
        """Seconds until an open breaker lets a probe through; None when it is closed."""
        if self._opens_at is None:
            return None
        return max(0.0, self._opens_at - self._clock.monotonic())

    @property
    def is_paused(self) -> bool:
        """Whether the breaker is open; a probe may be due all the same."""
        return self._opens_at is not None

    @property
    def is_proved(self) -> bool:
        """Whether the latest attempt reached it, so that work may be kept ready."""
        return self._is_proved

    def started(self) -> None:
        self.running += 1

    def ended(self) -> None:
        """Count an attempt out that says nothing about the next hop, such as a released one."""
        self.running -= 1

    def reached(self) -> None:
        """An attempt ended that had a session, whatever was said in it."""
        self.running -= 1
        self._is_proved = True
        self._failures = 0
        self._opens_at = None
        self._pause_s = PAUSE_FIRST_S
        grown = self._size + (1 if self._slow_start else 1 / self._size)
        self._size = min(grown, float(self._maximum))

    def unreachable(self) -> None:
        """An attempt ended that could not get a session."""
        self.running -= 1
        self._is_proved = False
        self._failures += 1
        self._slow_start = False
        self._size = max(1.0, self._size / 2)
        if self._opens_at is not None and self._clock.monotonic() < self._opens_at:
            return  # started before the breaker opened: it proves nothing new
        if self._failures >= OPENS_AFTER:
            if self._opens_at is not None:
                self._pause_s = min(PAUSE_MAX_S, self._pause_s * 2)
            self._opens_at = self._clock.monotonic() + self._pause_s

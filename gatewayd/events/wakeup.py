"""Wakeup: a nudge inside the process after a commit. It carries no data, and may be lost.

Whoever waits looks into the database; the nudge only saves it the wait.
"""

from __future__ import annotations

import asyncio


class Wakeup:
    """One waiter, any number of callers, all on the loop's thread."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for a nudge since the last wait; False: none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True

"""Whether there is space for new mail: refuse while outcomes can still be recorded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from gatewayd.clock import Clock

FRESH_S: Final = 1.0
PART: Final = 0.05  # of the disk


class Space:
    """Looks at the disk at most once a second.

    New mail is refused below max(1.5 x the largest message, min(5% of the disk, `min_free_octets`),
    the reserve).
    """

    def __init__(
        self,
        directory: Path,
        *,
        message_octets: int,
        min_free_octets: int,
        reserve_octets: int,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._floor = max(message_octets * 3 // 2, reserve_octets)
        self._min_free = min_free_octets
        self._clock = clock
        self._looked_at = -FRESH_S
        self._has_room = True

    def has_room(self) -> bool:
        now = self._clock.monotonic()
        if now - self._looked_at >= FRESH_S:
            usage = shutil.disk_usage(self._directory)
            needed = max(self._floor, min(int(usage.total * PART), self._min_free))
            self._has_room = usage.free >= needed
            self._looked_at = now
        return self._has_room

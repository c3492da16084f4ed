"""What was taken into the spool a moment ago, and is still in memory.

A message is delivered as a rule soon after it was accepted, in the order of acceptance. Its octets
are those that were hashed when they came, so who gets them from here need not compare them with
their SHA-256. They are given away once: the next try, if there is one, reads the file.

| when there is no room       | because                                                   |
|-----------------------------|-----------------------------------------------------------|
| the new body is not kept    | those before it are asked for first                       |
| what is older than RECENT_S | is forgotten: a delivery that has not come yet is none of |
|                             | the next moment                                           |
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final

RECENT_OCTETS: Final = 16_777_216  # of bodies that were in memory whole, so of up to 256 KiB each
RECENT_S: Final = 30.0


class Recent:
    """Bodies by key, within a limit. May be called on any thread."""

    def __init__(self, limit_octets: int) -> None:
        self._limit_octets = limit_octets
        self._bodies: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._octets = 0
        self._lock = threading.Lock()

    def add(self, key: str, octets: bytes) -> None:
        """Keep a body if there is room for it."""
        now = time.monotonic()
        with self._lock:
            if self._octets + len(octets) > self._limit_octets:
                self._forget_before(now - RECENT_S)
            if self._octets + len(octets) <= self._limit_octets:
                self._bodies[key] = now, octets
                self._octets += len(octets)

    def take(self, key: str) -> bytes | None:
        """A body, if it is still here; it is not here any more."""
        with self._lock:
            _, octets = self._bodies.pop(key, (0.0, None))
            self._octets -= len(octets or b"")
        return octets

    def _forget_before(self, moment: float) -> None:
        while self._bodies:
            key, (added_at, octets) = next(iter(self._bodies.items()))
            if added_at > moment:
                return
            del self._bodies[key]
            self._octets -= len(octets)

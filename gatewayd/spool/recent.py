"""What was taken into the spool last, and is still in memory.

A message is delivered as a rule a moment after it was accepted. Its octets are those that were
hashed when they came, so whoever reads them here need not compare them with their SHA-256.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

RECENT_OCTETS: Final = 16_777_216  # of bodies that were in memory whole, so of up to 256 KiB each


class Recent:
    """Bodies by key, within a limit: the one that was added first is forgotten first.

    May be called on any thread.
    """

    def __init__(self, limit_octets: int) -> None:
        self._limit_octets = limit_octets
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._octets = 0
        self._lock = threading.Lock()

    def add(self, key: str, octets: bytes) -> None:
        with self._lock:
            self._bodies[key] = octets
            self._octets += len(octets)
            while self._octets > self._limit_octets:
                _, oldest = self._bodies.popitem(last=False)
                self._octets -= len(oldest)

    def find(self, key: str) -> bytes | None:
        return self._bodies.get(key)

    def forget(self, key: str) -> None:
        with self._lock:
            self._octets -= len(self._bodies.pop(key, b""))

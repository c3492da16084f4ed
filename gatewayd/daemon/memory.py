"""MemoryGuard: whether this process uses so much memory that it must take no new work.

| resident memory        | what happens                                                        |
|------------------------|---------------------------------------------------------------------|
| above the soft limit   | new SMTP connections get 421 4.3.2, HTTP requests 503, not ready    |
| below 14/15 of it      | all is as before                                                    |

What was freed is given back to the system, by `give_back`: the C library does so by itself only at
the end of its heap, so what 10,000 TLS sessions leave behind would count as used, and the next
10,000 would take as much again.

The soft limit is a key of the configuration, or three quarters of the least of: the machine's
memory, the limits of the cgroup and of those above it, RLIMIT_AS. At the hard limit the kernel
kills the process, which loses nothing, but costs every session.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

PART: Final = 0.75
RECOVERED: Final = 14 / 15  # 70% of what is allowed, where the soft limit is 75%
CGROUPS: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self")


class MemoryGuard:
    """Looks at the process when it is asked to.

    Args:
        soft_octets: above this, no new work.
        resident: octets that the process has in memory.
    """

    def __init__(self, soft_octets: int, *, resident: Callable[[], int]) -> None:
        self.soft_octets = soft_octets
        self._resident = resident
        self.is_short = False

    def look(self) -> bool:
        """Look again; whether `is_short` has changed by it."""
        octets = self._resident()
        before = self.is_short
        limit = self.soft_octets * (RECOVERED if before else 1)
        self.is_short = octets > limit
        return self.is_short is not before


def resident_octets(own: Path = OWN) -> int:
    """What this process has in memory now."""
    pages = int((own / "statm").read_text().split()[1])
    return pages * resource.getpagesize()


def give_back() -> None:
    """Return what is free in the heap to the system (malloc_trim(3)); not every C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def soft_limit(*, own: Path = OWN, cgroups: Path = CGROUPS) -> int:
    """Three quarters of what the machine, the cgroup and the process are allowed."""
    return int(min(_limits(own, cgroups)) * PART)


def _limits(own: Path, cgroups: Path) -> Iterator[int]:
    yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        yield soft
    for line in _lines(own / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:  # cgroup v2
            yield from _of_cgroup(cgroups, path, ("memory.max", "memory.high"))
        elif "memory" in controllers.split(","):
            yield from _of_cgroup(cgroups / "memory", path, ("memory.limit_in_bytes",))


def _of_cgroup(root: Path, path: str, names: tuple[str, ...]) -> Iterator[int]:
    """The limits of a cgroup and of each above it; inside a container the path may be unknown."""
    at = root / path.lstrip("/")
    for directory in (at, *at.parents):
        for name in names:
            for text in _lines(directory / name):
                if text.isdigit():
                    yield int(text)
        if directory == root:
            break


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().split("\n")[:-1]
    except OSError:
        return []

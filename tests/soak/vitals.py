"""Vitals: what one process of the daemon uses, sampled, and whether it grows.

Memory grows by the slope of a straight line through the samples (least squares), per hour. What
comes and goes with connections grows when it no longer goes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """One look, `at_s` seconds after the start of the process."""

    at_s: float
    rss_mib: float
    fds: int
    threads: int


def look(pid: int, at_s: float) -> Vitals:
    """What the kernel says of the process.

    Raises:
        OSError: it is gone.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    return Vitals(
        at_s=at_s,
        rss_mib=_number(status, "VmRSS") * 1024 / MIB,
        fds=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        threads=_number(status, "Threads"),
    )


def slope_per_hour(points: Sequence[tuple[float, float]]) -> float:
    """Of (seconds, value); 0 for fewer than two points."""
    count = len(points)
    if count < 2:
        return 0.0
    mean_at = sum(at for at, _ in points) / count
    mean = sum(value for _, value in points) / count
    spread = sum((at - mean_at) ** 2 for at, _ in points)
    together = sum((at - mean_at) * (value - mean) for at, value in points)
    return 3600 * together / spread if spread else 0.0


def grows(values: Sequence[int]) -> bool:
    """Whether the last quarter is all above the first: a leak, and no coming and going."""
    quarter = len(values) // 4
    return quarter > 0 and min(values[-quarter:]) > max(values[:quarter])


def _number(status: str, name: str) -> int:
    found = re.search(rf"(?m)^{name}:\s+(\d+)", status)
    if found is None:
        raise ProcessLookupError(f"no {name}: the process has ended")
    return int(found[1])

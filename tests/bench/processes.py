"""A look at processes of others: what they have used, and what they hold (proc(5))."""

from __future__ import annotations

import os
import re
from pathlib import Path


def resident_mib(pid: int) -> float:
    """Memory of one process that is in RAM now; 0 for none."""
    if not pid:
        return 0.0
    resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert resident is not None
    return int(resident[1]) / 1024


def processor_s(pid: int) -> float:
    """What a process and its descendants have used, those that are gone and waited for too.

    User and system time in seconds (proc(5): utime, stime, cutime, cstime).
    """
    if not pid:
        return 0.0
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        one = int(file.parent.name)
        parents[one] = int(words[1])
        used[one] = sum(int(word) for word in words[11:15])
    ticks = sum(used[one] for one in used if pid in _line(one, parents))
    return ticks / os.sysconf("SC_CLK_TCK")


def _line(pid: int, parents: dict[int, int]) -> list[int]:
    """A process and those that it descends from."""
    line = [pid]
    while line[-1] in parents and parents[line[-1]]:
        line.append(parents[line[-1]])
    return line

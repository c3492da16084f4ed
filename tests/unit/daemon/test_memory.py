"""daemon.memory: the soft limit, and what is short of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatewayd.daemon.memory import PART, MemoryGuard, give_back, resident_octets, soft_limit

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_short_above_the_limit_and_well_again_below_it() -> None:
    """It must fall below 14/15 of the limit, so that it does not flutter."""
    used = iter([1500, 1501, 1450, 1401, 1400, 1450])
    guard = MemoryGuard(1500, resident=lambda: next(used))

    seen = [(guard.look(), guard.is_short) for _ in range(6)]

    assert seen == [
        (False, False),
        (True, True),
        (False, True),
        (False, True),
        (True, False),
        (False, False),
    ]


def test_resident_octets_of_this_process() -> None:
    """More than Python itself, less than the machine has."""
    assert 1 << 20 < resident_octets() < MACHINE


def test_give_back_returns_what_is_free_below_the_end_of_the_heap() -> None:
    """What is still in use here and there keeps the rest, until it is given back."""
    octets, count = 20_000, 5_000
    blocks = [bytes(octets) for _ in range(count)]
    in_use = blocks[::-100]
    blocks.clear()
    before = resident_octets()

    give_back()

    assert before - resident_octets() > octets * count / 2
    assert len(in_use) == 50


@pytest.mark.parametrize(
    ("lines", "files", "least"),
    [
        ("", {}, MACHINE),
        ("0::/a/b\n", {}, MACHINE),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "memory.max": "max\n"}, MACHINE),
        ("0::/a/b\n", {"a/b/memory.max": "1000000\n"}, 1_000_000),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.high": "2000000\n"}, 2_000_000),
        ("0::/gone\n", {"memory.max": "3000000\n"}, 3_000_000),
        (
            "5:cpu,memory:/x\n4:pids:/\n",
            {"memory/x/memory.limit_in_bytes": "4000000\n"},
            4_000_000,
        ),
        ("5:memory:/x\n", {"memory/memory.limit_in_bytes": f"{1 << 63}\n"}, MACHINE),
    ],
)
def test_soft_limit_is_part_of_the_least(
    tmp_path: Path, lines: str, files: dict[str, str], least: int
) -> None:
    """Of the machine, the cgroup and those above it, in both versions."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "cgroup").write_text(lines)
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)

    found = soft_limit(own=tmp_path / "own", cgroups=tmp_path / "groups")

    assert found == int(least * PART)

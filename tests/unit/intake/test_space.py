"""intake.space: new mail is refused while outcomes can still be recorded."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from gatewayd.intake.space import Space
from tests.fakes.clock import ManualClock

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as shutil has it
MIB = 1 << 20


class Disk:
    """What `shutil.disk_usage` says."""

    def __init__(self, *, total: int, free: int) -> None:
        self.total, self.free, self.looks = total, free, 0

    def usage(self, _: Path) -> Usage:
        self.looks += 1
        return Usage(self.total, self.total - self.free, self.free)


def _space(
    monkeypatch: pytest.MonkeyPatch, clock: ManualClock, disk: Disk, *, min_free: int = 1000 * MIB
) -> Space:
    monkeypatch.setattr(shutil, "disk_usage", disk.usage)
    return Space(
        Path("/"), message_octets=10 * MIB, min_free_octets=min_free, reserve_octets=16 * MIB,
        clock=clock,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("total", "min_free", "needed"),
    [
        (100_000 * MIB, 1000 * MIB, 1000 * MIB),  # min_free_octets
        (1000 * MIB, 1000 * MIB, 50 * MIB),  # 5% of a small disk
        (100 * MIB, 1000 * MIB, 16 * MIB),  # the reserve
        (100 * MIB, 1, 16 * MIB),
    ],
)
def test_room_ends_at_the_floor(
    monkeypatch: pytest.MonkeyPatch, clock: ManualClock, total: int, min_free: int, needed: int
) -> None:
    for free, has_room in ((needed, True), (needed - 1, False)):
        disk = Disk(total=total, free=free)
        assert _space(monkeypatch, clock, disk, min_free=min_free).has_room() is has_room


def test_disk_is_looked_at_once_a_second(
    monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    disk = Disk(total=100 * MIB, free=99 * MIB)
    space = _space(monkeypatch, clock, disk)
    assert [space.has_room() for _ in range(9)] == [True] * 9
    disk.free = 0
    clock.advance(seconds=0.9)
    assert space.has_room() is True
    clock.advance(seconds=0.1)
    assert space.has_room() is False

    assert disk.looks == 2

"""keys.verp: reverse-paths under a ring, for some days, through a rotation."""

from __future__ import annotations

import datetime as dt

import pytest

from gatewayd.keys import rotate
from gatewayd.keys.ring import KeyRing, Purpose, new_ring
from gatewayd.keys.verp import ReversePaths
from tests.fakes.clock import ManualClock

IDENT = "01936f1e-0000-7000-8000-000000000001"
DAYS = 14


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def verp_ring(clock: ManualClock) -> KeyRing:
    return new_ring(Purpose.VERP, created_at=clock.now())


def _paths(ring: KeyRing, clock: ManualClock) -> ReversePaths:
    return ReversePaths(
        ring, domain="bounces.example.com", lifetime=dt.timedelta(days=DAYS), clock=clock
    )


def _local_part(paths: ReversePaths) -> str:
    address = paths.make(IDENT).address
    assert address is not None
    assert address.domain == "bounces.example.com"
    return address.local_part


def test_reverse_path_is_believed_until_its_last_day(
    verp_ring: KeyRing, clock: ManualClock
) -> None:
    """On the fourteenth day still, on the fifteenth no more."""
    paths = _paths(verp_ring, clock)
    made = _local_part(paths)

    assert paths.read(made) == paths.read(made.upper()) == IDENT
    clock.advance(days=DAYS)
    assert paths.read(made) == IDENT
    clock.advance(days=1)
    assert paths.read(made) is None


def test_reverse_path_of_other_keys_is_not_believed(verp_ring: KeyRing, clock: ManualClock) -> None:
    """Neither of another installation, nor of another purpose of the same secret."""
    made = _local_part(_paths(verp_ring, clock))
    other = new_ring(Purpose.VERP, created_at=clock.now())

    assert _paths(other, clock).read(made) is None


def test_rotation_keeps_what_is_on_its_way(verp_ring: KeyRing, clock: ManualClock) -> None:
    """The old key reads until it is dropped; the next one reads before it writes."""
    paths = _paths(verp_ring, clock)
    first = _local_part(paths)
    begun = rotate.begin(verp_ring, now=clock.now())
    switched = rotate.switch(begun)
    second = _local_part(_paths(switched, clock))

    paths.use(begun)
    assert (paths.read(first), paths.read(second)) == (IDENT, IDENT)
    paths.use(switched)
    assert (paths.read(first), _local_part(paths)) == (IDENT, second)
    paths.use(rotate.finish(switched, still_needed=0))
    assert (paths.read(first), paths.read(second)) == (None, IDENT)

"""What we sign, for the tests of this room."""

from __future__ import annotations

import datetime as dt

import pytest

from gatewayd.bounces.signed import Signed
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.keys.verp import ReversePaths
from gatewayd.tracking.links import Links
from tests.fakes.clock import NOW, ManualClock


@pytest.fixture
def links() -> Links:
    return Links(new_ring(Purpose.TRACKING, created_at=NOW), "https://gw.example")


@pytest.fixture
def reverse_paths(clock: ManualClock) -> ReversePaths:
    ring = new_ring(Purpose.VERP, created_at=NOW)
    return ReversePaths(
        ring, domain="bounces.example.com", lifetime=dt.timedelta(days=14), clock=clock
    )


@pytest.fixture
def signed(reverse_paths: ReversePaths, links: Links) -> Signed:
    return Signed(reverse_paths, links.find_leaving)

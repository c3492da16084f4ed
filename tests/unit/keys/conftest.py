"""Rings and times for the key tests."""

from __future__ import annotations

import datetime as dt

import pytest

from gatewayd.keys.ring import KeyRing, Purpose, new_ring


@pytest.fixture
def now() -> dt.datetime:
    """Some time."""
    return dt.datetime(2026, 11, 21, 9, 30, tzinfo=dt.UTC)


@pytest.fixture
def ring(now: dt.datetime) -> KeyRing:
    """A new ring of one key."""
    return new_ring(Purpose.FERNET, created_at=now)

"""keys.rotate: three phases, in their order only."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.errors import Refused
from gatewayd.keys.ring import KIDS, KeyRing, KeyState
from gatewayd.keys.rotate import begin, finish, switch


def states(ring: KeyRing) -> list[tuple[str, str]]:
    """Key ids and their states."""
    return [(key.kid, key.state.value) for key in ring.keys]


def test_three_phases(ring: KeyRing, now: dt.datetime) -> None:
    """One row of the module's table after the other."""
    later = now + dt.timedelta(days=90)
    begun = begin(ring, now=later)
    switched = switch(begun)
    finished = finish(switched, still_needed=0)

    assert states(begun) == [("a", "active"), ("b", "next")]
    assert states(switched) == [("a", "old"), ("b", "active")]
    assert states(finished) == [("b", "active")]
    assert finished.active.created_at == later
    assert finished.active.secret != ring.active.secret


def test_begin_twice_is_refused(ring: KeyRing, now: dt.datetime) -> None:
    """The first next key may be in use as a reader already."""
    with pytest.raises(Refused, match="next key is there already") as caught:
        begin(begin(ring, now=now), now=now)

    assert caught.value.code == "conflict"


def test_begin_before_finish_is_refused(ring: KeyRing, now: dt.datetime) -> None:
    """One rotation at a time."""
    with pytest.raises(Refused, match="old key"):
        begin(switch(begin(ring, now=now)), now=now)


def test_switch_before_begin_is_refused(ring: KeyRing, now: dt.datetime) -> None:
    """And a second time."""
    with pytest.raises(Refused, match="no next key"):
        switch(ring)
    with pytest.raises(Refused, match="no next key"):
        switch(switch(begin(ring, now=now)))


def test_finish_before_switch_is_refused(ring: KeyRing, now: dt.datetime) -> None:
    """And without a rotation, and a second time."""
    with pytest.raises(Refused, match="no old key"):
        finish(ring, still_needed=0)
    with pytest.raises(Refused, match="not in use yet"):
        finish(begin(ring, now=now), still_needed=0)
    with pytest.raises(Refused, match="no old key"):
        finish(finish(switch(begin(ring, now=now)), still_needed=0), still_needed=0)


def test_finish_is_refused_while_the_old_key_is_needed(ring: KeyRing, now: dt.datetime) -> None:
    """The number tells how far re-encryption is."""
    with pytest.raises(Refused, match="17 still need the old key"):
        finish(switch(begin(ring, now=now)), still_needed=17)


def test_key_ids_go_round(ring: KeyRing, now: dt.datetime) -> None:
    """A key id comes back after 32 rotations, not before."""
    kids = [ring.active.kid]
    for _ in range(33):
        ring = finish(switch(begin(ring, now=now)), still_needed=0)
        kids.append(ring.active.kid)

    assert "".join(kids) == KIDS + "ab"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(phases=st.lists(st.sampled_from(["begin", "switch", "finish"]), max_size=20))
def test_any_order_keeps_one_active_key_and_never_drops_it(
    ring: KeyRing, now: dt.datetime, phases: list[str]
) -> None:
    """Whatever is asked for, what the active key wrote stays readable after it."""
    for phase in phases:
        before = ring
        try:
            if phase == "begin":
                ring = begin(ring, now=now)
            elif phase == "switch":
                ring = switch(ring)
            else:
                ring = finish(ring, still_needed=0)
        except Refused:
            continue
        known = {(key.kid, key.secret) for key in ring.readable}
        assert (before.active.kid, before.active.secret) in known
        assert len(ring.old) <= 1
        # A key writes only after a phase in which all could read with it.
        assert ring.active.kid in {key.kid for key in before.readable}
        assert all(key.state is not KeyState.OLD for key in ring.keys if phase == "finish")

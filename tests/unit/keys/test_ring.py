"""keys.ring: what a ring may hold, and keys derived from it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from gatewayd.keys.ring import Key, KeyRing, KeyState, Purpose, new_key, new_ring

SECRET = bytes(range(32))


def key(kid: str, state: KeyState, now: dt.datetime) -> Key:
    """A key with known octets."""
    return Key(kid=kid, state=state, secret=SECRET, created_at=now)


def test_ring_knows_its_keys_by_state(now: dt.datetime) -> None:
    """One seals, all open: active, next, old."""
    old, active = key("a", KeyState.OLD, now), key("b", KeyState.ACTIVE, now)
    following = key("c", KeyState.NEXT, now)
    ring = KeyRing(purpose=Purpose.JWT, keys=(old, following, active))

    assert ring.active is active
    assert ring.next is following
    assert ring.old == (old,)
    assert ring.readable == (active, following, old)


def test_find_takes_any_text(ring: KeyRing) -> None:
    """A key id from the network is a name to look up, no more."""
    assert ring.find(ring.active.kid) is ring.active
    assert ring.find("") is None
    assert ring.find("../../etc/passwd") is None


def test_new_rings_differ(now: dt.datetime) -> None:
    """Keys are random."""
    one, two = new_ring(Purpose.VERP, created_at=now), new_ring(Purpose.VERP, created_at=now)

    assert one.active.kid == two.active.kid == "a"
    assert one.active.secret != two.active.secret
    assert len(one.active.secret) == 32


def test_derive_is_hkdf_sha256_for_ever(now: dt.datetime) -> None:
    """RFC 5869, without salt, the label in the info. Stored data depends on it."""
    ring = KeyRing(purpose=Purpose.TRACKING, keys=(key("a", KeyState.ACTIVE, now),))

    assert ring.derive("a", b"open").hex() == (
        "0cd2a4a052db020398e03b3b79e762855fcac8817c0e686d78157c0a4df0d705"
    )
    assert ring.derive("a", b"click") != ring.derive("a", b"open")


def test_derive_of_an_unknown_key_is_a_key_error(ring: KeyRing) -> None:
    """Ask `find` first for what came from outside."""
    with pytest.raises(KeyError):
        ring.derive("z", b"open")


@pytest.mark.parametrize(
    "states",
    [
        [],
        [KeyState.OLD],
        [KeyState.ACTIVE, KeyState.ACTIVE],
        [KeyState.ACTIVE, KeyState.NEXT, KeyState.NEXT],
    ],
)
def test_ring_that_cannot_be_is_refused(states: list[KeyState], now: dt.datetime) -> None:
    """One active, at most one next."""
    with pytest.raises(ValueError, match="key ring"):
        KeyRing(
            purpose=Purpose.JWT,
            keys=tuple(key(kid, state, now) for kid, state in zip("abc", states, strict=False)),
        )


def test_key_id_stands_once(now: dt.datetime) -> None:
    """Otherwise it names nothing."""
    with pytest.raises(ValueError, match="once"):
        KeyRing(
            purpose=Purpose.JWT,
            keys=(key("a", KeyState.ACTIVE, now), key("a", KeyState.OLD, now)),
        )


@pytest.mark.parametrize("kid", ["", "A", "0", "1", "8", "ab", "\u00e4", " "])
def test_key_id_is_one_character_of_base32(kid: str, now: dt.datetime) -> None:
    """Lower case, so that folding an address does not change it."""
    with pytest.raises(ValueError, match="key id"):
        new_key(KeyState.ACTIVE, kid=kid, created_at=now)


def test_key_has_32_octets_and_a_zone(now: dt.datetime) -> None:
    """A shorter key would be a weaker one."""
    good = key("a", KeyState.ACTIVE, now)

    with pytest.raises(ValueError, match="32 octets"):
        replace(good, secret=SECRET[:-1])
    with pytest.raises(ValueError, match="zone"):
        replace(good, created_at=now.replace(tzinfo=None))


def test_secret_is_not_in_repr(now: dt.datetime) -> None:
    """Neither of a key nor of a ring."""
    ring = KeyRing(purpose=Purpose.JWT, keys=(key("a", KeyState.ACTIVE, now),))

    assert "secret" not in repr(ring)
    assert "x01" not in repr(ring)
    assert "secret" not in str(ring.active)

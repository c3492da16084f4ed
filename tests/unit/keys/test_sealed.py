"""keys.sealed: secrets at rest, through a whole rotation."""

from __future__ import annotations

import datetime as dt
import traceback

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.errors import KeyFileError
from gatewayd.keys.ring import KeyRing, Purpose, new_ring
from gatewayd.keys.rotate import begin, finish, switch
from gatewayd.keys.sealed import Sealer


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text())
def test_any_text_opens_as_it_was_sealed(ring: KeyRing, text: str) -> None:
    """Empty, long and beyond ASCII; the sealed text is ASCII."""
    sealer = Sealer(ring)

    sealed = sealer.seal(text)

    assert sealed.isascii()
    assert sealed.startswith("a:gAAAA")
    assert sealer.open(sealed) == text
    assert sealer.seal(text) != sealed


def test_rotation_loses_no_secret(ring: KeyRing, now: dt.datetime) -> None:
    """Sealed before, opened in every phase; after `reseal` the old key can go."""
    sealed = Sealer(ring).seal("secret")
    begun = begin(ring, now=now)
    switched = switch(begun)
    resealed = Sealer(switched).reseal(sealed)

    assert Sealer(begun).open(sealed) == "secret"
    assert Sealer(switched).open(sealed) == "secret"
    assert Sealer(begun).open(resealed) == "secret"
    assert resealed.startswith("b:gAAAA")
    assert Sealer(finish(switched, still_needed=0)).open(resealed) == "secret"


def test_prefix_tells_what_still_needs_the_old_key(ring: KeyRing, now: dt.datetime) -> None:
    """Rows are counted without opening one."""
    before, after = Sealer(ring), Sealer(switch(begin(ring, now=now)))

    assert (before.prefix, after.prefix) == ("a:", "b:")
    assert not before.seal("x").startswith(after.prefix)
    assert after.reseal(before.seal("x")).startswith(after.prefix)


def test_reseal_twice_changes_nothing(ring: KeyRing) -> None:
    """So a rotation that was killed at any row goes on from the start."""
    sealer = Sealer(ring)
    sealed = sealer.seal("secret")

    assert sealer.reseal(sealed) == sealed


def test_next_key_seals_nothing_yet(ring: KeyRing, now: dt.datetime) -> None:
    """Other processes may not have it."""
    assert Sealer(ring).open(Sealer(begin(ring, now=now)).seal("secret")) == "secret"


@pytest.mark.parametrize("text", ["", "a:", "plain-password", "\u00e4:\u00e4", "a:gAAAAA", ":"])
def test_what_was_never_sealed_does_not_open(ring: KeyRing, text: str) -> None:
    """The error says which file to restore."""
    with pytest.raises(KeyFileError, match=r"fernet\.keys"):
        Sealer(ring).open(text)


def test_error_does_not_repeat_what_does_not_open(ring: KeyRing) -> None:
    """It may be a password that somebody wrote into the row."""
    with pytest.raises(KeyFileError) as caught:
        Sealer(ring).open("plain-password")

    assert "plain-password" not in "".join(traceback.format_exception_only(caught.value))


def test_secret_of_another_ring_does_not_open(ring: KeyRing, now: dt.datetime) -> None:
    """The key id is the same, the key is not."""
    sealed = Sealer(new_ring(Purpose.FERNET, created_at=now)).seal("secret")

    with pytest.raises(KeyFileError, match="with key a"):
        Sealer(ring).open(sealed)
    with pytest.raises(KeyFileError, match="with key a"):
        Sealer(switch(begin(ring, now=now))).reseal(sealed)


def test_changed_text_does_not_open(ring: KeyRing) -> None:
    """One character anywhere in the token, but the last, which has bits without meaning."""
    sealer = Sealer(ring)
    sealed = sealer.seal("secret")
    for at in range(2, len(sealed.rstrip("=")) - 1):
        changed = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        with pytest.raises(KeyFileError):
            sealer.open(changed)


def test_sealer_shows_no_secret(ring: KeyRing) -> None:
    """In repr and in the names of its attributes that a debugger prints."""
    assert ring.active.secret.hex() not in repr(Sealer(ring))
    assert "Fernet" not in repr(Sealer(ring))

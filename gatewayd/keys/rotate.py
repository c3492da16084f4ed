"""Rotation in three phases, each a function from ring to ring; saving it is the caller's.

| phase  | before       | after             | between this phase and the one after it        |
|--------|--------------|-------------------|------------------------------------------------|
| begin  | active       | active, next      | every process loads the ring, so all can read  |
| switch | active, next | active (new), old | what the old key made is made anew, or expires |
| finish | active, old  | active            |                                                |

A phase out of turn is refused, so that a script that runs twice does no harm.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from gatewayd.errors import Code, Refused
from gatewayd.keys.ring import KIDS, KeyRing, KeyState, new_key


def begin(ring: KeyRing, *, now: dt.datetime) -> KeyRing:
    """Add a next key, which reads and does not write yet.

    Raises:
        Refused: a rotation is under way.
    """
    _refuse_if(ring.next is not None, ring, "a next key is there already; switch to it")
    _refuse_if(bool(ring.old), ring, "an old key of the last rotation is still there; finish that")
    key = new_key(KeyState.NEXT, kid=_free_kid(ring), created_at=now)
    return replace(ring, keys=(*ring.keys, key))


def switch(ring: KeyRing) -> KeyRing:
    """The next key becomes the active one, the active one old.

    Raises:
        Refused: there is no next key.
    """
    _refuse_if(ring.next is None, ring, "there is no next key to switch to; begin a rotation")
    after = {KeyState.NEXT: KeyState.ACTIVE, KeyState.ACTIVE: KeyState.OLD}
    return replace(
        ring,
        keys=tuple(replace(key, state=after.get(key.state, key.state)) for key in ring.keys),
    )


def finish(ring: KeyRing, *, still_needed: int) -> KeyRing:
    """Drop the old keys.

    Args:
        ring: after a switch.
        still_needed: how many rows, tokens or links only an old key can read.

    Raises:
        Refused: something needs an old key, there is none, or no switch came before.
    """
    _refuse_if(ring.next is not None, ring, "the next key is not in use yet; switch to it")
    _refuse_if(not ring.old, ring, "there is no old key to drop; begin a rotation")
    _refuse_if(
        still_needed > 0,
        ring,
        f"{still_needed} still need the old key; re-encrypt them or wait until they expire",
    )
    return replace(ring, keys=tuple(key for key in ring.keys if key.state is not KeyState.OLD))


def _free_kid(ring: KeyRing) -> str:
    """The character after that of the active key, round and round, so none comes back soon."""
    start = KIDS.index(ring.active.kid) + 1
    used = {key.kid for key in ring.keys}
    return next(kid for kid in KIDS[start:] + KIDS[:start] if kid not in used)


def _refuse_if(wrong: bool, ring: KeyRing, why: str) -> None:
    if wrong:
        raise Refused(Code.CONFLICT, f"{ring.purpose.value} keys: {why} first.")

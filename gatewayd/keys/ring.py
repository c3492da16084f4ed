"""KeyRing: the keys of one purpose, of which one is in use.

| state  | seals and signs | opens and verifies | there may be |
|--------|-----------------|--------------------|--------------|
| next   | no              | yes                | none or one  |
| active | yes             | yes                | one          |
| old    | no              | yes                | none or more |

Every node and process has to read with a key before the first one writes with it: that is what
`next` is for. A key of the ring is a root: what is used comes from it by HKDF under a label
(RFC 5869), so two uses never share octets.
"""

from __future__ import annotations

import datetime as dt
import enum
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_OCTETS: Final = 32

# One character of base32 in lower case: it has to fit into an address that a remote may fold.
KIDS: Final = "abcdefghijklmnopqrstuvwxyz234567"


class Purpose(enum.StrEnum):
    """What a ring is for; also the name of its file."""

    FERNET = "fernet"  # secrets in the database
    JWT = "jwt"  # access tokens
    VERP = "verp"  # reverse-paths that name a recipient
    TRACKING = "tracking"  # links and pixels


class KeyState(enum.StrEnum):
    """Where a key is in its life."""

    NEXT = "next"
    ACTIVE = "active"
    OLD = "old"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One root. kid: what names it in tokens, addresses and rows; one character of `KIDS`."""

    kid: str
    state: KeyState
    secret: bytes = field(repr=False)
    created_at: dt.datetime

    def __post_init__(self) -> None:
        if len(self.kid) != 1 or self.kid not in KIDS:
            raise ValueError("a key id is one character of a-z and 2-7")
        if len(self.secret) != SECRET_OCTETS:
            raise ValueError(f"a key has {SECRET_OCTETS} octets")
        if self.created_at.tzinfo is None:
            raise ValueError("the time of a key needs a zone")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """All keys of a purpose.

    Raises:
        ValueError: not exactly one active key, more than one next, or a key id that is there twice.
    """

    purpose: Purpose
    keys: tuple[Key, ...]

    def __post_init__(self) -> None:
        if len(self._in_state(KeyState.ACTIVE)) != 1:
            raise ValueError("a key ring needs one active key, and only one")
        if len(self._in_state(KeyState.NEXT)) > 1:
            raise ValueError("a key ring has at most one next key")
        if len({key.kid for key in self.keys}) != len(self.keys):
            raise ValueError("a key id may stand once in a key ring")

    @property
    def active(self) -> Key:
        """The key that seals and signs."""
        return self._in_state(KeyState.ACTIVE)[0]

    @property
    def next(self) -> Key | None:
        """The key that will be active after the next switch."""
        keys = self._in_state(KeyState.NEXT)
        return keys[0] if keys else None

    @property
    def old(self) -> tuple[Key, ...]:
        """Keys that only read what was made before they were replaced."""
        return self._in_state(KeyState.OLD)

    @property
    def readable(self) -> tuple[Key, ...]:
        """Every key that opens and verifies: active, next, old."""
        return (self.active, *self._in_state(KeyState.NEXT), *self.old)

    def find(self, kid: str) -> Key | None:
        """The key of this id, which may have come from the network."""
        return next((key for key in self.keys if key.kid == kid), None)

    def derive(self, kid: str, label: bytes) -> bytes:
        """32 octets for one use of one key: HKDF-SHA256, no salt, info `gatewayd/` and the label.

        Raises:
            KeyError: no key has this id.
        """
        key = self.find(kid)
        if key is None:
            raise KeyError(kid)
        return HKDF(
            algorithm=hashes.SHA256(), length=SECRET_OCTETS, salt=None, info=b"gatewayd/" + label
        ).derive(key.secret)

    def _in_state(self, state: KeyState) -> tuple[Key, ...]:
        return tuple(key for key in self.keys if key.state is state)


def new_key(state: KeyState, *, kid: str, created_at: dt.datetime) -> Key:
    """A key of random octets."""
    return Key(
        kid=kid, state=state, secret=secrets.token_bytes(SECRET_OCTETS), created_at=created_at
    )


def new_ring(purpose: Purpose, *, created_at: dt.datetime) -> KeyRing:
    """A ring of one active key."""
    key = new_key(KeyState.ACTIVE, kid=KIDS[0], created_at=created_at)
    return KeyRing(purpose=purpose, keys=(key,))

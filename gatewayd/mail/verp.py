"""Signed VERP local-part: encode, decode.

```
bounce+ 01936f1e...  .  a      0gq7            mz3x...
        id (26)         kid(1) expiry day (4)  MAC (16)        55 octets
```

All of it is base32 in lower case (RFC 4648 6), which a remote that folds case leaves alone; upper
case is read too. The id is a UUID, of a recipient or of a message. The day is counted from
1970-01-01 UTC and is the last on which the address is believed. The MAC is 80 bits of HMAC-SHA256
over everything before it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "bounce+"
LOCAL_PART_OCTETS: Final = 55
MAC_OCTETS: Final = 10

_DIGITS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = [one + other for one in _DIGITS for other in _DIGITS]  # for ten bits
_ID_OCTETS: Final = 16
_SHAPE: Final = re.compile(
    r"bounce\+([a-z2-7]{26})\.([a-z2-7])([a-z2-7]{4})([a-z2-7]{16})"
).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Verp:
    """What an address says; true only when `is_authentic` says so.

    ident: id of the recipient, or of the message that several recipients share.
    expires_day: days since 1970-01-01, UTC.
    """

    ident: str
    kid: str
    expires_day: int
    signed: str
    mac: str

    def is_authentic(self, key: bytes) -> bool:
        """Compare the MAC, in constant time."""
        return hmac.compare_digest(self.mac, _mac(_digest(self.signed.encode("ascii"), key)))


def encode(ident: str, *, kid: str, expires_day: int, key: bytes) -> str:
    """The local-part for an id, in UUID text form."""
    return encode_by(
        ident, kid=kid, expires_day=expires_day, digest=lambda octets: _digest(octets, key)
    )


def encode_by(ident: str, *, kid: str, expires_day: int, digest: Callable[[bytes], bytes]) -> str:
    """As `encode`, with the HMAC-SHA256 of a key that is at hand."""
    octets = bytes.fromhex(ident.replace("-", ""))
    if len(octets) != _ID_OCTETS:
        raise ValueError("an id is a UUID")
    signed = f"{PREFIX}{_base32(octets)}.{kid}{_day(expires_day)}"
    return signed + _mac(digest(signed.encode("ascii")))


def decode(local_part: str) -> Verp | None:
    """Take an address apart, whatever its case; None when it has another shape."""
    text = local_part.lower() if local_part.isascii() else ""
    match = _SHAPE(text)
    if match is None:
        return None
    octets = base64.b32decode(match[1].upper() + "======")
    if _base32(octets) != match[1]:
        return None  # its last two bits are no bits of the id: another spelling of the same
    return Verp(
        ident=str(uuid.UUID(bytes=octets)),
        kid=match[2],
        expires_day=sum(_DIGITS.index(digit) << 5 * (3 - at) for at, digit in enumerate(match[3])),
        signed=text[: -len(match[4])],
        mac=match[4],
    )


def _digest(octets: bytes, key: bytes) -> bytes:
    return hmac.digest(key, octets, hashlib.sha256)


def _mac(digest: bytes) -> str:
    return _base32(digest[:MAC_OCTETS])


def _base32(octets: bytes) -> str:
    """In lower case, without padding; `base64` goes by way of three other forms."""
    bits = len(octets) * 8
    pairs = -(-bits // 10)
    number = int.from_bytes(octets, "big") << pairs * 10 - bits
    digits = "".join([_PAIRS[number >> at & 1023] for at in range(pairs * 10 - 10, -1, -10)])
    return digits[: -(-bits // 5)]


@functools.lru_cache(maxsize=16)
def _day(day: int) -> str:
    return "".join(_DIGITS[(day >> shift) & 31] for shift in (15, 10, 5, 0))

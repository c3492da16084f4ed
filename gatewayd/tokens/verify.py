"""Read a token: signature, time and claims. Whether it was revoked is for `service.py`.

The algorithm is fixed by the key (RFC 8725 3.1): a key id names an Ed25519 key, and nothing in the
token can choose another. Of the header only `alg`, `typ` and `kid` are allowed, so there is
nothing to fetch (`jku`, `x5u`), trust (`jwk`), skip (`b64`), inflate (`zip`) or fail to understand
(`crit`).
"""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gatewayd.clock import Clock
from gatewayd.config.security import TokensSection
from gatewayd.errors import Code, Refused
from gatewayd.ids import TokenId
from gatewayd.keys.ring import KeyRing
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.tokens.claims import Scope

ALGORITHM: Final = "EdDSA"
LABEL: Final = b"jwt/ed25519"
REQUIRED: Final = ("iss", "aud", "sub", "jti", "iat", "exp")
_HEADER: Final = frozenset({"alg", "typ", "kid"})
_CACHED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a token with a good signature says."""

    token_id: TokenId
    mailbox: Address
    scopes: frozenset[Scope]
    hourly: int | None
    daily: int | None
    allowed_recipient_domains: frozenset[str] | None
    sandbox: bool
    expires_at: dt.datetime


def signing_key(ring: KeyRing, kid: str) -> Ed25519PrivateKey:
    """The key that a key id stands for."""
    return Ed25519PrivateKey.from_private_bytes(ring.derive(kid, LABEL))


class Verifier:
    """Verifies tokens, and remembers those that it found good: signatures are not cheap."""

    def __init__(
        self, ring: KeyRing, *, section: TokensSection, token_octets: int, clock: Clock
    ) -> None:
        self._section = section
        self._token_octets = token_octets
        self._clock = clock
        self._leeway = dt.timedelta(seconds=section.leeway_s)
        self._keys: Mapping[str, Ed25519PublicKey] = {}
        self._good: OrderedDict[str, Verified] = OrderedDict()
        self.use(ring)

    def use(self, ring: KeyRing) -> None:
        """Take other keys, after a rotation."""
        self._keys = {key.kid: signing_key(ring, key.kid).public_key() for key in ring.readable}
        self._good.clear()

    def verify(self, token: str) -> Verified:
        """What a token says.

        Raises:
            Refused: token_invalid or token_expired.
        """
        found = self._good.get(token)
        if found is None:
            found = self._read(token)
            self._good[token] = found
            if len(self._good) > _CACHED:
                self._good.popitem(last=False)
        if found.expires_at + self._leeway <= self._clock.now():
            raise expired()
        return found

    def _read(self, token: str) -> Verified:
        if len(token) > self._token_octets or not token.isascii():
            raise invalid("too long, or not ASCII")
        try:
            header = jwt.get_unverified_header(token)
            if not header.keys() <= _HEADER or header.get("alg") != ALGORITHM:
                raise invalid("a header that is not ours")
            key = self._keys.get(str(header.get("kid")))
            if key is None:
                raise invalid("an unknown key id")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._section.audience,
                issuer=self._section.issuer,
                options={
                    "require": list(REQUIRED),
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            self._check_issued(claims)
            return _read_claims(claims)
        except (
            jwt.PyJWTError,
            AddressSyntaxError,
            ValueError,
            TypeError,
            KeyError,
            OverflowError,
            RecursionError,
        ) as error:
            raise invalid(type(error).__name__) from error

    def _check_issued(self, claims: dict[str, Any]) -> None:
        """No token from the future; PyJWT would compare with the machine's clock, not ours."""
        for claim in ("iat", "nbf"):
            if claim in claims and _instant(claims[claim]) > self._clock.now() + self._leeway:
                raise ValueError(claim)


def _read_claims(claims: dict[str, Any]) -> Verified:
    limits = claims.get("send_limits") or {}
    domains = claims.get("allowed_recipient_domains")
    sandbox = claims.get("sandbox", False)
    if not isinstance(sandbox, bool) or not isinstance(limits, dict):
        raise TypeError("sandbox or send_limits")
    if domains is not None and not isinstance(domains, list):
        raise TypeError("allowed_recipient_domains")
    words = str(claims.get("scope", "")).split()
    known = {scope.value for scope in Scope}
    return Verified(
        token_id=TokenId(str(claims["jti"])),
        mailbox=Address.parse(str(claims["sub"])),
        scopes=frozenset(Scope(word) for word in words if word in known),
        hourly=_limit(limits.get("hourly")),
        daily=_limit(limits.get("daily")),
        allowed_recipient_domains=None if domains is None else frozenset(map(str, domains)),
        sandbox=sandbox,
        expires_at=_instant(claims["exp"]),
    )


def _limit(value: Any) -> int | None:  # noqa: ANN401 - a claim may hold anything
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("send_limits")
    return value


def _instant(value: Any) -> dt.datetime:  # noqa: ANN401 - a claim may hold anything
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a time is a number")
    return dt.datetime.fromtimestamp(value, tz=dt.UTC)


def invalid(reason: str) -> Refused:
    return Refused(
        Code.TOKEN_INVALID, "the token is not valid here; ask your operator for one", reason=reason
    )


def expired() -> Refused:
    return Refused(Code.TOKEN_EXPIRED, "the token has expired; ask your operator for a new one")


def revoked() -> Refused:
    return Refused(Code.TOKEN_REVOKED, "the token was revoked; ask your operator for a new one")

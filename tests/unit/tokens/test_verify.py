"""tokens.verify: one algorithm, our own keys, every claim, and nothing that a token may choose."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import hmac
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from gatewayd.config.security import TokensSection
from gatewayd.errors import Code, Refused
from gatewayd.keys.ring import KeyRing, KeyState, Purpose, new_key, new_ring
from gatewayd.tokens.claims import Scope
from gatewayd.tokens.verify import Verifier, signing_key
from tests.fakes.clock import NOW, ManualClock

RING = new_ring(Purpose.JWT, created_at=NOW)
AT = int(NOW.timestamp())
CLAIMS = {
    "iss": "gatewayd", "aud": "gatewayd", "sub": "ann@example.com", "jti": "t1", "iat": AT,
    "exp": AT + 3600, "scope": "messages:send unknown:word", "send_limits": {"hourly": 5},
    "allowed_recipient_domains": ["example.net"], "sandbox": True,
}  # fmt: skip
HEADER = {"alg": "EdDSA", "typ": "JWT", "kid": "a"}


@pytest.fixture
def verifier(clock: ManualClock) -> Verifier:
    return Verifier(RING, section=TokensSection(), token_octets=8192, clock=clock)


def _part(value: Any) -> str:  # noqa: ANN401 - any JSON value, or octets
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _token(header: Any = None, claims: Any = None, *, ring: KeyRing = RING) -> str:  # noqa: ANN401 - also wrong ones
    """Signed by our own key, whatever it says."""
    said = CLAIMS if claims is None else claims
    signed = f"{_part(HEADER if header is None else header)}.{_part(said)}"
    signature = signing_key(ring, ring.active.kid).sign(signed.encode())
    return f"{signed}.{_part(signature)}"


def _code(verifier: Verifier, token: str) -> Code:
    with pytest.raises(Refused) as caught:
        verifier.verify(token)
    return caught.value.kind


def test_good_token_says_who_it_is(verifier: Verifier) -> None:
    said = verifier.verify(_token())

    assert (said.token_id, str(said.mailbox)) == ("t1", "ann@example.com")
    assert said.scopes == {Scope.MESSAGES_SEND}
    assert (said.hourly, said.daily, said.sandbox) == (5, None, True)
    assert said.allowed_recipient_domains == frozenset({"example.net"})
    assert said.expires_at == NOW + dt.timedelta(hours=1)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": "a"},
        {"alg": "None", "kid": "a"},
        {"alg": "HS256", "kid": "a"},
        {"alg": "RS256", "kid": "a"},
        {"alg": "ES256", "kid": "a"},
        {"alg": "eddsa", "kid": "a"},
        {"alg": ["EdDSA"], "kid": "a"},
        {"kid": "a"},
        {"alg": "EdDSA"},
        {"alg": "EdDSA", "kid": "b"},
        {"alg": "EdDSA", "kid": ""},
        {"alg": "EdDSA", "kid": "A"},
        {"alg": "EdDSA", "kid": "../../etc/passwd"},
        {"alg": "EdDSA", "kid": ["a"]},
        {"alg": "EdDSA", "kid": None},
        {**HEADER, "crit": ["exp"]},
        {**HEADER, "b64": False, "crit": ["b64"]},
        {**HEADER, "b64": False},
        {**HEADER, "jku": "https://evil.example/keys"},
        {**HEADER, "x5u": "https://evil.example/cert"},
        {**HEADER, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}},
        {**HEADER, "zip": "DEF"},
        [],
        "EdDSA",
        0,
    ],
)
def test_header_that_is_not_ours_is_refused(verifier: Verifier, header: object) -> None:
    """Also with a good signature over it: nothing in a token chooses how it is read (RFC 8725)."""
    assert _code(verifier, _token(header)) is Code.TOKEN_INVALID


def test_token_without_signature_is_refused(verifier: Verifier) -> None:
    head, claims, _ = _token().split(".")
    for token in (f"{head}.{claims}.", f"{head}.{claims}", f"{_part({'alg': 'none'})}.{claims}."):
        assert _code(verifier, token) is Code.TOKEN_INVALID


def test_public_key_as_hmac_secret_is_refused(verifier: Verifier) -> None:
    """The old confusion of algorithms (RFC 8725 2.1)."""
    public = signing_key(RING, "a").public_key().public_bytes_raw()
    signed = f"{_part({'alg': 'HS256', 'kid': 'a'})}.{_part(CLAIMS)}"
    mac = hmac.new(public, signed.encode(), hashlib.sha256).digest()

    assert _code(verifier, f"{signed}.{_part(mac)}") is Code.TOKEN_INVALID


def test_signature_of_another_key_or_over_other_claims_is_refused(verifier: Verifier) -> None:
    stranger = new_ring(Purpose.JWT, created_at=NOW)
    head, _, signature = _token().split(".")

    assert _code(verifier, _token(ring=stranger)) is Code.TOKEN_INVALID
    forged = f"{head}.{_part({**CLAIMS, 'sub': 'eve@example.com'})}.{signature}"
    assert _code(verifier, forged) is Code.TOKEN_INVALID


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "jti", "iat", "exp"])
def test_every_claim_is_required(verifier: Verifier, claim: str) -> None:
    missing = {name: value for name, value in CLAIMS.items() if name != claim}
    for claims in (missing, {**CLAIMS, claim: None}):
        assert _code(verifier, _token(claims=claims)) is Code.TOKEN_INVALID


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "other"},
        {"iss": ["gatewayd"]},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": 1},
        {"sub": "no address"},
        {"sub": 7},
        {"sub": "a@b\r\nc"},
        {"jti": 7},
        {"iat": "now"},
        {"iat": AT + 31},
        {"iat": True},
        {"nbf": AT + 31},
        {"nbf": "soon"},
        {"exp": "never"},
        {"exp": True},
        {"exp": 1e300},
        {"exp": math.inf},
        {"exp": math.nan},
        {"exp": {}},
        {"send_limits": [1]},
        {"send_limits": {"hourly": -1}},
        {"send_limits": {"hourly": "5"}},
        {"send_limits": {"daily": True}},
        {"send_limits": {"daily": 1.5}},
        {"allowed_recipient_domains": "example.net"},
        {"sandbox": "no"},
        {"sandbox": 1},
    ],
)
def test_claim_that_is_wrong_is_refused(verifier: Verifier, wrong: dict[str, object]) -> None:
    assert _code(verifier, _token(claims={**CLAIMS, **wrong})) is Code.TOKEN_INVALID


@pytest.mark.parametrize(
    "right", [{"aud": ["other", "gatewayd"]}, {"iat": AT + 30}, {"nbf": AT + 30}, {"scope": ""}]
)
def test_claim_that_is_unusual_but_right_is_good(
    verifier: Verifier, right: dict[str, object]
) -> None:
    """Times are compared with our clock, and with leeway; the machine's is years away here."""
    verifier.verify(_token(claims={**CLAIMS, **right}))


def test_token_expires_by_our_clock_after_the_leeway(
    verifier: Verifier, clock: ManualClock
) -> None:
    token = _token()
    verifier.verify(token)
    clock.advance(seconds=3600 + 29)
    verifier.verify(token)
    clock.advance(seconds=1)

    assert _code(verifier, token) is Code.TOKEN_EXPIRED
    assert _code(verifier, _token()) is Code.TOKEN_EXPIRED


def _deep(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: ".",
        lambda: "..",
        lambda: "...",
        lambda: "a.b.c",
        lambda: "x" * 8193,
        lambda: _token() + "x" * 8192,
        lambda: _token() + "=",
        lambda: _token() + "\u00e9",
        lambda: "\ud800",
        lambda: _token() + "\x00",
        lambda: " " + _token(),
        lambda: _token() + "\n",
        lambda: _token(b"\xff\xff"),
        lambda: _token(claims=b"\xff\xff"),
        lambda: _token(claims=[]),
        lambda: _token(_deep(1000)),
        lambda: _token(claims=_deep(1000)),
        lambda: _token(claims=b"[" * 5000),
        lambda: _token(claims=b'{"exp":' + b"9" * 5000 + b"}"),
    ],
)
def test_hostile_token_is_refused(verifier: Verifier, make: Callable[[], str]) -> None:
    """Too long, no JSON, nested JSON, huge numbers, other characters: always the same answer."""
    assert _code(verifier, make()) is Code.TOKEN_INVALID


def test_refusal_says_nothing_about_why(verifier: Verifier) -> None:
    """The reason is for the log."""
    with pytest.raises(Refused) as caught:
        verifier.verify(_token(claims={**CLAIMS, "aud": "other"}))

    assert "aud" not in caught.value.public
    assert caught.value.reason


def test_verified_token_does_not_outlive_its_key(verifier: Verifier) -> None:
    """What was found good is forgotten when the keys change."""
    token = _token()
    verifier.verify(token)
    (active,) = RING.keys
    fresh = new_key(KeyState.ACTIVE, kid="b", created_at=NOW)
    overlap = KeyRing(
        purpose=Purpose.JWT, keys=(fresh, dataclasses.replace(active, state=KeyState.OLD))
    )
    verifier.use(overlap)
    verifier.verify(token)

    verifier.use(KeyRing(purpose=Purpose.JWT, keys=(fresh,)))

    assert _code(verifier, token) is Code.TOKEN_INVALID


def test_next_key_verifies_already(verifier: Verifier) -> None:
    """Another node may sign with it a moment earlier."""
    (active,) = RING.keys
    coming = dataclasses.replace(active, kid="b", state=KeyState.NEXT)
    verifier.use(KeyRing(purpose=Purpose.JWT, keys=(active, coming)))

    signer = KeyRing(
        purpose=Purpose.JWT, keys=(dataclasses.replace(coming, state=KeyState.ACTIVE),)
    )
    verifier.verify(_token({**HEADER, "kid": "b"}, ring=signer))

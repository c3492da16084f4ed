"""Forger: tokens that are none, and tokens that say what no daemon would."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatewayd.clock import SystemClock
from gatewayd.keys import files
from gatewayd.keys.ring import KeyRing, Purpose
from gatewayd.tokens.verify import signing_key
from tests.peers.gateway import Gateway


def part(value: object) -> str:
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Forger:
    """Makes tokens: with the daemon's own key, which only the test has, or with what it guesses."""

    ring: KeyRing
    token: str

    @property
    def header(self) -> dict[str, Any]:
        return {"alg": "EdDSA", "typ": "JWT", "kid": self.ring.active.kid}

    @property
    def claims(self) -> dict[str, Any]:
        """Of the good token."""
        octets = self.token.split(".")[1]
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(octets + "=="))
        return found

    def signed(self, header: object, claims: object) -> str:
        """By the right key, whatever it says."""
        text = f"{part(header)}.{part(claims)}"
        return f"{text}.{part(signing_key(self.ring, self.ring.active.kid).sign(text.encode()))}"

    def with_header(self, **changed: object) -> str:
        return self.signed({**self.header, **changed}, self.claims)

    def with_claims(self, **changed: object) -> str:
        return self.signed(self.header, {**self.claims, **changed})

    def hashed(self, secret: bytes) -> str:
        """HS256 with something public as its secret (RFC 8725 2.1)."""
        text = f"{part({**self.header, 'alg': 'HS256'})}.{part(self.claims)}"
        return f"{text}.{part(hmac.digest(secret, text.encode(), 'sha256'))}"

    def public(self, encoding: Encoding, form: PublicFormat) -> bytes:
        key = signing_key(self.ring, self.ring.active.kid).public_key()
        return key.public_bytes(encoding, form)


def make_forger(gateway: Gateway) -> Forger:
    """One that knows a daemon's keys and the token of its mailbox."""
    return Forger(files.load(gateway.state_dir / "keys", Purpose.JWT), gateway.token)


def invalid(forger: Forger) -> dict[str, str]:
    """Tokens that are none, each for one reason."""
    head, claims, signature = forger.token.split(".")
    now, deep = int(SystemClock().now().timestamp()), "[" * 10_000 + "]" * 10_000
    stranger = Ed25519PrivateKey.generate().sign(f"{head}.{claims}".encode())
    ssh = forger.public(Encoding.OpenSSH, PublicFormat.OpenSSH)
    pem = forger.public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw = forger.public(Encoding.Raw, PublicFormat.Raw)
    key = {"kty": "OKP", "crv": "Ed25519", "x": part(raw)}
    return {
        **{f"alg {alg}": forger.with_header(alg=alg) for alg in ALGORITHMS},
        **{f"no signature {alg}": f"{part({'alg': alg})}.{claims}." for alg in ALGORITHMS},
        "no signature": f"{head}.{claims}.",
        "hmac of pem": forger.hashed(pem),
        "hmac of pem less its end": forger.hashed(pem.rstrip()),
        "hmac of ssh": forger.hashed(ssh),
        "hmac of octets": forger.hashed(raw),
        "hmac of jwk": forger.hashed(json.dumps(key).encode()),
        "hmac of nothing": forger.hashed(b""),
        **{f"kid {number}": forger.with_header(kid=kid) for number, kid in enumerate(KIDS)},
        "jku": forger.with_header(jku="http://127.0.0.1:1/keys"),
        "x5u": forger.with_header(x5u="http://127.0.0.1:1/cert"),
        "jwk": forger.with_header(jwk=key),
        "x5c": forger.with_header(x5c=["AA"]),
        "crit": forger.with_header(crit=["exp"]),
        "b64": forger.with_header(b64=False, crit=["b64"]),
        "zip": forger.with_header(zip="DEF"),
        "another key": f"{head}.{claims}.{part(stranger)}",
        "other claims": f"{head}.{part({**forger.claims, 'sub': 'other@sender.test'})}.{signature}",
        "reversed signature": f"{head}.{claims}.{signature[::-1]}",
        "iss": forger.with_claims(iss="https://evil.test"),
        "aud": forger.with_claims(aud="other"),
        "aud of many": forger.with_claims(aud=["other", "another"]),
        "sub": forger.with_claims(sub="other@sender.test"),
        "sub unknown": forger.with_claims(sub="nobody@sender.test"),
        "jti": forger.with_claims(jti="' OR 1=1--"),
        "jti of nobody": forger.with_claims(jti="01936f1e-0000-7000-8000-000000000001"),
        "iat": forger.with_claims(iat=now + 3600),
        "nbf": forger.with_claims(nbf=now + 3600),
        "exp as text": forger.with_claims(exp="never"),
        "exp beyond time": forger.with_claims(exp=10**300),
        "no exp": forger.signed(forger.header, {**forger.claims, "exp": None}),
        "deep header": f"{part(deep.encode())}.{claims}.{signature}",
        "deep claims": forger.signed(forger.header, deep.encode()),
        "list": forger.signed(forger.header, []),
        "dots": "." * 2000,
        "two parts": f"{head}.{claims}",
        "five parts": f"{head}.{claims}.{signature}.{head}.{claims}",
        "one MiB": "a" * 1_048_576,
        "nine KiB": f"{head}.{claims}.{'A' * 9000}",
        "empty parts": "..",
        "not ascii": "\u00e9\u00e9",
    }


ALGORITHMS = ("none", "None", "NONE", "nOnE", "HS256", "HS512", "RS256", "ES256", "PS256", "eddsa")
KIDS = (
    "../../../../dev/null", "/etc/passwd", "keys/jwt.keys", "' OR 1=1--", "a' UNION SELECT 'k'--",
    "a\x00", "A", "", "b", "a" * 5000, "http://127.0.0.1:1/k", "|id", ["a"], {"a": 1}, None, 0,
)  # fmt: skip

"""SigningKey: a private key, where its public half is published, and the TXT record that does it.

RFC 6376 3.6, RFC 8301, RFC 8463. Reading an RSA key from PEM checks it and costs 40 ms: a key is
read once and kept, and the object may be used by several threads.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final, Self, assert_never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

RSA_BITS: Final = 2048  # what we make (RFC 8301 3.2)
RSA_BITS_MINIMUM: Final = 1024  # less is refused by every verifier (RFC 8301 3.2)
RSA_EXPONENT: Final = 65537
TXT_STRING_OCTETS: Final = 255  # one character-string of a TXT record (RFC 1035 3.3)

_LABEL: Final = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)

PrivateKey = RSAPrivateKey | Ed25519PrivateKey


class Algorithm(enum.Enum):
    """How a signature is made; the values are those of the `a=` tag."""

    RSA_SHA256 = "rsa-sha256"
    ED25519_SHA256 = "ed25519-sha256"  # RFC 8463


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One key of one domain.

    domain: what the signature speaks for (`d=`), A-labels in lower case.
    selector: which of the domain's keys (`s=`), one or more labels in lower case.

    Raises:
        ValueError: a domain or selector that cannot stand in DNS, or a key that does not fit.
    """

    domain: str
    selector: str
    algorithm: Algorithm
    private_key: PrivateKey = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in (self.domain, self.selector):
            if not _DOMAIN.fullmatch(name):
                raise ValueError(f"{name!r} is no domain name in lower-case A-labels")
        if self.algorithm is not _algorithm_of(self.private_key):
            raise ValueError(f"this private key cannot make {self.algorithm.value} signatures")

    @classmethod
    def from_pem(cls, pem: bytes, *, domain: str, selector: str) -> Self:
        """Read an unencrypted private key; the kind of key decides the algorithm.

        Raises:
            ValueError: no such PEM, another kind of key, or an RSA key that is too short.
        """
        try:
            private_key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("expected an unencrypted private key in PEM form") from None
        if not isinstance(private_key, PrivateKey):
            raise ValueError("expected an RSA or Ed25519 private key")  # noqa: TRY004 - bad data, not a bad call
        return cls(
            domain=domain,
            selector=selector,
            algorithm=_algorithm_of(private_key),
            private_key=private_key,
        )

    def to_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8: a secret."""
        return self.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def signature(self, octets: bytes) -> bytes:
        """Sign the canonical header octets; the same octets give the same signature."""
        if isinstance(self.private_key, RSAPrivateKey):
            return self.private_key.sign(octets, padding.PKCS1v15(), hashes.SHA256())
        # Ed25519 signs the SHA-256 digest of the octets, not the octets (RFC 8463 3).
        return self.private_key.sign(hashlib.sha256(octets).digest())

    def txt_record(self) -> tuple[str, str]:
        """Name, without final dot, and value to publish (RFC 6376 3.6.1, RFC 8463 4)."""
        name = f"{self.selector}._domainkey.{self.domain}"
        public_key = self.private_key.public_key()
        match self.algorithm:
            case Algorithm.RSA_SHA256:
                kind = "rsa"
                octets = public_key.public_bytes(
                    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
                )
            case Algorithm.ED25519_SHA256:
                kind = "ed25519"
                octets = public_key.public_bytes(
                    serialization.Encoding.Raw, serialization.PublicFormat.Raw
                )
            case _:
                assert_never(self.algorithm)
        return name, f"v=DKIM1; k={kind}; p={base64.b64encode(octets).decode('ascii')}"


def generate_rsa(domain: str, selector: str) -> SigningKey:
    """A new RSA key of 2048 bits. Takes about 0.1 s."""
    return SigningKey(
        domain=domain,
        selector=selector,
        algorithm=Algorithm.RSA_SHA256,
        private_key=generate_private_key(RSA_EXPONENT, RSA_BITS),
    )


def generate_ed25519(domain: str, selector: str) -> SigningKey:
    """A new Ed25519 key."""
    return SigningKey(
        domain=domain,
        selector=selector,
        algorithm=Algorithm.ED25519_SHA256,
        private_key=Ed25519PrivateKey.generate(),
    )


def zone_line(name: str, value: str) -> str:
    """A TXT record as one line of a zone file: absolute name, strings of at most 255 octets.

    RFC 1035 5.1; a verifier puts the strings together without anything between (RFC 6376 3.6.2.2).
    """
    strings = " ".join(f'"{text}"' for text in txt_strings(value))
    return f"{name}. IN TXT ( {strings} )"


def txt_strings(value: str) -> tuple[str, ...]:
    """The value of a TXT record, cut into strings of at most 255 octets."""
    return tuple(
        value[start : start + TXT_STRING_OCTETS]
        for start in range(0, len(value), TXT_STRING_OCTETS)
    )


def _algorithm_of(private_key: PrivateKey) -> Algorithm:
    if isinstance(private_key, Ed25519PrivateKey):
        return Algorithm.ED25519_SHA256
    if private_key.key_size < RSA_BITS_MINIMUM:
        raise ValueError(
            f"an RSA key needs {RSA_BITS_MINIMUM} bits or more, this one has {private_key.key_size}"
        )
    return Algorithm.RSA_SHA256

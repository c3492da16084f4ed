"""dkim.key: PEM and DNS forms, and what is refused."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from gatewayd.dkim.key import Algorithm, SigningKey, generate_ed25519, txt_strings, zone_line


def pem_of(key: PrivateKeyTypes, password: bytes | None = None) -> bytes:
    """PKCS #8."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )


def test_ed25519_record_of_the_rfc() -> None:
    """The key pair and record of RFC 8463 A.1 and A.2."""
    seed = base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = SigningKey(
        domain="football.example.com",
        selector="brisbane",
        algorithm=Algorithm.ED25519_SHA256,
        private_key=Ed25519PrivateKey.from_private_bytes(seed),
    )

    assert key.txt_record() == (
        "brisbane._domainkey.football.example.com",
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    )


def test_rsa_record_holds_the_subject_public_key_info(rsa_key: SigningKey) -> None:
    """RFC 6376 3.6.1, and RSA-2048."""
    name, value = rsa_key.txt_record()
    prefix, _, octets = value.partition("p=")

    assert (name, prefix) == ("r1._domainkey.example.org", "v=DKIM1; k=rsa; ")
    public_key = serialization.load_der_public_key(base64.b64decode(octets))
    assert rsa_key.private_key.public_key() == public_key
    assert getattr(public_key, "key_size", None) == 2048


@pytest.mark.parametrize("fixture", ["rsa_key", "ed25519_key"])
def test_pem_reads_back(fixture: str, request: pytest.FixtureRequest) -> None:
    """The same key, algorithm and record."""
    key: SigningKey = request.getfixturevalue(fixture)

    again = SigningKey.from_pem(key.to_pem(), domain=key.domain, selector=key.selector)

    assert key == again
    assert key.txt_record() == again.txt_record()
    assert key.signature(b"octets") == again.signature(b"octets")


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem_of(Ed25519PrivateKey.generate(), password=b"secret"),
        pem_of(generate_ec(SECP256R1())),
    ],
    ids=["empty", "not a key", "encrypted", "another kind"],
)
def test_bad_pem_is_refused(pem: bytes) -> None:
    """ValueError says what is expected."""
    with pytest.raises(ValueError, match="private key"):
        SigningKey.from_pem(pem, domain="example.org", selector="s")


def test_short_rsa_key_is_refused() -> None:
    """Verifiers take none below 1024 bits (RFC 8301 3.2)."""
    # Two Mersenne primes: the library makes no key as short as this one.
    p, q, e = 2**521 - 1, 2**127 - 1, 65537
    d = rsa.rsa_recover_private_exponent(e, p, q)
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(e, p * q),
    )

    with pytest.raises(ValueError, match="1024 bits or more, this one has 648"):
        SigningKey.from_pem(pem_of(numbers.private_key()), domain="example.org", selector="s")


@pytest.mark.parametrize(
    ("domain", "selector"),
    [
        ("", "s"),
        ("example.org", ""),
        ("Example.org", "s"),
        ("example.org.", "s"),
        ("example..org", "s"),
        ("-a.org", "s"),
        ("example.org; h=x", "s"),
        ("example.org", "s\r\nX: y"),
        ("example.org\n", "s"),
        ("b\u00fccher.example", "s"),
        ("a" * 64 + ".org", "s"),
        (".".join(["a" * 60] * 5), "s"),
    ],
)
def test_name_that_cannot_stand_in_dns_is_refused(domain: str, selector: str) -> None:
    """Both go into a header field, so nothing else may be in them."""
    with pytest.raises(ValueError, match="A-labels"):
        generate_ed25519(domain, selector)


def test_algorithm_must_fit_the_key(ed25519_key: SigningKey) -> None:
    """An Ed25519 key cannot be called RSA."""
    with pytest.raises(ValueError, match="rsa-sha256"):
        SigningKey(
            domain="example.org",
            selector="s",
            algorithm=Algorithm.RSA_SHA256,
            private_key=ed25519_key.private_key,
        )


def test_private_key_is_not_in_repr(ed25519_key: SigningKey) -> None:
    """A key in a log line or traceback shows its name only."""
    assert "private" not in repr(ed25519_key)


def test_zone_line_cuts_strings_at_255_octets(rsa_key: SigningKey) -> None:
    """One character-string holds 255 octets (RFC 1035 3.3); together they are the value."""
    name, value = rsa_key.txt_record()
    strings = txt_strings(value)

    assert value == "".join(strings)
    assert [255, len(value) - 255] == [len(text) for text in strings]
    assert f'r1._domainkey.example.org. IN TXT ( "{strings[0]}" "{strings[1]}" )' == zone_line(
        name, value
    )

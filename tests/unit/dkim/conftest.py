"""Keys and the oracle for the DKIM tests."""

from __future__ import annotations

from collections.abc import Callable

import dkim
import pytest

from gatewayd.dkim.key import SigningKey, generate_ed25519, generate_rsa


@pytest.fixture(scope="session")
def rsa_key() -> SigningKey:
    """Selector r1 of example.org."""
    return generate_rsa("example.org", "r1")


@pytest.fixture(scope="session")
def ed25519_key() -> SigningKey:
    """Selector e1 of example.org."""
    return generate_ed25519("example.org", "e1")


@pytest.fixture
def verify(rsa_key: SigningKey, ed25519_key: SigningKey) -> Callable[[bytes], list[bool]]:
    """What dkimpy says about each signature of a message, from the top."""
    records = {
        f"{name}.": value for name, value in (rsa_key.txt_record(), ed25519_key.txt_record())
    }

    def lookup(name: bytes, timeout: int = 5) -> bytes:
        del timeout
        return records[name.decode()].encode()

    def is_valid(message: bytes, idx: int) -> bool:
        try:
            return bool(dkim.DKIM(message).verify(idx, dnsfunc=lookup))
        except dkim.ValidationError:
            return False

    def verdicts(message: bytes) -> list[bool]:
        count = message.lower().count(b"dkim-signature:")
        return [is_valid(message, idx) for idx in range(count)]

    return verdicts

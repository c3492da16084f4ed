"""keys.mac: the same octets as everybody's HMAC-SHA256."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.keys.mac import Mac


@pytest.mark.parametrize(
    ("key", "octets", "expected"),
    [
        (
            b"\x0b" * 20,
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            b"\xaa" * 20,
            b"\xdd" * 50,
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        ),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)
def test_known_answers(key: bytes, octets: bytes, expected: str) -> None:
    """RFC 4231 4.2 to 4.4, and 4.7."""
    assert Mac(key).digest(octets).hex() == expected


@given(st.binary(max_size=200), st.lists(st.binary(max_size=200), min_size=1, max_size=3))
def test_every_digest_is_that_of_hmac(key: bytes, texts: list[bytes]) -> None:
    """However often it was used before."""
    mac = Mac(key)

    assert [mac.digest(text) for text in texts] == [
        hmac.digest(key, text, "sha256") for text in texts
    ]

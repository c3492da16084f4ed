"""web.auth: what counts as a token, and what scope it needs."""

from __future__ import annotations

import pytest

from gatewayd.errors import Refused
from gatewayd.tokens.claims import Scope
from gatewayd.web.auth import Gate
from tests.fakes.http_api import FakeTokens, principal

GATE = Gate(FakeTokens(), token_octets=8192)


def request(*values: bytes) -> dict[str, list[tuple[bytes, bytes]]]:
    """The scope of a request with these Authorization fields."""
    return {"headers": [(b"authorization", value) for value in values]}


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER"])
async def test_a_good_token_is_admitted(scheme: bytes) -> None:
    """The scheme is matched without case (RFC 9110 11.1)."""
    admitted = await GATE.admit(request(scheme + b" good"), Scope.MESSAGES_SEND)

    assert principal() == admitted


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([], "token_missing"),
        ([b"Bearer good", b"Bearer good"], "token_invalid"),
        ([b"Basic good"], "token_invalid"),
        ([b"Bearer"], "token_invalid"),
        ([b"Bearer "], "token_invalid"),
        ([b"good"], "token_invalid"),
        ([b"Bearer go od"], "token_invalid"),
        ([b"Bearer \xff"], "token_invalid"),
        ([b"Bearer " + b"a" * 8193], "token_invalid"),
        ([b"Bearer " + b"a" * 8192], "token_invalid"),
        ([b"Bearer expired"], "token_expired"),
        ([b"Bearer reader"], "scope_missing"),
    ],
)
async def test_anything_else_is_refused(values: list[bytes], code: str) -> None:
    """Each has the code that the other doors give."""
    with pytest.raises(Refused) as caught:
        await GATE.admit(request(*values), Scope.MESSAGES_SEND)

    assert code == caught.value.code

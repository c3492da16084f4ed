"""web.idempotency: the key and the fingerprint."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.errors import Refused
from gatewayd.policy import options
from gatewayd.web import idempotency


def scope(*values: bytes, **changes: object) -> dict[str, Any]:
    """A request with these Idempotency-Key fields."""
    return {
        "method": "POST",
        "path": "/api/v1/messages/send",
        "query_string": b"",
        "headers": [(b"idempotency-key", value) for value in values],
    } | changes


@pytest.mark.parametrize(
    ("value", "key"),
    [
        # the draft's own example
        (b'"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (b"8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (rb'"a\"b\\c"', r"a\c".replace("\\", '"b\\')),
        (b" a ", "a"),
        (b"a" * 256, "a" * 256),
        (b'a"b', 'a"b'),
    ],
)
def test_a_key_is_read_quoted_or_bare(value: bytes, key: str) -> None:
    """draft-ietf-httpapi-idempotency-key-header-07 2.1."""
    assert key == idempotency.key(scope(value))


def test_no_key_is_none() -> None:
    """The field is optional."""
    assert idempotency.key(scope()) is None


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [b'""'],
        [b"a b"],
        [b'"a b"'],
        [b'"a'],
        [rb'"a\b"'],
        [b"a\xff"],
        [b"a" * 257],
        [b'"' + b"a" * 257 + b'"'],
        [b"a", b"a"],
        [b"a\tb"],
    ],
)
def test_another_key_is_refused(values: list[bytes]) -> None:
    """One key of 1 to 256 visible characters, and nothing that two readers read differently."""
    with pytest.raises(Refused) as caught:
        idempotency.key(scope(*values))

    assert caught.value.code == "idempotency_key_invalid"


@pytest.mark.parametrize(
    "other",
    [{"method": "PUT"}, {"path": "/api/v1/messages/raw"}, {"query_string": b"rcpt=a@b.example"}],
)
def test_the_fingerprint_is_of_method_path_query_and_body(other: dict[str, object]) -> None:
    """The recipients of a raw message stand in its query."""
    same = idempotency.fingerprint(scope(), b"body")

    assert same == idempotency.fingerprint(scope(), b"body")
    assert same != idempotency.fingerprint(scope(**other), b"body")
    assert same != idempotency.fingerprint(scope(), b"bodY")


def test_keys_of_items_differ_and_stay_short() -> None:
    """A batch with the longest key has valid keys for its messages."""
    keys = {idempotency.item_key(key, index) for key in ("a" * 256, "b") for index in range(100)}

    assert len(keys) == 200
    assert all(len(key) <= options.KEY_CHARACTERS for key in keys)

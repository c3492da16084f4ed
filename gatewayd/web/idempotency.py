"""Idempotency-Key and the fingerprint that tells a repeated request from another one.

draft-ietf-httpapi-idempotency-key-header-07. The draft's quoted string is accepted, and the bare
word that most clients send.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from starlette.types import Scope

from gatewayd.errors import Code, Fault, Refused

KEY_CHARACTERS: Final = 256
_QUOTED: Final = re.compile(rb'"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"\Z')
_BARE: Final = re.compile(rb"[\x21\x23-\x7e][\x21-\x7e]*\Z")


def key(scope: Scope) -> str | None:
    """The key of a request, None if it has none.

    Raises:
        Refused: IDEMPOTENCY_KEY_INVALID.
    """
    given = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not given:
        return None
    text = _text(given[0].strip(b" \t")) if len(given) == 1 else b""
    if not 1 <= len(text) <= KEY_CHARACTERS:
        raise Refused(
            Code.IDEMPOTENCY_KEY_INVALID,
            f"Send one Idempotency-Key of 1 to {KEY_CHARACTERS} visible ASCII characters.",
            faults=[
                Fault(
                    pointer="/header/idempotency-key",
                    detail=f"one key of 1 to {KEY_CHARACTERS} visible ASCII characters",
                    code=Code.IDEMPOTENCY_KEY_INVALID,
                )
            ],
        )
    return str(text, "ascii")


def _text(value: bytes) -> bytes:
    """The key without its quotes; empty when it is malformed."""
    if quoted := _QUOTED.match(value):
        return re.sub(rb"\\(.)", rb"\1", quoted[1])
    return value if _BARE.match(value) else b""


def item_key(batch_key: str, index: int) -> str:
    """The key of one message of a batch: short, and no key that a client would choose itself."""
    return f"batch:{hashlib.sha256(batch_key.encode()).hexdigest()}:{index}"


def fingerprint(scope: Scope, body: bytes) -> bytes:
    """Digest of method, path with query, and body."""
    digest = hashlib.sha256(f"{scope['method']} {scope['path']}?".encode("utf-8", "replace"))
    digest.update(scope["query_string"] + b"\n")
    digest.update(body)
    return digest.digest()

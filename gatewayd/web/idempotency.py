"""Idempotency-Key and the fingerprint that tells a repeated request from another one.

draft-ietf-httpapi-idempotency-key-header-07. The draft's quoted string is accepted, and the bare
word that most clients send.
"""

from __future__ import annotations

import hashlib

from starlette.types import Scope

from gatewayd.errors import Fault, Refused
from gatewayd.policy import options


def key(scope: Scope) -> str | None:
    """The key of a request, None if it has none.

    Raises:
        Refused: IDEMPOTENCY_KEY_INVALID.
    """
    given = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not given:
        return None
    try:
        return options.parse_key(given[0] if len(given) == 1 else b"")
    except Refused as refused:
        fault = Fault(pointer="/header/idempotency-key", detail=refused.public, code=refused.kind)
        raise Refused(refused.kind, refused.public, faults=[fault]) from refused


def item_key(batch_key: str, index: int) -> str:
    """The key of one message of a batch: short, and no key that a client would choose itself."""
    return f"batch:{hashlib.sha256(batch_key.encode()).hexdigest()}:{index}"


def fingerprint(scope: Scope, body: bytes) -> bytes:
    """Digest of method, path with query, and body."""
    digest = hashlib.sha256(f"{scope['method']} {scope['path']}?".encode("utf-8", "replace"))
    digest.update(scope["query_string"] + b"\n")
    digest.update(body)
    return digest.digest()

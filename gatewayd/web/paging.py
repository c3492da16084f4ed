"""Cursors: where the next page begins, opaque to the client."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from gatewayd.errors import Code, Fault, Refused

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
_CURSOR: Final = re.compile(r"[A-Za-z0-9_-]{1,512}\Z")


def encode(position: str | None) -> str | None:
    """The cursor for a position of the room that made the page; None after the last page."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(position.encode()).decode("ascii").rstrip("=")


def decode(cursor: str | None) -> str | None:
    """The position of a cursor.

    Raises:
        Refused: VALIDATION_FAILED, if we never made such a cursor.
    """
    if cursor is None:
        return None
    position = _position(cursor) if _CURSOR.match(cursor) else ""
    if not position or encode(position) != cursor:
        raise _unknown()
    return position


def _position(cursor: str) -> str:
    try:
        octets = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return octets.decode("ascii")
    except (binascii.Error, ValueError):
        return ""


def _unknown() -> Refused:
    detail = "use next_cursor of an earlier answer, or leave it out"
    return Refused(
        Code.VALIDATION_FAILED,
        "The cursor is not one of ours.",
        faults=[Fault(pointer="/query/cursor", detail=detail, code=Code.VALIDATION_FAILED)],
    )

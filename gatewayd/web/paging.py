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
_NUMBER: Final = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z", re.ASCII)  # fits both databases


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


def encode_number(position: int) -> str:
    """The cursor for a place in a log; there is always one."""
    return str(encode(str(position)))


def decode_number(cursor: str | None) -> int | None:
    """The place in a log that a cursor names.

    Raises:
        Refused: we never made such a cursor.
    """
    position = decode(cursor)
    if position is None:
        return None
    if _NUMBER.match(position) is None:
        raise _unknown()
    return int(position)


def encode_row(address_key: str, scope: str) -> str:
    """The cursor after a row; cursors are ASCII, and addresses need not be (RFC 6531 3.3)."""
    return str(encode(f"{address_key.encode('punycode').decode('ascii')}\n{scope}"))


def decode_row(cursor: str | None) -> tuple[str, str] | None:
    """The address_key and scope of the row that a cursor names.

    Raises:
        Refused: we never made such a cursor.
    """
    if cursor is None:
        return None
    position, _, scope = str(decode(cursor)).partition("\n")
    try:
        address_key = position.encode("ascii").decode("punycode")
    except UnicodeError:
        address_key = ""
    is_text = f"{address_key}{scope}".isprintable()  # what PostgreSQL can be asked for
    if not is_text or encode_row(address_key, scope) != cursor:
        raise _unknown()
    return address_key, scope


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

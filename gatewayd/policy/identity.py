"""May this subject use this reverse-path and these originator fields (RFC 6409 6.1, 8.1).

From, Sender, Reply-To, the Resent- ones and the reverse-path are the authenticated mailbox: domain
folded, local-part ASCII-caseless. A field that two readers could read in two ways is refused.
"""

from __future__ import annotations

import functools
from typing import Final

from gatewayd.errors import Code, Refused
from gatewayd.mail.address import Address, ReversePath
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.mailbox_list import HeaderSyntaxError, addresses

BOUND: Final = (
    "From", "Sender", "Reply-To", "Resent-From", "Resent-Sender", "Resent-Reply-To",
)  # fmt: skip
_REMEMBERED_OCTETS: Final = 998  # of a field; what is longer is no agent's, and 4096 are kept
_BOUND_KEYS: Final = tuple((name, name.lower().encode()) for name in BOUND)


def check_reverse_path(reverse_path: ReversePath, mailbox: Address) -> None:
    """Refuse a reverse-path that is not the mailbox; the null one is none of a submitter's.

    Raises:
        Refused: sender_not_allowed.
    """
    address = reverse_path.address
    if address is None or address.key != mailbox.key:
        raise _refused(f"the reverse-path must be <{mailbox}>, the mailbox of the token")


def check_header(header: HeaderSection, mailbox: Address) -> None:
    """Refuse originator fields that name anybody but the mailbox.

    Raises:
        Refused: sender_not_allowed.
    """
    by_name = header.by_name
    for name, key in _BOUND_KEYS:
        for field in by_name.get(key, ()):
            _check_field(name, field.value, mailbox)


def _check_field(name: str, value: bytes, mailbox: Address) -> None:
    try:
        key = _remembered_key(value) if len(value) <= _REMEMBERED_OCTETS else _only_key(value)
    except HeaderSyntaxError as error:
        raise _refused(f"{name} is not one plain mailbox: {error}") from error
    if key != mailbox.key:
        raise _refused(f"{name} must be {mailbox}, the mailbox of the token, and nobody else")


@functools.lru_cache(maxsize=4096)  # an agent's From is the same in every message
def _remembered_key(value: bytes) -> str | None:
    return _only_key(value)


def _only_key(value: bytes) -> str | None:
    """The key of the only address in a field; None if there is not exactly one."""
    found = addresses(value)
    return found[0].key if len(found) == 1 else None


def _refused(public: str) -> Refused:
    return Refused(Code.SENDER_NOT_ALLOWED, public)

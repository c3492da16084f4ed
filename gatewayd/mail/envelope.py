"""Envelope and Recipient: whom a message is from and for, apart from its content.

RFC 5321 2.3.1; BODY of RFC 6152; SMTPUTF8 of RFC 6531; NOTIFY, ORCPT, RET, ENVID of RFC 3461.
"""

from __future__ import annotations

import enum
from dataclasses import KW_ONLY, dataclass

from gatewayd.mail.address import Address, ForwardPath, ReversePath


class BodyType(enum.StrEnum):
    """BODY of MAIL: what octets the content may hold (RFC 6152 2)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"


class Notify(enum.StrEnum):
    """NOTIFY of RCPT: when the submitter wants a DSN; NEVER stands alone (RFC 3461 4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


class Ret(enum.StrEnum):
    """RET of MAIL: how much of the message a DSN returns (RFC 3461 4.3)."""

    FULL = "FULL"
    HDRS = "HDRS"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One forward-path and what was asked for it.

    notify: empty when NOTIFY was not given, which is not the same as NEVER.
    orcpt: ORCPT as sent, in xtext, such as `rfc822;ann@example.com`.
    """

    forward_path: ForwardPath
    notify: frozenset[Notify] = frozenset()
    orcpt: str | None = None

    @property
    def address(self) -> Address:
        return self.forward_path.address


@dataclass(frozen=True, slots=True)
class Envelope:
    """Reverse-path, recipients, and the parameters that belong to the message.

    envid: ENVID as sent, in xtext.
    """

    reverse_path: ReversePath
    recipients: tuple[Recipient, ...]
    body: BodyType = BodyType.SEVEN_BIT  # what MAIL without BODY means (RFC 6152 2)
    _: KW_ONLY
    smtputf8: bool = False
    envid: str | None = None
    ret: Ret | None = None

"""What a token says: subject, scopes, limits, allowed recipient domains."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass

from gatewayd.ids import MailboxId, TokenId
from gatewayd.mail.address import Address


class Scope(enum.StrEnum):
    """What a token may be used for."""

    MESSAGES_SEND = "messages:send"
    MESSAGES_READ = "messages:read"
    SUPPRESSIONS_READ = "suppressions:read"
    SUPPRESSIONS_WRITE = "suppressions:write"
    EVENTS_READ = "events:read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking, as the door knows it after the token was verified.

    hourly, daily: accepted recipients per fixed UTC window; None means no limit.
    allowed_recipient_domains: A-labels in lower case; None means any domain.
    """

    token_id: TokenId
    mailbox_id: MailboxId
    mailbox: Address
    scopes: frozenset[Scope]
    hourly: int | None
    daily: int | None
    allowed_recipient_domains: frozenset[str] | None
    sandbox: bool
    expires_at: dt.datetime

"""Query parameters: which messages, which page, which recipients. An unknown one is refused."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gatewayd.queue.states import State
from gatewayd.web import paging

_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages of a mailbox are listed; None means any."""

    state: State | None = None
    recipient: str | None = None
    tag: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


def _instant(value: object) -> object:
    if isinstance(value, str) and not _INSTANT.match(value):
        raise ValueError("must be a date-time with offset, such as 2026-11-21T08:00:00Z")
    return value


Instant = Annotated[dt.datetime, BeforeValidator(_instant)]


class RawQuery(BaseModel):
    """Parameters of `/messages/raw`."""

    model_config = ConfigDict(extra="forbid")

    rcpt: list[str] = Field(
        default=[],
        max_length=1000,
        description="A forward-path; repeat it. Without any, To, Cc and Bcc are read.",
    )


class MessageQuery(BaseModel):
    """Parameters of the list."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")
    limit: int = Field(default=paging.DEFAULT_LIMIT, ge=1, le=paging.MAX_LIMIT)
    state: State | None = Field(default=None, description="Has a recipient in this state.")
    recipient: str | None = Field(
        default=None, max_length=254, description="Has this address as a recipient."
    )
    tag: str | None = Field(default=None, max_length=64, description="Has this tag.")
    since: Instant | None = Field(default=None, description="Accepted then or later.")
    until: Instant | None = Field(default=None, description="Accepted before then.")

    @property
    def wanted(self) -> MessageFilter:
        """The part that says which messages, and not which page of them."""
        return MessageFilter(
            state=self.state,
            recipient=self.recipient,
            tag=self.tag,
            since=self.since,
            until=self.until,
        )

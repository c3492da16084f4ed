"""Query parameters: which messages, which page, which recipients. An unknown one is refused."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gatewayd.events.read import EventFilter
from gatewayd.events.types import EventType
from gatewayd.ids import QueueId
from gatewayd.queue.states import State
from gatewayd.suppression.reading import SuppressionFilter
from gatewayd.web import paging

INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages of a mailbox are listed; None means any."""

    state: State | None = None
    recipient: str | None = None
    tag: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


def _instant(value: object) -> object:
    if isinstance(value, str) and not INSTANT.match(value):
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


class PageQuery(BaseModel):
    """Parameters of every list."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")
    limit: int = Field(default=paging.DEFAULT_LIMIT, ge=1, le=paging.MAX_LIMIT)


class EventQuery(PageQuery):
    """Parameters of the log."""

    type: list[EventType] = Field(
        default=[], max_length=50, description="Only this word; repeat it for several."
    )
    queue_id: UUID | None = Field(default=None, description="Only of this message.")
    since: Instant | None = Field(
        default=None, description="Happened then or later. A cursor goes on from its own place."
    )

    @property
    def wanted(self) -> EventFilter:
        """The part that says which events, and not which page of them."""
        return EventFilter(
            types=frozenset(self.type) or None,
            queue_id=QueueId(str(self.queue_id)) if self.queue_id else None,
            since=self.since,
        )


class SuppressionQuery(PageQuery):
    """Parameters of the list of suppressions."""

    reason: str | None = Field(default=None, max_length=200, description="With this reason.")
    source: str | None = Field(default=None, max_length=200, description="From this source.")
    live: bool | None = Field(
        default=None, description="`true`: only what has an effect now; `false`: only what is over."
    )

    @property
    def wanted(self) -> SuppressionFilter:
        """The part that says which rows, and not which page of them."""
        return SuppressionFilter(reason=self.reason, source=self.source, is_live=self.live)


class AddressQuery(BaseModel):
    """The address that is asked about."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(max_length=254, description="A forward-path.")


class MessageQuery(PageQuery):
    """Parameters of the list of messages."""

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

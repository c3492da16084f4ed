"""Every event: its public word and what `data` holds. Words are added freely and renamed never.

| word                  | data                                         | written by             |
|-----------------------|----------------------------------------------|------------------------|
| message.accepted      | door, recipients, size_octets, request_id    | queue/enqueue.py       |
| message.held          | by, recipients                               | queue/inspect.py       |
| message.released      | by, recipients                               | queue/inspect.py       |
| message.retried       | by, recipients                               | queue/inspect.py       |
| message.cancelled     | by, recipients                               | queue/inspect.py       |
| recipient.delivered   | attempt_id, next_hop, code, status, text     | queue/outcome.py       |
| recipient.deferred    | the same, reason, next_attempt_at            | queue/outcome.py       |
| recipient.failed      | the same, reason                             | queue/outcome.py       |
|                       | status, reason: where it was not tried       | queue/withheld.py      |
| recipient.in_doubt    | attempt_id, next_hop, reason                 | queue/outcome.py       |
| recipient.expired     | attempt_id, next_hop, reason                 | queue/outcome.py       |
| recipient.bounced     | class, reason, status, code, text, action,   | bounces/pipeline.py    |
|                       | reporting_mta, suppressed                    |                        |
| recipient.delayed     | status, text, reporting_mta                  | bounces/pipeline.py    |
| recipient.complained  | feedback_type, source, suppressed            | bounces/pipeline.py    |
| recipient.opened      | by (person, proxy, scanner), agent           | tracking/recorder.py   |
| recipient.clicked     | by, agent, url                               | tracking/recorder.py   |
| recipient.unsubscribed | by (one-click, page)                        | tracking/unsubscribe.py |
| recipient.notified    | action, notice_queue_id                      | delivery/notify.py     |
| return.unrecognised   | why, reverse_path, size_octets               | bounces/pipeline.py    |
| suppression.added     | address, reason, source, scope               | suppression/lists.py   |
| suppression.removed   | address, scope                               | suppression/lists.py   |
| token.issued          | token_id, name, scopes                       | tokens/service.py      |
| token.revoked         | token_id                                     | tokens/service.py      |
| mailbox.created       | address                                      | mailboxes/accounts.py  |
| mailbox.updated       | address, changed                             | mailboxes/accounts.py  |
| mailbox.destroyed     | address                                      | mailboxes/accounts.py  |

`data` holds no secret and no octets of a message.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatewayd.ids import MailboxId, QueueId, RecipientId


class EventType(enum.StrEnum):
    """The words of the table."""

    MESSAGE_ACCEPTED = "message.accepted"
    MESSAGE_HELD = "message.held"
    MESSAGE_RELEASED = "message.released"
    MESSAGE_RETRIED = "message.retried"
    MESSAGE_CANCELLED = "message.cancelled"
    RECIPIENT_DELIVERED = "recipient.delivered"
    RECIPIENT_DEFERRED = "recipient.deferred"
    RECIPIENT_FAILED = "recipient.failed"
    RECIPIENT_IN_DOUBT = "recipient.in_doubt"
    RECIPIENT_EXPIRED = "recipient.expired"
    RECIPIENT_BOUNCED = "recipient.bounced"
    RECIPIENT_DELAYED = "recipient.delayed"
    RECIPIENT_COMPLAINED = "recipient.complained"
    RECIPIENT_OPENED = "recipient.opened"
    RECIPIENT_CLICKED = "recipient.clicked"
    RECIPIENT_UNSUBSCRIBED = "recipient.unsubscribed"
    RECIPIENT_NOTIFIED = "recipient.notified"
    RETURN_UNRECOGNISED = "return.unrecognised"
    SUPPRESSION_ADDED = "suppression.added"
    SUPPRESSION_REMOVED = "suppression.removed"
    TOKEN_ISSUED = "token.issued"  # noqa: S105 - a word, not a password
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 - a word, not a password
    MAILBOX_CREATED = "mailbox.created"
    MAILBOX_UPDATED = "mailbox.updated"
    MAILBOX_DESTROYED = "mailbox.destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened; it gets its id and time when it is recorded."""

    type: EventType
    mailbox_id: MailboxId | None = None
    queue_id: QueueId | None = None
    recipient_id: RecipientId | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

"""Rows of the store with something in every column, and the writing of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert

from gatewayd import ids
from gatewayd.ids import AttemptId, MailboxId, QueueId, RecipientId, TokenId
from gatewayd.store import claims, mailboxes, messages
from gatewayd.store.database import Database, Tx
from gatewayd.store.mailboxes import MailboxRow
from gatewayd.store.messages import MessageRow, OctetsRow
from gatewayd.store.schema import recipients
from gatewayd.store.suppressions import SuppressionRow
from gatewayd.store.tokens import TokenRow
from tests.fakes.clock import NOW

HEADER = b"From: ann@example.com\r\nSubject: hello\r\n"


def message(queue_id: str, **changed: Any) -> MessageRow:  # noqa: ANN401 - any column
    row = MessageRow(
        queue_id=QueueId(queue_id), mailbox_id=MailboxId("m1"), token_id=TokenId("t1"),
        door="smtp", reverse_path="ann@example.com", body_type="8BITMIME", smtputf8=True,
        envid="QQ+31", ret="HDRS", message_id="<1@example.com>", subject="h\u00e9llo",
        size_octets=1234, sandbox=False, tags=["welcome", "a/b"], metadata={"k": "v\u20ac"},
        request_id="r1", spool_key=None, spool_sha256=None, accepted_at=NOW,
    )  # fmt: skip
    return dataclasses.replace(row, **changed)


def octets(queue_id: str, body: bytes | None = b"Hello\xff.\r\n") -> OctetsRow:
    return OctetsRow(
        queue_id=QueueId(queue_id), header=HEADER, body=body, body_octets=9, body_has_8bit=True
    )


def recipient(queue_id: str, position: int, **changed: Any) -> dict[str, Any]:  # noqa: ANN401 - any column
    return {
        "recipient_id": f"{queue_id}-r{position}",
        "queue_id": queue_id,
        "position": position,
        "lane": "m1",
        "forward_path": f"r{position}@example.net",
        "notify": "FAILURE,SUCCESS",
        "orcpt": "rfc822;r@example.net",
        "state": "queued",
        "attempts": 0,
        "due_at": NOW,
        "reason": "",
        "updated_at": NOW,
        **changed,
    }


def add_recipients(tx: Tx, given: Sequence[dict[str, Any]]) -> None:
    """Write recipients in whatever state; the product adds new ones only."""
    for _, alike in itertools.groupby(given, key=tuple):
        tx.execute(insert(recipients), list(alike))


def mailbox(mailbox_id: str, address: str, **changed: Any) -> MailboxRow:  # noqa: ANN401 - any column
    row = MailboxRow(
        mailbox_id=MailboxId(mailbox_id), address=address, address_key=address.lower(),
        display_name="Ann \u00c5", next_hop_host="relay.example.com", next_hop_port=587,
        next_hop_tls_mode="starttls_required", next_hop_user="u", next_hop_password="a:sealed",
        next_hop_ca_file="/ca.pem", tracking="all", track_smtp=True, on_in_doubt="hold",
        created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    return dataclasses.replace(row, **changed)


def token(token_id: str, **changed: Any) -> TokenRow:  # noqa: ANN401 - any column
    row = TokenRow(
        token_id=TokenId(token_id), mailbox_id=MailboxId("m1"), key_id="a", name="n",
        scopes=["messages:send"], hourly=10, daily=None, allowed_recipient_domains=["example.net"],
        sandbox=False, issued_at=NOW, expires_at=NOW + dt.timedelta(days=1), revoked_at=None,
    )  # fmt: skip
    return dataclasses.replace(row, **changed)


def suppression(scope: str, address: str, **changed: Any) -> SuppressionRow:  # noqa: ANN401 - any column
    row = SuppressionRow(
        scope=scope, address_key=address, address=address, reason="5.1.1", source="operator",
        first_seen_at=NOW, last_seen_at=NOW, expires_at=None,
    )  # fmt: skip
    return dataclasses.replace(row, **changed)


async def keep_message(
    database: Database,
    queue_id: str,
    *given: dict[str, Any],
    **changed: Any,  # noqa: ANN401 - any column
) -> MessageRow:
    """A message with these recipients, or with one."""
    row = message(queue_id, **changed)

    def work(tx: Tx) -> None:
        messages.add(tx, [row], [octets(queue_id)])
        add_recipients(tx, list(given) or [recipient(queue_id, 0)])

    await database.write(work)
    return row


async def keep_mailbox(database: Database, row: MailboxRow) -> None:
    await database.write(lambda tx: mailboxes.add(tx, row))


async def lease(
    database: Database, queue_id: str, recipient_ids: Sequence[str], *, until: dt.datetime
) -> AttemptId:
    """Claim these recipients, as a worker does."""
    attempt_id = ids.attempt_id(NOW)
    claimed = {attempt_id: (QueueId(queue_id), [RecipientId(one) for one in recipient_ids])}
    await database.write(lambda tx: claims.lease(tx, claimed, until=until))
    return attempt_id

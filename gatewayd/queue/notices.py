"""Notices: DSNs that are owed to submitters, from the outbox to the queue.

| step    | transaction | what                                                                   |
|---------|-------------|------------------------------------------------------------------------|
| `due`   | a look      | whether anything is owed; if nothing is, this is all                   |
|         | one for all | the oldest notices, grouped by message, with what a report is made of  |
| compose | -           | `delivery/notify.py`                                                   |
| `send`  | one for all | the reports into the queue, recipient.notified, the notices out        |

A crash between any two steps leaves the notices as they were. Two nodes may compose the same
report: only the one whose transaction still finds every notice of it puts it into the queue.

A report goes to the mailbox whose message it is about, by its own next hop or in the lane of
sandbox mail. It takes no quota, and nobody asks whether the address is suppressed: it is the
submitter's own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import MailboxId, QueueId, RecipientId, TokenId
from gatewayd.mail.address import NULL, Address, ForwardPath
from gatewayd.mail.encoded_word import decode
from gatewayd.mail.envelope import BodyType, Envelope, Recipient, Ret
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import Body, RawMessage, SpooledBody
from gatewayd.queue import enqueue
from gatewayd.queue.claim import RECIPIENTS_OF_ONE
from gatewayd.queue.enqueue import Entry
from gatewayd.store import mailboxes, messages, notices, recipients
from gatewayd.store.database import Database, Tx
from gatewayd.store.messages import MessageRow, OctetsRow
from gatewayd.store.notices import NoticeRow
from gatewayd.store.recipients import RecipientRow

DOOR: Final = "dsn"
TAKEN: Final = 2 * RECIPIENTS_OF_ONE  # at once: so that no message is told of in two reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One recipient that is told of; `data` is that of the event."""

    notice_id: str
    recipient_id: RecipientId
    forward_path: ForwardPath
    orcpt: str | None
    action: str
    data: Mapping[str, Any]
    created_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DueReport:
    """One message that a submitter is to be told of, and all that is told of it now."""

    queue_id: QueueId
    mailbox_id: MailboxId
    mailbox: Address
    token_id: TokenId
    request_id: str
    sandbox: bool
    envid: str | None
    ret: Ret | None
    accepted_at: dt.datetime
    message: RawMessage
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report that was made. None for `message`: it cannot be, so the notices are dropped."""

    about: DueReport
    queue_id: QueueId
    recipient_id: RecipientId
    message: RawMessage | None


class Notices:
    """The outbox from the outside."""

    def __init__(self, database: Database, *, wakeup: Wakeup) -> None:
        self._database = database
        self._wakeup = wakeup

    async def due(self) -> list[DueReport]:
        """What is owed, the oldest first; what nobody can be told is dropped."""
        while await self._database.read(notices.is_any):
            found, dropped = await self._database.write(_due)
            if found or not dropped:  # neither: another node has them
                return found
        return []

    async def send(self, reports: Sequence[Report]) -> int:
        """Put reports into the queue; durable when this returns.

        Returns:
            How many; others were put there by another node.
        """
        sent = await self._database.write(lambda tx: _send(tx, reports))
        if sent:
            self._wakeup.notify()
        return sent


def _due(tx: Tx) -> tuple[list[DueReport], int]:
    """What can be told, and how many notices were dropped."""
    groups = _grouped(notices.take(tx, TAKEN))
    rows = messages.by_ids(tx, groups) if groups else {}
    octets = messages.octets_by_ids(tx, rows) if rows else {}
    owners = mailboxes.by_ids(tx, {row.mailbox_id for row in rows.values()}) if rows else {}
    owed = recipients.of_messages(tx, rows) if rows else {}
    found: list[DueReport] = []
    dropped: list[str] = []
    for queue_id, group in groups.items():
        row = rows.get(queue_id)
        owner = owners.get(row.mailbox_id) if row is not None else None
        by_id = {one.recipient_id: one for one in owed.get(queue_id, [])}
        told = [(one, by_id[one.recipient_id]) for one in group if one.recipient_id in by_id]
        # Never in answer to a null reverse-path, so never about a report (RFC 5321 6.1).
        if row is None or owner is None or not row.reverse_path or len(told) < len(group):
            dropped += [one.notice_id for one in group]
            continue
        found.append(_report(row, octets[queue_id], Address.parse(owner.address), told))
    notices.remove(tx, dropped)
    return found, len(dropped)


def _grouped(rows: Sequence[NoticeRow]) -> dict[QueueId, list[NoticeRow]]:
    """By message; the last is left when more of it may be due."""
    groups: dict[QueueId, list[NoticeRow]] = {}
    for row in rows:
        groups.setdefault(row.queue_id, []).append(row)
    if len(rows) == TAKEN and len(groups) > 1:
        del groups[rows[-1].queue_id]
    return groups


def _report(
    row: MessageRow,
    octets: OctetsRow,
    mailbox: Address,
    told: Sequence[tuple[NoticeRow, RecipientRow]],
) -> DueReport:
    return DueReport(
        queue_id=row.queue_id,
        mailbox_id=row.mailbox_id,
        mailbox=mailbox,
        token_id=row.token_id,
        request_id=row.request_id,
        sandbox=row.sandbox,
        envid=row.envid,
        ret=Ret(row.ret) if row.ret else None,
        accepted_at=row.accepted_at,
        message=RawMessage(HeaderSection(octets.header), _body(row, octets)),
        notices=tuple(
            Notice(
                notice_id=notice.notice_id,
                recipient_id=notice.recipient_id,
                forward_path=ForwardPath.parse(recipient.forward_path),
                orcpt=recipient.orcpt,
                action=notice.action,
                data=notice.data,
                created_at=notice.created_at,
            )
            for notice, recipient in told
        ),
    )


def _body(row: MessageRow, octets: OctetsRow) -> Body:
    if octets.body is not None:
        return octets.body
    return SpooledBody(
        key=row.spool_key or "",
        size_octets=octets.body_octets,
        sha256=row.spool_sha256 or "",
        has_8bit=octets.body_has_8bit,
    )


def _send(tx: Tx, reports: Sequence[Report]) -> int:
    ours = {row.notice_id for row in notices.take(tx, TAKEN)}
    kept = [one for one in reports if _ids(one) <= ours]
    enqueue.add(tx, [_entry(one, one.message, tx.now) for one in kept if one.message is not None])
    record.append(tx, [event for one in kept if one.message is not None for event in _told(one)])
    notices.remove(tx, [notice_id for one in kept for notice_id in _ids(one)])
    return sum(one.message is not None for one in kept)


def _ids(report: Report) -> set[str]:
    return {one.notice_id for one in report.about.notices}


def _entry(report: Report, message: RawMessage, now: dt.datetime) -> Entry:
    about, header = report.about, message.header
    return Entry(
        queue_id=report.queue_id,
        recipient_ids=(report.recipient_id,),
        mailbox_id=about.mailbox_id,
        token_id=about.token_id,
        door=DOOR,
        envelope=Envelope(
            NULL,
            (Recipient(ForwardPath(about.mailbox)),),
            BodyType.EIGHT_BIT if message.has_8bit else BodyType.SEVEN_BIT,
            smtputf8=message.needs_smtputf8,
        ),
        message=message,
        message_id=(header.first("Message-ID") or b"").decode("ascii"),
        subject=decode(header.first("Subject") or b""),
        sandbox=about.sandbox,
        tags=(),
        metadata=(),
        request_id=about.request_id,
        accepted_at=now,
    )


def _told(report: Report) -> list[Event]:
    about = report.about
    return [
        Event(
            type=EventType.RECIPIENT_NOTIFIED,
            mailbox_id=about.mailbox_id,
            queue_id=about.queue_id,
            recipient_id=one.recipient_id,
            data={"action": one.action, "notice_queue_id": report.queue_id},
        )
        for one in about.notices
    ]

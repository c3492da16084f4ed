"""Lease due work to a worker: one claim is one message, with its due recipients."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from gatewayd import ids
from gatewayd.ids import AttemptId, MailboxId, QueueId, RecipientId
from gatewayd.mail.address import ForwardPath, ReversePath
from gatewayd.mail.envelope import BodyType, Notify, Ret
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import Body, RawMessage, SpooledBody
from gatewayd.store import claims, mailboxes, messages
from gatewayd.store.claims import DueRow
from gatewayd.store.database import Tx
from gatewayd.store.mailboxes import MailboxRow
from gatewayd.store.messages import MessageRow, OctetsRow

RECIPIENTS_OF_ONE = 100  # so that a message with as many is claimed whole


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRecipient:
    """One forward-path that this attempt is for. `attempts` counts this one too."""

    recipient_id: RecipientId
    forward_path: ForwardPath
    attempts: int
    notify: frozenset[Notify]
    orcpt: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Work that is ours until `lease_until`; `attempt_id` is the proof.

    mailbox: its address, empty when the mailbox was destroyed meanwhile.
    hold_in_doubt: a recipient left in doubt waits for an operator.
    """

    attempt_id: AttemptId
    queue_id: QueueId
    mailbox_id: MailboxId
    mailbox: str
    hold_in_doubt: bool
    sandbox: bool
    accepted_at: dt.datetime
    reverse_path: ReversePath
    body_type: BodyType
    smtputf8: bool
    envid: str | None
    ret: Ret | None
    recipients: tuple[ClaimedRecipient, ...]
    message: RawMessage
    lease_until: dt.datetime


def claim(tx: Tx, wants: Mapping[MailboxId, int], *, lease: dt.timedelta) -> list[Claim]:
    """Claim up to so many messages of each lane, the longest due first."""
    until = tx.now + lease
    due = [group for lane, count in wants.items() for group in _due(tx, lane, count)]
    if not due:
        return []
    queue_ids = {group[0].queue_id for group in due}
    rows = messages.by_ids(tx, queue_ids)
    octets = messages.octets_by_ids(tx, queue_ids)
    owners = mailboxes.by_ids(tx, {row.mailbox_id for row in rows.values()})
    claimed: list[Claim] = []
    for group in due:
        row = rows[group[0].queue_id]
        claimed.append(
            _claim(
                ids.attempt_id(tx.now),
                row,
                octets[row.queue_id],
                owner=owners.get(row.mailbox_id),
                group=group,
                until=until,
            )
        )
    claims.lease(
        tx,
        {
            one.attempt_id: (one.queue_id, [r.recipient_id for r in one.recipients])
            for one in claimed
        },
        until=until,
    )
    return claimed


def _due(tx: Tx, lane: MailboxId, count: int) -> list[list[DueRow]]:
    """Due recipients of one lane, grouped by message; a message is cut only when it is alone."""
    limit = count + RECIPIENTS_OF_ONE
    rows = claims.due(tx, lane, limit=limit)
    groups: dict[QueueId, list[DueRow]] = {}
    for row in rows:
        groups.setdefault(row.queue_id, []).append(row)
    ordered = list(groups.values())
    if len(rows) == limit and len(ordered) > 1:
        ordered.pop()  # more of it may be due
    return ordered[:count]


def _claim(
    attempt_id: AttemptId,
    row: MessageRow,
    octets: OctetsRow,
    *,
    owner: MailboxRow | None,
    group: list[DueRow],
    until: dt.datetime,
) -> Claim:
    return Claim(
        attempt_id=attempt_id,
        queue_id=row.queue_id,
        mailbox_id=row.mailbox_id,
        mailbox=owner.address if owner else "",
        hold_in_doubt=owner is not None and owner.on_in_doubt == "hold",
        sandbox=row.sandbox,
        accepted_at=row.accepted_at,
        reverse_path=ReversePath.parse(row.reverse_path),
        body_type=BodyType(row.body_type),
        smtputf8=row.smtputf8,
        envid=row.envid,
        ret=Ret(row.ret) if row.ret else None,
        recipients=tuple(_recipient(due) for due in group),
        message=RawMessage(HeaderSection(octets.header), _body(row, octets)),
        lease_until=until,
    )


def _recipient(due: DueRow) -> ClaimedRecipient:
    return ClaimedRecipient(
        recipient_id=due.recipient_id,
        forward_path=ForwardPath.parse(due.forward_path),
        attempts=due.attempts + 1,
        notify=frozenset(Notify(word) for word in due.notify.split(",") if word),
        orcpt=due.orcpt,
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

"""Lease due work to a worker.

| message                                    | one claim is                     |
|--------------------------------------------|----------------------------------|
| the same octets for everybody              | the message, and its due recipients |
| made for each recipient alone (individual) | one recipient of it              |

Claims of one message share one RawMessage, so its octets are in memory once.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatewayd import ids
from gatewayd.ids import AttemptId, MailboxId, QueueId, RecipientId
from gatewayd.mail.address import ForwardPath, ReversePath
from gatewayd.mail.envelope import BodyType, Notify, Ret
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import Body, RawMessage, SpooledBody
from gatewayd.queue.withheld import withhold
from gatewayd.store import claims, mailboxes, messages
from gatewayd.store.claims import DueRow
from gatewayd.store.database import Tx
from gatewayd.store.mailboxes import MailboxRow
from gatewayd.store.messages import MessageRow, OctetsRow

RECIPIENTS_OF_ONE = 100  # so that a message with as many is claimed whole
POSTMASTER_DOOR: Final = "postmaster"  # of mail that anybody may have written


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

    mailbox: its address, whose domain signs; empty when the mailbox was destroyed meanwhile, and
        for mail that is sent on to postmaster: that is not signed in anybody's name.
    hold_in_doubt: a recipient left in doubt waits for an operator.
    tracks_opens, tracks_clicks, unsubscribe: what is made for this recipient alone.
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
    tracks_opens: bool = False
    tracks_clicks: bool = False
    unsubscribe: bool = False

    @property
    def is_individual(self) -> bool:
        """Whether its one recipient gets octets of its own, and a reverse-path of its own."""
        return self.tracks_opens or self.tracks_clicks or self.unsubscribe


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """claims: ours now. withheld: recipients that failed instead; owed: reports about them."""

    claims: list[Claim]
    withheld: int = 0
    owed: int = 0


def take(tx: Tx, wants: Mapping[MailboxId, int], *, lease: dt.timedelta) -> Taken:
    """Claim up to so many pieces of work of each lane, the longest due first.

    Who is suppressed by now is not claimed, but fails (`withheld.py`).
    """
    until = tx.now + lease
    due = {
        lane: _of_first(claims.due(tx, lane, limit=count + RECIPIENTS_OF_ONE), count)
        for lane, count in wants.items()
    }
    rows = messages.by_ids(tx, {row.queue_id for lane in due.values() for row in lane})
    groups = [group for lane, count in wants.items() for group in _groups(due[lane], rows, count)]
    paths = {
        one.recipient_id: ForwardPath.parse(one.forward_path) for group in groups for one in group
    }
    sifted = withhold(tx, groups, rows, paths)
    groups = sifted.groups
    if not groups:
        return Taken(claims=[], withheld=sifted.withheld, owed=sifted.owed)
    queue_ids = {group[0].queue_id for group in groups}
    octets = messages.octets_by_ids(tx, queue_ids)
    owners = mailboxes.by_ids(tx, {rows[queue_id].mailbox_id for queue_id in queue_ids})
    contents = {queue_id: _content(rows[queue_id], octets[queue_id]) for queue_id in queue_ids}
    claimed = [
        _claim(
            ids.attempt_id(tx.now),
            rows[group[0].queue_id],
            contents[group[0].queue_id],
            owner=owners.get(rows[group[0].queue_id].mailbox_id),
            recipients=tuple(_recipient(due, paths[due.recipient_id]) for due in group),
            until=until,
        )
        for group in groups
    ]
    claims.lease(
        tx,
        {
            one.attempt_id: (one.queue_id, [r.recipient_id for r in one.recipients])
            for one in claimed
        },
        until=until,
    )
    return Taken(claims=claimed, withheld=sifted.withheld, owed=sifted.owed)


def _of_first(due: list[DueRow], count: int) -> list[DueRow]:
    """What is due of the first so many messages: no more can be claimed, so no more is read."""
    wanted = set(itertools.islice(dict.fromkeys(row.queue_id for row in due), count))
    return [row for row in due if row.queue_id in wanted]


def _groups(
    due: list[DueRow], rows: Mapping[QueueId, MessageRow], count: int
) -> list[list[DueRow]]:
    """Due recipients of one lane as pieces of work; a message is cut only when it is alone."""
    groups: dict[str, list[DueRow]] = {}
    for row in due:
        key = row.recipient_id if rows[row.queue_id].is_individual else row.queue_id
        groups.setdefault(key, []).append(row)
    ordered = list(groups.values())
    is_all = len(due) < count + RECIPIENTS_OF_ONE
    if not is_all and len(ordered) > 1 and not rows[ordered[-1][0].queue_id].is_individual:
        ordered.pop()  # more of it may be due
    return ordered[:count]


def _claim(
    attempt_id: AttemptId,
    row: MessageRow,
    content: RawMessage,
    *,
    owner: MailboxRow | None,
    recipients: tuple[ClaimedRecipient, ...],
    until: dt.datetime,
) -> Claim:
    return Claim(
        attempt_id=attempt_id,
        queue_id=row.queue_id,
        mailbox_id=row.mailbox_id,
        mailbox=owner.address if owner and row.door != POSTMASTER_DOOR else "",
        hold_in_doubt=owner is not None and owner.on_in_doubt == "hold",
        sandbox=row.sandbox,
        accepted_at=row.accepted_at,
        reverse_path=ReversePath.parse(row.reverse_path),
        body_type=BodyType(row.body_type),
        smtputf8=row.smtputf8,
        envid=row.envid,
        ret=Ret(row.ret) if row.ret else None,
        recipients=recipients,
        message=content,
        lease_until=until,
        tracks_opens="opens" in row.track,
        tracks_clicks="clicks" in row.track,
        unsubscribe=row.unsubscribe,
    )


def _content(row: MessageRow, octets: OctetsRow) -> RawMessage:
    return RawMessage(HeaderSection(octets.header), _body(row, octets))


def _recipient(due: DueRow, forward_path: ForwardPath) -> ClaimedRecipient:
    return ClaimedRecipient(
        recipient_id=due.recipient_id,
        forward_path=forward_path,
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

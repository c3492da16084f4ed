"""withhold(tx, groups, rows): who is suppressed by now is not tried any more.

| due                                    | its address | becomes                                   |
|----------------------------------------|-------------|-------------------------------------------|
| mail of a submitter, sandbox mail too  | on the list | failed, 5.7.1 recipient_suppressed, as at |
|                                        |             | acceptance; its submitter told if NOTIFY  |
|                                        |             | asks for it                               |
| mail of a submitter                    | another     | tried                                     |
| ours, from the null reverse-path: a    | any         | tried: it is the submitter's own address, |
| report, or mail sent on to postmaster  |             | or the operator's                         |

One look at the list for all of a claim, and none where nothing is due.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatewayd import ids
from gatewayd.events import record
from gatewayd.ids import QueueId, RecipientId
from gatewayd.mail.address import ForwardPath
from gatewayd.mail.envelope import Notify
from gatewayd.queue import notify
from gatewayd.queue.judge import Settled, suppressed
from gatewayd.store import claims, notices, suppressions
from gatewayd.store.claims import DueRow
from gatewayd.store.database import Tx
from gatewayd.store.messages import MessageRow
from gatewayd.store.notices import NoticeRow
from gatewayd.store.suppressions import ALL
from gatewayd.suppression.key import key

Group = list[DueRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """groups: what may be tried. withheld: recipients that failed; owed: reports about them."""

    groups: list[Group]
    withheld: int = 0
    owed: int = 0


def withhold(
    tx: Tx,
    groups: list[Group],
    rows: Mapping[QueueId, MessageRow],
    paths: Mapping[RecipientId, ForwardPath],
) -> Sifted:
    """Settle who is suppressed, in the transaction of the claim; the others go on.

    Args:
        tx: the transaction, which has the due recipients locked.
        groups: due recipients of one message each.
        rows: their messages.
        paths: their forward-paths, which whoever claims them has read.
    """
    keys = {
        due.recipient_id: (rows[due.queue_id].mailbox_id, key(paths[due.recipient_id].address))
        for group in groups
        for due in group
        if rows[due.queue_id].reverse_path
    }
    found = suppressions.find(tx, keys.values()) if keys else {}
    if not found:
        return Sifted(groups=groups)
    gone = {
        recipient_id
        for recipient_id, (scope, address_key) in keys.items()
        if (scope, address_key) in found or (ALL, address_key) in found
    }
    left = [[due for due in group if due.recipient_id not in gone] for group in groups]
    ended = [due for group in groups for due in group if due.recipient_id in gone]
    return Sifted(
        groups=[group for group in left if group],
        withheld=len(ended),
        owed=_settle(tx, ended, rows),
    )


def _settle(tx: Tx, ended: Sequence[DueRow], rows: Mapping[QueueId, MessageRow]) -> int:
    """Keep that these failed; how many reports are owed."""
    settled = [suppressed(due, rows[due.queue_id].mailbox_id) for due in ended]
    claims.settle(tx, [_row(due, one) for due, one in zip(ended, settled, strict=True)])
    owed = [
        _notice(due, one, tx.now)
        for due, one in zip(ended, settled, strict=True)
        if notify.action_of(one.state, _asked(due), is_dsn_offered=False, is_late=False)
    ]
    notices.add(tx, owed)
    record.append(tx, [event for one in settled for event in one.events])
    return len(owed)


def _asked(due: DueRow) -> frozenset[Notify]:
    return frozenset(Notify(word) for word in due.notify.split(",") if word)


def _row(due: DueRow, settled: Settled) -> dict[str, object]:
    return {
        "recipient_id": due.recipient_id,
        "state": settled.state.value,
        "attempts": settled.attempts,
        "due_at": settled.due_at,
        "reply_code": None,
        "reply_status": settled.status,
        "reason": settled.reason,
        "delivered_at": None,
    }


def _notice(due: DueRow, settled: Settled, now: dt.datetime) -> NoticeRow:
    return NoticeRow(
        notice_id=ids.uuid7(now),
        queue_id=due.queue_id,
        recipient_id=due.recipient_id,
        action="failed",
        data=dict(settled.events[-1].data),
        created_at=now,
    )

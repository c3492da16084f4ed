"""Lease, renew, release, expire: statements over recipients and attempts.

An attempt is the lease: a claim writes its row, with the time until which it holds, and puts its id
into its recipients. Whoever wants to write a marker or an outcome must find the attempt open and
the recipient still carrying its id; so the id is the fencing token.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import and_, bindparam, func, literal, select, update

from gatewayd.ids import AttemptId, QueueId, RecipientId
from gatewayd.store.bulk import BulkInsert, BulkUpdate
from gatewayd.store.chunks import chunks
from gatewayd.store.database import Tx
from gatewayd.store.dialect import lock_to_change, lock_to_claim
from gatewayd.store.prepared import Prepared, PreparedRows
from gatewayd.store.schema import CLAIMED, IN_DOUBT, QUEUED, attempts, recipients

BOUNCED = "bounced"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRow:
    """A recipient whose time has come."""

    recipient_id: RecipientId
    queue_id: QueueId
    forward_path: str
    notify: str
    orcpt: str | None
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRow:
    """A recipient that an attempt holds, or that bounced while it did."""

    recipient_id: RecipientId
    queue_id: QueueId
    attempt_id: AttemptId
    attempts: int
    state: str
    forward_path: str
    notify: str
    delayed_at: dt.datetime | None
    delivered_at: dt.datetime | None
    marker_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt, as readers see it."""

    attempt_id: AttemptId
    queue_id: QueueId
    started_at: dt.datetime
    lease_until: dt.datetime
    marker_at: dt.datetime | None
    ended_at: dt.datetime | None
    next_hop: str
    phase: str
    tls: str
    transcript: str


def _lanes() -> Any:  # noqa: ANN401 - a SELECT of two columns
    """Each lane with queued work and its earliest due time, by one index seek per lane."""
    queued = recipients.c.state == QUEUED
    first = select(func.min(recipients.c.lane).label("lane")).where(queued)
    lane = first.cte("lane", recursive=True)
    following = (
        select(func.min(recipients.c.lane))
        .where(queued, recipients.c.lane > lane.c.lane)
        .scalar_subquery()
    )
    lane = lane.union_all(select(following).where(lane.c.lane.is_not(None)))
    earliest = (
        select(func.min(recipients.c.due_at))
        .where(queued, recipients.c.lane == lane.c.lane)
        .correlate(lane)
        .scalar_subquery()
    )
    return select(lane.c.lane, earliest.label("due_at")).where(lane.c.lane.is_not(None))


_LANES = _lanes()
_DUE = PreparedRows(
    lock_to_claim(
        select(
            recipients.c.recipient_id,
            recipients.c.queue_id,
            recipients.c.forward_path,
            recipients.c.notify,
            recipients.c.orcpt,
            recipients.c.attempts,
        )
        .where(
            recipients.c.state == QUEUED,
            recipients.c.lane == bindparam("of"),
            recipients.c.due_at <= bindparam("now"),
        )
        .order_by(recipients.c.due_at, recipients.c.recipient_id)
        .limit(bindparam("count"))
    ),
    DueRow,
)
_BEGIN = BulkInsert(
    attempts,
    (
        "attempt_id",
        "queue_id",
        "started_at",
        "lease_until",
        "next_hop",
        "phase",
        "tls",
        "transcript",
    ),
)
_CLAIM = BulkUpdate(
    recipients,
    "recipient_id",
    ("attempt_id", "updated_at"),
    also={"state": CLAIMED, "attempts": recipients.c.attempts + 1},
)
_OPEN = Prepared(
    lock_to_change(
        select(attempts.c.attempt_id)
        .where(
            attempts.c.attempt_id.in_(bindparam("ids", expanding=True)),
            attempts.c.ended_at.is_(None),
            attempts.c.lease_until >= bindparam("until"),
        )
        .order_by(attempts.c.attempt_id)
    )
)
_THESE = lock_to_change(
    select(attempts.c.attempt_id)
    .where(attempts.c.attempt_id.in_(bindparam("ids", expanding=True)))
    .order_by(attempts.c.attempt_id)
)
_MARK = Prepared(
    update(attempts)
    .where(attempts.c.attempt_id.in_(bindparam("ids", expanding=True)))
    .values(marker_at=bindparam("now"))
)
_RENEW = (
    update(attempts)
    .where(
        attempts.c.attempt_id.in_(bindparam("ids", expanding=True)),
        attempts.c.ended_at.is_(None),
    )
    .values(lease_until=bindparam("until"))
)
_STILL_OPEN = Prepared(
    select(attempts.c.attempt_id).where(
        attempts.c.attempt_id.in_(bindparam("ids", expanding=True)), attempts.c.ended_at.is_(None)
    )
)
_HELD_COLUMNS = (
    recipients.c.recipient_id,
    recipients.c.queue_id,
    recipients.c.attempt_id,
    recipients.c.attempts,
    recipients.c.state,
    recipients.c.forward_path,
    recipients.c.notify,
    recipients.c.delayed_at,
    recipients.c.delivered_at,
)
_HELD = PreparedRows(
    lock_to_change(
        select(*_HELD_COLUMNS, literal(None).label("marker_at"))
        .where(
            recipients.c.recipient_id.in_(bindparam("ids", expanding=True)),
            recipients.c.state.in_([CLAIMED, BOUNCED]),
        )
        .order_by(recipients.c.recipient_id)
    ),
    HeldRow,
)
_EXPIRED = lock_to_claim(
    select(attempts.c.attempt_id, attempts.c.queue_id, attempts.c.marker_at)
    .where(attempts.c.ended_at.is_(None), attempts.c.lease_until < bindparam("before"))
    .order_by(attempts.c.lease_until, attempts.c.attempt_id)
    .limit(bindparam("count"))
)
_OF_ATTEMPTS = lock_to_change(
    select(*_HELD_COLUMNS, attempts.c.marker_at)
    .join(
        attempts,
        and_(
            attempts.c.queue_id == recipients.c.queue_id,
            attempts.c.attempt_id == recipients.c.attempt_id,
        ),
    )
    .where(
        attempts.c.attempt_id.in_(bindparam("ids", expanding=True)),
        recipients.c.state == CLAIMED,
    )
    .order_by(recipients.c.recipient_id)
)
_OUTCOME = (
    "state",
    "attempts",
    "due_at",
    "reply_code",
    "reply_status",
    "reason",
    "delivered_at",
)
_RECORD = ("next_hop", "phase", "tls", "transcript")
_SETTLE = BulkUpdate(recipients, "recipient_id", (*_OUTCOME, "updated_at"))
_END = BulkUpdate(attempts, "attempt_id", (*_RECORD, "ended_at"))
_settled = itemgetter("recipient_id", *_OUTCOME)
_ended = itemgetter("attempt_id", *_RECORD)
_CLOSE = (
    update(attempts)
    .where(
        attempts.c.attempt_id.in_(bindparam("ids", expanding=True)),
        attempts.c.ended_at.is_(None),
    )
    .values(ended_at=bindparam("now"))
)
_REQUEUE = (
    update(recipients)
    .where(recipients.c.state == IN_DOUBT, recipients.c.due_at <= bindparam("now"))
    .values(state="queued", updated_at=bindparam("now"))
)
_OF_MESSAGES = (
    select(*attempts.c)
    .where(attempts.c.queue_id.in_(bindparam("ids", expanding=True)))
    .order_by(attempts.c.queue_id, attempts.c.attempt_id)
)


def lanes(tx: Tx) -> list[tuple[str, dt.datetime]]:
    """Lanes with queued work, each with its earliest due time."""
    return [(row.lane, row.due_at) for row in tx.execute(_LANES)]


def due(tx: Tx, lane: str, *, limit: int) -> list[DueRow]:
    """Recipients of a lane whose time has come, the longest due first; none that others hold."""
    return _DUE.made(tx, {"of": lane, "now": tx.now, "count": limit})


def begin(tx: Tx, begun: Mapping[AttemptId, QueueId], *, until: dt.datetime) -> None:
    """Write new attempts, each at a message."""
    _BEGIN.run(
        tx,
        [
            {
                "attempt_id": attempt_id,
                "queue_id": queue_id,
                "started_at": tx.now,
                "lease_until": until,
                "next_hop": "",
                "phase": "",
                "tls": "",
                "transcript": "",
            }
            for attempt_id, queue_id in begun.items()
        ],
    )


def lease(
    tx: Tx,
    claimed: Mapping[AttemptId, tuple[QueueId, Sequence[RecipientId]]],
    *,
    until: dt.datetime,
) -> None:
    """Write the attempts and give them their recipients."""
    if not claimed:
        return
    begin(tx, {attempt_id: queue_id for attempt_id, (queue_id, _) in claimed.items()}, until=until)
    _CLAIM.run(
        tx,
        [
            {"recipient_id": recipient_id, "attempt_id": attempt_id, "updated_at": tx.now}
            for attempt_id, (_, ids) in claimed.items()
            for recipient_id in ids
        ],
    )


def still_ours(tx: Tx, ids: Collection[AttemptId], *, until: dt.datetime) -> set[AttemptId]:
    """Those attempts that are open and hold at least until then; locked."""
    if not ids:
        return set()
    return {attempt_id for (attempt_id,) in _OPEN.run(tx, {"ids": sorted(ids), "until": until})}


def still_open(tx: Tx, ids: Collection[AttemptId]) -> set[AttemptId]:
    """Those attempts whose outcome was not kept yet."""
    if not ids:
        return set()
    return {attempt_id for (attempt_id,) in _STILL_OPEN.run(tx, {"ids": sorted(ids)})}


def keep_from_others(tx: Tx, ids: Collection[AttemptId]) -> None:
    """Lock attempts before their recipients, which is the order in which `expired` comes to them.

    In the other order two nodes wait for each other: one that takes a lease back, and one that
    keeps the outcome of it at this moment.
    """
    if tx.dialect.has_single_node:
        return
    for some in chunks(sorted(ids)):
        tx.execute(_THESE, {"ids": some})


def mark(tx: Tx, ids: Collection[AttemptId]) -> None:
    """Note that the final dot may be written from now on."""
    if ids:
        _MARK.run(tx, {"ids": sorted(ids), "now": tx.now})


def renew(tx: Tx, ids: Collection[AttemptId], *, until: dt.datetime) -> set[AttemptId]:
    """Hold these attempts longer; those that are still open."""
    wanted = sorted(ids)
    tx.execute(_RENEW, {"ids": wanted, "until": until})
    return still_open(tx, wanted)


def held(tx: Tx, ids: Collection[RecipientId]) -> dict[RecipientId, HeldRow]:
    """Those of these recipients that are claimed or bounced, by whatever attempt; locked."""
    found: dict[RecipientId, HeldRow] = {}
    for some in chunks(sorted(ids)):
        for row in _HELD.made(tx, {"ids": some}):
            found[row.recipient_id] = row
    return found


def expired(tx: Tx, *, before: dt.datetime, limit: int) -> list[AttemptId]:
    """Open attempts whose lease ended before then."""
    return [row.attempt_id for row in tx.execute(_EXPIRED, {"before": before, "count": limit})]


def held_by(tx: Tx, ids: Collection[AttemptId]) -> list[HeldRow]:
    """The recipients that these attempts hold; locked."""
    found: list[HeldRow] = []
    for some in chunks(sorted(ids)):
        found.extend(HeldRow(**row._mapping) for row in tx.execute(_OF_ATTEMPTS, {"ids": some}))
    return found


def settle(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what became of claimed recipients: every column that an outcome changes."""
    now = tx.now
    _SETTLE.write(tx, [(*_settled(row), now) for row in rows])


def end(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Close attempts with their record: next_hop, phase, tls, transcript."""
    now = tx.now
    _END.write(tx, [(*_ended(row), now) for row in rows])


def close(tx: Tx, ids: Collection[AttemptId]) -> None:
    """Close attempts of which nothing more is known; an end that is there stays."""
    for some in chunks(sorted(ids)):
        tx.execute(_CLOSE, {"ids": some, "now": tx.now})


def requeue_in_doubt(tx: Tx) -> int:
    """Let recipients in doubt go back to the queue when their time has come; how many did."""
    return tx.execute(_REQUEUE, {"now": tx.now}).rowcount


def of_messages(tx: Tx, ids: Collection[QueueId]) -> dict[QueueId, list[AttemptRow]]:
    """The attempts of each message, in the order in which they were made."""
    found: dict[QueueId, list[AttemptRow]] = {}
    for some in chunks(sorted(ids)):
        for row in tx.execute(_OF_MESSAGES, {"ids": some}):
            found.setdefault(row.queue_id, []).append(AttemptRow(**row._mapping))
    return found

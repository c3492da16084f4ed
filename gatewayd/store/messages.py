"""Accepted messages: tables and statements."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from sqlalchemy import Text, bindparam, delete, exists, func, select, type_coerce

from gatewayd.ids import MailboxId, QueueId, TokenId
from gatewayd.store.bulk import BulkInsert
from gatewayd.store.chunks import chunks
from gatewayd.store.database import Tx
from gatewayd.store.prepared import PreparedRows
from gatewayd.store.schema import attempts, message_octets, messages, recipients

LOOKED_AT: Final = 500  # messages, when those that are old are looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """One accepted message: envelope and facts, no octets.

    track: `opens`, `clicks`, both joined by a comma, or nothing.
    unsubscribe: whether each recipient gets a link to leave by.
    """

    queue_id: QueueId
    mailbox_id: MailboxId
    token_id: TokenId
    door: str
    reverse_path: str
    body_type: str
    smtputf8: bool
    envid: str | None
    ret: str | None
    message_id: str
    subject: str
    size_octets: int
    sandbox: bool
    tags: list[str]
    metadata: dict[str, str]
    request_id: str
    spool_key: str | None
    spool_sha256: str | None
    accepted_at: dt.datetime
    track: str = ""
    unsubscribe: bool = False

    @property
    def is_individual(self) -> bool:
        """Whether each recipient gets octets of its own."""
        return bool(self.track) or self.unsubscribe


@dataclass(frozen=True, slots=True, kw_only=True)
class OctetsRow:
    """The octets of one message. `body` is None when it is in the spool."""

    queue_id: QueueId
    header: bytes
    body: bytes | None
    body_octets: int
    body_has_8bit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages a list shows; None means any."""

    mailbox_id: MailboxId | None = None
    state: str | None = None
    recipient: str | None = None
    tag: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


_INSERT = BulkInsert(messages, MessageRow.__slots__)
_INSERT_OCTETS = BulkInsert(message_octets, OctetsRow.__slots__)
_values = attrgetter(*MessageRow.__slots__)  # `asdict` would copy every octet and list
_values_of_octets = attrgetter(*OctetsRow.__slots__)
_ALL = select(*messages.c)
_BY_IDS = PreparedRows(
    select(*(messages.c[name] for name in MessageRow.__slots__)).where(
        messages.c.queue_id.in_(bindparam("ids", expanding=True))
    ),
    MessageRow,
)
_OCTETS = PreparedRows(
    select(*(message_octets.c[name] for name in OctetsRow.__slots__)).where(
        message_octets.c.queue_id.in_(bindparam("ids", expanding=True))
    ),
    OctetsRow,
)
_FOLLOWING = (
    select(messages.c.queue_id, messages.c.spool_key, messages.c.accepted_at)
    .where(messages.c.queue_id > bindparam("after"))
    .order_by(messages.c.queue_id)
    .limit(bindparam("count"))
)
_OWED = (
    select(recipients.c.queue_id)
    .where(
        recipients.c.queue_id.in_(bindparam("ids", expanding=True)),
        recipients.c.state.in_(bindparam("states", expanding=True)),
    )
    .group_by(recipients.c.queue_id)
    .order_by(recipients.c.queue_id)
)
_SPOOLED = select(messages.c.spool_key).where(
    messages.c.spool_key.in_(bindparam("keys", expanding=True))
)


def add(tx: Tx, rows: Sequence[MessageRow], octets: Sequence[OctetsRow]) -> None:
    _INSERT.write(tx, [_values(row) for row in rows])
    _INSERT_OCTETS.write(tx, [_values_of_octets(row) for row in octets])


def by_ids(tx: Tx, ids: Collection[QueueId]) -> dict[QueueId, MessageRow]:
    if not ids:
        return {}
    return {row.queue_id: row for row in _BY_IDS.made(tx, {"ids": list(ids)})}


def octets_by_ids(tx: Tx, ids: Collection[QueueId]) -> dict[QueueId, OctetsRow]:
    if not ids:
        return {}
    return {row.queue_id: row for row in _OCTETS.made(tx, {"ids": list(ids)})}


def newest_first(
    tx: Tx, wanted: MessageFilter, *, before: QueueId | None, limit: int
) -> list[MessageRow]:
    """A page of messages, the newest first; `before` is the last id of the page before."""
    query = _ALL.order_by(messages.c.queue_id.desc()).limit(limit)
    if before is not None:
        query = query.where(messages.c.queue_id < before)
    if wanted.mailbox_id is not None:
        query = query.where(messages.c.mailbox_id == wanted.mailbox_id)
    if wanted.since is not None:
        query = query.where(messages.c.accepted_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(messages.c.accepted_at < wanted.until)
    if wanted.tag is not None:
        # Tags are kept as a JSON list of plain words, so a quoted one is found as text. Not by
        # LIKE: SQLite's does not tell case.
        tags = type_coerce(messages.c.tags, Text)
        query = query.where(func.replace(tags, f'"{wanted.tag}"', "") != tags)
    if wanted.state is not None or wanted.recipient is not None:
        some = exists().where(recipients.c.queue_id == messages.c.queue_id)
        if wanted.state is not None:
            some = some.where(recipients.c.state == wanted.state)
        if wanted.recipient is not None:
            some = some.where(recipients.c.forward_path == wanted.recipient)
        query = query.where(some)
    return [MessageRow(**row._mapping) for row in tx.execute(query)]


def referenced(tx: Tx, spool_keys: Collection[str]) -> set[str]:
    """Which of these spool files a message needs."""
    found: set[str] = set()
    for some in chunks(sorted(spool_keys)):
        found.update(tx.execute(_SPOOLED, {"keys": some}).scalars())
    return found


def at_rest_before(
    tx: Tx, before: dt.datetime, *, open_states: Collection[str], limit: int
) -> list[tuple[QueueId, str | None]]:
    """Messages accepted before then that nothing is owed on: (queue_id, spool_key).

    Ids are in the order of their times, so it is over with LOOKED_AT that are all younger: a queue
    of a million is not read to learn that nothing in it is old.
    """
    found: list[tuple[QueueId, str | None]] = []
    after = ""
    while len(found) < limit:
        looked_at = tx.execute(_FOLLOWING, {"after": after, "count": LOOKED_AT}).all()
        old = {row.queue_id: row.spool_key for row in looked_at if row.accepted_at < before}
        if not old:
            break
        owed = tx.execute(_OWED, {"ids": list(old), "states": sorted(open_states)}).scalars()
        for queue_id in owed:
            del old[queue_id]
        found.extend(old.items())
        after = looked_at[-1].queue_id
    return found[:limit]


def remove(tx: Tx, ids: Collection[QueueId]) -> None:
    """Forget messages with their recipients and attempts; events stay."""
    for some in chunks(sorted(ids)):
        for table in (recipients, attempts, message_octets, messages):
            tx.execute(delete(table).where(table.c.queue_id.in_(some)))


def count(tx: Tx) -> int:
    return int(tx.execute(select(func.count()).select_from(messages)).scalar_one())

"""What reports change: statements over recipients, and what they ask of attempts and events.

The rows are locked before they are judged, so a change needs no condition of its own. A fact keeps
the time, class and reason with which it was first known.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Text, bindparam, func, or_, select, union_all, update

from gatewayd.ids import QueueId, RecipientId
from gatewayd.store.chunks import chunks
from gatewayd.store.columns import Instant
from gatewayd.store.database import Tx
from gatewayd.store.dialect import lock_to_change
from gatewayd.store.recipients import RecipientRow
from gatewayd.store.schema import attempts, events, messages, recipients

_IDENTS = 1000  # in one statement: each is bound twice


@dataclass(frozen=True, slots=True, kw_only=True)
class BounceFact:
    """A recipient that came back: class and reason are words of `reports/report.py`."""

    recipient_id: RecipientId
    klass: str
    reason: str


_KNOWN = union_all(
    select(recipients.c.recipient_id).where(recipients.c.recipient_id == bindparam("ident")),
    select(messages.c.queue_id).where(messages.c.queue_id == bindparam("ident")),
)
_LOCKED = lock_to_change(
    select(*recipients.c)
    .where(
        or_(
            recipients.c.recipient_id.in_(bindparam("ids", expanding=True)),
            recipients.c.queue_id.in_(bindparam("ids", expanding=True)),
        )
    )
    .order_by(recipients.c.recipient_id)
)
_MARKED = (
    select(attempts.c.queue_id)
    .distinct()
    .where(
        attempts.c.queue_id.in_(bindparam("ids", expanding=True)), attempts.c.marker_at.is_not(None)
    )
)
_TOLD = select(events.c.recipient_id, events.c.data).where(
    events.c.queue_id.in_(bindparam("ids", expanding=True)), events.c.type == bindparam("word")
)
_NOW = bindparam("now", type_=Instant)
_ONE = update(recipients).where(recipients.c.recipient_id == bindparam("id"))
_FACTS = {
    "bounced_at": func.coalesce(recipients.c.bounced_at, _NOW),
    "bounce_class": func.coalesce(recipients.c.bounce_class, bindparam("klass", type_=Text)),
    "bounce_reason": func.coalesce(recipients.c.bounce_reason, bindparam("why", type_=Text)),
    "updated_at": _NOW,
}
_BOUNCE = _ONE.values(state="bounced", due_at=None, **_FACTS)
_NOTE_BOUNCE = _ONE.values(**_FACTS)
_SOME = update(recipients).where(recipients.c.recipient_id.in_(bindparam("ids", expanding=True)))
_DELAY = _SOME.values(delayed_at=func.coalesce(recipients.c.delayed_at, _NOW), updated_at=_NOW)
_DELIVER = _SOME.values(
    state="delivered",
    due_at=None,
    delivered_at=func.coalesce(recipients.c.delivered_at, _NOW),
    updated_at=_NOW,
)
_KEEP_DELIVERED = _SOME.values(delivered_at=func.coalesce(recipients.c.delivered_at, _NOW))
_COMPLAIN = _SOME.values(
    complained_at=func.coalesce(recipients.c.complained_at, _NOW),
    updated_at=_NOW,
)


def is_known(tx: Tx, ident: str) -> bool:
    """Whether there is a recipient, or a message, with this id."""
    return tx.execute(_KNOWN, {"ident": ident}).first() is not None


def locked(tx: Tx, idents: Collection[str]) -> list[RecipientRow]:
    """Recipients with these ids, and those of messages with these ids; kept from every worker."""
    found: list[RecipientRow] = []
    for some in chunks(sorted(idents), _IDENTS):
        found.extend(RecipientRow(**row._mapping) for row in tx.execute(_LOCKED, {"ids": some}))
    return found


def marked(tx: Tx, ids: Collection[QueueId]) -> set[QueueId]:
    """Those of these messages of which an attempt had come to the final dot."""
    found: set[QueueId] = set()
    for some in chunks(sorted(ids)):
        found.update(tx.execute(_MARKED, {"ids": some}).scalars())
    return found


def told(tx: Tx, ids: Collection[QueueId], *, word: str) -> set[tuple[RecipientId, str]]:
    """Recipient and action of all events of this type about these messages."""
    found: set[tuple[RecipientId, str]] = set()
    for some in chunks(sorted(ids)):
        rows = tx.execute(_TOLD, {"ids": some, "word": word})
        found.update((row.recipient_id, str(row.data.get("action", ""))) for row in rows)
    return found


def bounce(tx: Tx, facts: Sequence[BounceFact]) -> None:
    """Move recipients to `bounced`."""
    if facts:
        tx.execute(_BOUNCE, _bound(tx, facts))


def note_bounce(tx: Tx, facts: Sequence[BounceFact]) -> None:
    """Note that recipients came back, and leave their state."""
    if facts:
        tx.execute(_NOTE_BOUNCE, _bound(tx, facts))


def note_delay(tx: Tx, ids: Collection[RecipientId]) -> None:
    for some in chunks(sorted(ids)):
        tx.execute(_DELAY, {"ids": some, "now": tx.now})


def deliver(tx: Tx, ids: Collection[RecipientId]) -> None:
    """Move recipients to `delivered`: a report has proved what no reply said."""
    for some in chunks(sorted(ids)):
        tx.execute(_DELIVER, {"ids": some, "now": tx.now})


def note_delivery(tx: Tx, ids: Collection[RecipientId]) -> None:
    """Note that recipients were delivered who have bounced meanwhile."""
    for some in chunks(sorted(ids)):
        tx.execute(_KEEP_DELIVERED, {"ids": some, "now": tx.now})


def complain(tx: Tx, ids: Collection[RecipientId]) -> None:
    for some in chunks(sorted(ids)):
        tx.execute(_COMPLAIN, {"ids": some, "now": tx.now})


def _bound(tx: Tx, facts: Sequence[BounceFact]) -> list[dict[str, object]]:
    return [
        {"id": one.recipient_id, "klass": one.klass, "why": one.reason, "now": tx.now}
        for one in facts
    ]

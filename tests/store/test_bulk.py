"""store.bulk: however many rows a set has, each is written, once, as it was given."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import select

from gatewayd.errors import StoreConflict
from gatewayd.store.bulk import BulkInsert, BulkUpdate
from gatewayd.store.database import Database, Tx
from gatewayd.store.schema import events, idempotency, quotas, recipients
from tests.fakes import rows
from tests.fakes.clock import NOW

COUNTS = [0, 1, 2, 3, 63, 64, 65, 131]
EVENTS = BulkInsert(events, ("event_id", "type", "at", "data"))
KEYS = BulkInsert(idempotency, tuple(idempotency.c.keys()))
WINDOWS = BulkInsert(quotas, ("token_id", "window", "starts_at", "used"))
USED = BulkUpdate(quotas, ("token_id", "window", "starts_at"), ("used",))
KEPT = {"fingerprint": b"f", "queue_id": "q", "expires_at": NOW}
MOVES = BulkUpdate(
    recipients,
    "recipient_id",
    ("reason", "due_at"),
    also={"state": "held", "attempts": recipients.c.attempts + 1},
)


def event(number: int) -> dict[str, object]:
    at = NOW + dt.timedelta(microseconds=number)
    return {"event_id": f"e{number}", "type": "t", "at": at, "data": {"n": [number, "\u20ac"]}}


@pytest.mark.parametrize("count", COUNTS)
async def test_every_row_is_inserted_in_order(database: Database, count: int) -> None:
    """Types are those of the columns: instants, JSON."""
    given = [event(number) for number in range(count)]
    await database.write(lambda tx: EVENTS.run(tx, given))

    def read(tx: Tx) -> list[dict[str, object]]:
        kept = tx.execute(
            select(events.c.event_id, events.c.type, events.c.at, events.c.data).order_by(
                events.c.seq
            )
        )
        return [dict(row._mapping) for row in kept]

    assert await database.read(read) == given


@pytest.mark.parametrize("count", COUNTS)
async def test_every_row_is_updated_and_no_other(database: Database, count: int) -> None:
    """By its key; what is set alike in all may be an expression."""
    made = [rows.recipient("q1", position) for position in range(count + 1)]
    await rows.keep_message(database, "q1", *made)
    new = [
        {"recipient_id": f"q1-r{n}", "reason": f"for {n}", "due_at": None if n % 2 else NOW}
        for n in range(count)
    ]
    await database.write(lambda tx: MOVES.run(tx, new))

    def read(tx: Tx) -> list[tuple[object, ...]]:
        columns = recipients.c
        kept = tx.execute(
            select(columns.reason, columns.due_at, columns.state, columns.attempts).order_by(
                columns.position
            )
        )
        return [tuple(row) for row in kept]

    *moved, other = await database.read(read)
    assert moved == [(f"for {n}", None if n % 2 else NOW, "held", 1) for n in range(count)]
    assert other == ("", NOW, "queued", 0)


@pytest.mark.parametrize("count", COUNTS)
async def test_row_is_updated_where_every_key_is_its_own(database: Database, count: int) -> None:
    """In the tables of quotas and the like a row is known by several columns together."""
    made = [(f"t{number // 2}", "hour" if number % 2 else "day", NOW, 0) for number in range(200)]
    await database.write(lambda tx: WINDOWS.write(tx, made))

    await database.write(lambda tx: USED.write(tx, [(*row[:3], 7) for row in made[:count]]))

    def read(tx: Tx) -> dict[tuple[object, ...], int]:
        kept = tx.execute(select(quotas.c.token_id, quotas.c.window, quotas.c.used))
        return {(row.token_id, row.window): row.used for row in kept}

    found = await database.read(read)
    assert found == {row[:2]: 7 if place < count else 0 for place, row in enumerate(made)}


async def test_insert_is_refused_whole(database: Database) -> None:
    """One row that cannot be leaves nothing of the others, as with any statement."""
    given = [{"mailbox_id": "m", "key": key} | KEPT for key in ("a", "b", "a")]
    with pytest.raises(StoreConflict):
        await database.write(lambda tx: KEYS.run(tx, given))

    assert await database.read(lambda tx: tx.execute(select(idempotency.c.key)).all()) == []

"""store.prepared: what goes straight to the driver says what SQLAlchemy would say."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from sqlalchemy import BindParameter, bindparam, column, event, select, table, update

from gatewayd.errors import StoreConflict, StoreUnavailable
from gatewayd.store import mailboxes, messages, prepared, suppressions
from gatewayd.store.bulk import BulkInsert
from gatewayd.store.claims import HeldRow
from gatewayd.store.database import Database, Tx
from gatewayd.store.messages import MessageRow
from gatewayd.store.prepared import Prepared, maker
from gatewayd.store.schema import events, idempotency
from tests.fakes import rows
from tests.fakes.clock import NOW

WORD: BindParameter[str] = bindparam("word")
IDS: BindParameter[str] = bindparam("ids", expanding=True)
BY_IDS = Prepared(
    select(events.c.event_id, events.c.at, events.c.data)
    .where(events.c.type == WORD, events.c.event_id.in_(IDS), events.c.queue_id.is_(None))
    .order_by(events.c.seq)
)
BY_BOTH = Prepared(
    select(events.c.event_id)
    .where(events.c.event_id.in_(IDS), events.c.type.in_(bindparam("words", expanding=True)))
    .order_by(events.c.seq)
)
MOVE = Prepared(
    update(events).where(events.c.event_id.in_(IDS), events.c.type == "t").values(type=WORD)
)
ADD = BulkInsert(events, ("event_id", "type", "at", "data"))
KEYS = BulkInsert(idempotency, tuple(idempotency.c.keys()))


def given(count: int) -> list[tuple[object, ...]]:
    return [
        (f"e{number}", "t", NOW + dt.timedelta(microseconds=number), {"n": [number]})
        for number in range(count)
    ]


def read(tx: Tx, word: str, ids: list[str]) -> list[tuple[object, ...]]:
    return [tuple(row) for row in BY_IDS.run(tx, {"word": word, "ids": ids})]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 15, 16, 17, 64, 65, 300])
async def test_list_of_any_length_finds_its_rows_and_no_others(
    database: Database, count: int
) -> None:
    """Types are those of the columns; what is repeated to fill a list up is found once."""
    await database.write(lambda tx: ADD.write(tx, given(count + 1)))
    ids = [f"e{number}" for number in range(count)]

    found = await database.read(lambda tx: read(tx, "t", ids))

    assert found == [(one, at, data) for one, _, at, data in given(count)]
    assert await database.read(lambda tx: read(tx, "u", ids)) == []


async def test_two_lists_have_lengths_of_their_own(database: Database) -> None:
    await database.write(lambda tx: ADD.write(tx, given(12)))

    def both(tx: Tx, ids: int, words: list[str]) -> list[str]:
        values = {"ids": [f"e{number}" for number in range(ids)], "words": words}
        return [one for (one,) in BY_BOTH.run(tx, values)]

    for ids in (1, 3, 10):
        wanted = [f"e{number}" for number in range(ids)]
        assert await database.read(lambda tx, n=ids: both(tx, n, ["t"])) == wanted  # type: ignore[misc]
        assert await database.read(lambda tx, n=ids: both(tx, n, ["u", "t", "v"])) == wanted  # type: ignore[misc]
        assert await database.read(lambda tx, n=ids: both(tx, n, ["u", "v"])) == []  # type: ignore[misc]


async def test_update_changes_what_is_in_its_list(database: Database) -> None:
    """What stands in the statement itself is bound in its place."""
    await database.write(lambda tx: ADD.write(tx, given(3)))
    moved = {"ids": ["e0", "e2"], "word": "u"}

    assert await database.write(lambda tx: list(MOVE.run(tx, moved))) == []

    assert [
        one[0] for one in await database.read(lambda tx: read(tx, "u", ["e0", "e1", "e2"]))
    ] == [
        "e0",
        "e2",
    ]


async def test_row_of_every_type_reads_back_as_it_was_written(database: Database) -> None:
    """Words and none, numbers, truth, JSON, instants and octets."""
    row = rows.message("q1", tags=[], metadata={}, sandbox=True, track="opens")
    octets = rows.octets("q1", None)
    await database.write(lambda tx: messages.add(tx, [row], [octets]))

    def both(tx: Tx) -> tuple[object, object]:
        return messages.by_ids(tx, [row.queue_id]), messages.octets_by_ids(tx, [row.queue_id])

    assert await database.read(both) == ({"q1": row}, {"q1": octets})
    kept = await database.read(lambda tx: messages.by_ids(tx, [row.queue_id]))
    assert [type(getattr(kept[row.queue_id], name)) for name in MessageRow.__slots__] == [
        type(getattr(row, name)) for name in MessageRow.__slots__
    ]


async def test_error_of_the_driver_is_one_of_ours(database: Database) -> None:
    kept = {"fingerprint": b"f", "queue_id": "q", "expires_at": NOW}
    row = {"mailbox_id": "m", "key": "k", **kept}
    await database.write(lambda tx: KEYS.run(tx, [row]))

    with pytest.raises(StoreConflict):
        await database.write(lambda tx: KEYS.run(tx, [row]))


async def test_fault_of_a_reader_is_one_of_ours(database: Database) -> None:
    """The next read is well again."""
    nowhere = Prepared(select(column("seq")).select_from(table("nowhere")))

    with pytest.raises(StoreUnavailable):
        await database.read(lambda tx: nowhere.run(tx, {}))

    assert await database.read(lambda tx: read(tx, "t", ["e1"])) == []


async def test_who_listens_hears_every_statement(database: Database) -> None:
    seen: list[str] = []
    event.listen(
        database.engine, "before_cursor_execute", lambda *given: seen.append(given[2].split()[0])
    )

    await database.write(lambda tx: ADD.write(tx, given(2)))
    await database.write(lambda tx: read(tx, "t", ["e1"]))

    assert [word for word in seen if word in {"INSERT", "SELECT"}] == ["INSERT", "SELECT"]


async def test_nothing_is_compiled_after_the_start(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.read(prepared.warm)

    def compiles(*_given: object) -> None:
        raise AssertionError("compiled for a message")

    monkeypatch.setattr(prepared, "_compile", compiles)
    monkeypatch.setattr("gatewayd.store.bulk._compile", compiles)
    await database.write(lambda tx: ADD.write(tx, given(5)))
    assert len(await database.read(lambda tx: read(tx, "t", ["e0", "e1", "e2"]))) == 3
    wanted = [("m1", "a@example.com"), ("m2", "b@example.com")]
    assert await database.read(lambda tx: suppressions.find(tx, wanted)) == {}


def test_made_row_is_what_its_class_makes() -> None:
    values = ("r1", "q1", "a1", 1, "claimed", "bob@example.net", "", None, None, None)
    made = maker(HeldRow)(values)

    assert made == HeldRow(**dict(zip(HeldRow.__slots__, values, strict=True)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="zip"):
        maker(HeldRow)(values[1:])


async def test_row_that_is_remembered_is_never_behind(database: Database) -> None:
    """It is what was found that is remembered, not what was asked for."""
    row = rows.mailbox("m1", "ann@example.com")
    await database.write(lambda tx: mailboxes.add(tx, row))
    assert await database.read(lambda tx: mailboxes.by_ids(tx, [row.mailbox_id])) == {"m1": row}

    await database.write(lambda tx: mailboxes.change(tx, row.mailbox_id, {"tracking": "off"}))
    changed = dataclasses.replace(row, tracking="off")
    found = await database.read(lambda tx: mailboxes.by_ids(tx, [row.mailbox_id]))
    assert found == {"m1": changed} != {"m1": row}

    await database.write(lambda tx: mailboxes.remove(tx, row.mailbox_id))
    assert await database.read(lambda tx: mailboxes.by_ids(tx, [row.mailbox_id])) == {}

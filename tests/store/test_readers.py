"""store.database: readers see one snapshot, cannot write, and are cut when they take too long."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from gatewayd.errors import StoreUnavailable
from gatewayd.store.database import Database, Tx
from tests.fakes import stores
from tests.fakes.stores import Store
from tests.fakes.writing import mark, marks

ENDLESS = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)"
    " SELECT max(i) FROM n"
)


async def test_a_read_is_one_snapshot(store: Store, database: Database) -> None:
    """What is committed between two statements of one read is not in the second one either."""
    loop = asyncio.get_running_loop()

    def work(tx: Tx) -> tuple[list[str], list[str]]:
        before = marks(tx)
        asyncio.run_coroutine_threadsafe(other.write(mark("later")), loop).result(timeout=30)
        return before, marks(tx)

    other = store.open()
    await other.write(mark("first"))
    before, after = await database.read(work)

    assert ["first"] == before == after
    assert await database.read(marks) == ["first", "later"]


async def test_a_reader_cannot_write(database: Database) -> None:
    """A work that writes by mistake is refused, and nothing is written."""
    with pytest.raises(StoreUnavailable):
        await database.read(mark("x"))

    assert await database.read(marks) == []


@pytest.mark.slow
async def test_a_read_that_takes_too_long_is_cut(store: Store) -> None:
    """It fails as unavailable, and its reader goes on."""
    store.reader = stores.HASTY
    database = store.open()
    with pytest.raises(StoreUnavailable):
        await database.read(lambda tx: tx.execute(ENDLESS).scalar())

    assert await database.read(marks) == []


async def test_an_error_of_the_work_is_its_own(database: Database) -> None:
    """It comes out as it is, and the reader goes on."""

    def work(tx: Tx) -> None:
        marks(tx)
        raise LookupError

    for _ in range(5):
        with pytest.raises(LookupError):
            await database.read(work)

    assert await database.read(marks) == []

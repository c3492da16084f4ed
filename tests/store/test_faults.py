"""store.database when the database is full, busy, damaged, gone: each is one of our errors."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from gatewayd.errors import StoreBroken, StoreFull, StoreUnavailable
from gatewayd.store.bulk import BulkInsert
from gatewayd.store.database import Database, Tx
from gatewayd.store.schema import events
from gatewayd.store.sets import SetWriter
from gatewayd.store.sqlite import SqliteDialect
from tests.fakes import stores
from tests.fakes.clock import NOW, ManualClock
from tests.fakes.stores import Store
from tests.fakes.writing import mark, marks, together

EVENTS = BulkInsert(events, ("event_id", "type", "at", "data"))


@pytest.fixture
def on_sqlite(tmp_path: Path, sqlite_template: Path, clock: ManualClock) -> Iterator[Store]:
    """For faults that only a file has."""
    found = stores.sqlite(tmp_path, sqlite_template, clock)
    yield found
    found.close()


def _large(tx: Tx) -> None:
    mark("large" + "x" * 300_000)(tx)


async def _limit_pages(database: Database, more: int) -> None:
    """Let the file grow by so many pages and no further."""

    def work(tx: Tx) -> None:
        pages = tx.connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        tx.connection.exec_driver_sql(f"PRAGMA max_page_count={pages + more}")

    await database.write(work)


async def test_full_database_is_store_full_for_the_whole_group(on_sqlite: Store) -> None:
    """SQLite ends the transaction with it, so nobody is told yes; with space all goes on."""
    database = on_sqlite.open()
    await _limit_pages(database, 8)

    results = await together(
        database, database.write(mark("a")), database.write(_large), database.write(mark("b"))
    )

    assert [type(one) for one in results] == [StoreFull] * 3
    await database.write(mark("small"))
    await database.write(_large)  # its connection is a new one, and knows no limit
    assert [name[:5] for name in await database.read(marks)] == ["small", "large"]
    assert on_sqlite.broken == []


async def test_full_database_is_store_full_for_every_member_of_a_set(on_sqlite: Store) -> None:
    """They are one transaction, and each may try again."""
    database = on_sqlite.open()
    await _limit_pages(database, 8)
    sets: SetWriter[str, str] = SetWriter(
        database, lambda tx, items: [mark(item)(tx) for item in items]
    )

    results = await together(database, *(sets.put(one) for one in ("a", "x" * 300_000, "b")))

    assert [type(one) for one in results] == [StoreFull] * 3
    assert await sets.put("again") == "again"
    assert await database.read(marks) == ["again"]


async def test_full_database_is_store_full_for_what_goes_to_the_driver(on_sqlite: Store) -> None:
    """The rows of a set: they too take the whole group with them, savepoints and all."""
    database = on_sqlite.open()
    await _limit_pages(database, 8)
    large = {"event_id": "e", "type": "t", "at": NOW, "data": {"x": "x" * 300_000}}
    sets: SetWriter[str, str] = SetWriter(
        database, lambda tx, items: [mark(item)(tx) for item in items]
    )

    results = await together(
        database,
        sets.put("a"),
        database.write(lambda tx: EVENTS.run(tx, [large])),
        sets.put("b"),
        database.write(mark("c")),
    )

    assert [type(one) for one in results] == [StoreFull] * 4
    await database.write(lambda tx: EVENTS.run(tx, [large]))
    assert await database.read(marks) == ["e"]


@contextmanager
def _locked(store: Store) -> Iterator[None]:
    """Another process holds what every write needs."""
    if store.file is not None:
        with closing(sqlite3.connect(store.file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
        return
    engine = store.make_dialect().writer_engine()
    with engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE events")
        yield
    engine.dispose()


@pytest.mark.slow
async def test_busy_database_is_unavailable_after_the_busy_time(store: Store) -> None:
    """A write waits as long as the operator said, then fails; later ones succeed."""
    store.busy = stores.HASTY
    database = store.open()
    with _locked(store), pytest.raises(StoreUnavailable):
        await database.write(mark("a"))

    assert await database.write(mark("after")) == "after"
    assert await database.read(marks) == ["after"]


def _damage(store: Store) -> None:
    """Overwrite the first page of the event log."""
    assert store.file is not None
    with closing(sqlite3.connect(store.file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'events'"
        (page,) = connection.execute(query).fetchone()
    with store.file.open("r+b") as opened:
        opened.seek((page - 1) * size)
        opened.write(b"\xa5" * size)


async def test_damage_that_a_writer_meets_stops_everything(on_sqlite: Store) -> None:
    """Nothing in the same group is acknowledged, nothing is taken after it, and it is said once."""
    _damage(on_sqlite)
    database = on_sqlite.open()

    results = await together(
        database, *(database.write(one) for one in (_nothing, mark("b"), _nothing))
    )

    assert [type(one) for one in results] == [StoreBroken] * 3
    for _ in range(2):
        with pytest.raises(StoreBroken):
            await database.write(_nothing)
    assert [error.exit_code for error in on_sqlite.broken] == [65]


def _nothing(tx: Tx) -> None:
    pass


async def test_damage_that_a_set_meets_stops_everything(on_sqlite: Store) -> None:
    """Not one by one: no member may be acknowledged any more."""
    _damage(on_sqlite)
    database = on_sqlite.open()
    sets: SetWriter[str, str | None] = SetWriter(
        database, lambda tx, items: [mark(item)(tx) if item == "bad" else None for item in items]
    )

    results = await together(database, sets.put("a"), sets.put("bad"), database.write(_nothing))

    assert [type(one) for one in results] == [StoreBroken] * 3
    with pytest.raises(StoreBroken):
        await sets.put("later")
    assert len(on_sqlite.broken) == 1


async def test_damage_that_a_reader_meets_stops_the_writer_too(on_sqlite: Store) -> None:
    """What was committed can no longer be trusted, whoever found out."""
    _damage(on_sqlite)
    database = on_sqlite.open()

    with pytest.raises(StoreBroken):
        await database.read(marks)
    with pytest.raises(StoreBroken):
        await database.write(_nothing)

    assert len(on_sqlite.broken) == 1


async def test_file_that_cannot_be_opened_is_unavailable_until_it_can(
    tmp_path: Path, clock: ManualClock
) -> None:
    """An error of the file system fails the group, not the writer."""
    directory = tmp_path / "state"
    database = Database(SqliteDialect(directory / "gatewayd.db", clock=clock))
    try:
        with pytest.raises(StoreUnavailable):
            await database.write(_nothing)
        directory.mkdir()
        await database.write(lambda tx: tx.execute(text("CREATE TABLE t (c)")))
    finally:
        database.close()

    mode = (directory / "gatewayd.db").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.peer
@pytest.mark.slow
async def test_server_that_crashes_is_unavailable_and_comes_back_by_itself(
    store: Store,
) -> None:
    """Writes and reads fail while it is gone; afterwards the same Database goes on."""
    if store.server is None:
        pytest.skip("only PostgreSQL has a server")
    database = store.open()
    await database.write(mark("before"))
    await asyncio.gather(*(database.read(marks) for _ in range(8)))

    def crash(tx: Tx) -> None:
        mark("lost")(tx)
        assert store.server is not None
        store.server.crash()

    results = await together(
        database, database.write(mark("a")), database.write(crash), database.write(mark("b"))
    )

    assert [type(one) for one in results] == [StoreUnavailable] * 3
    assert await database.write(mark("after")) == "after"
    assert await _read_again(database) == ["before", "after"]
    assert store.broken == []


async def _read_again(database: Database) -> list[str]:
    """Each reader finds out by itself that its connection is gone: two of them."""
    for _ in range(2):
        try:
            return await database.read(marks)
        except StoreUnavailable:
            continue
    return await database.read(marks)

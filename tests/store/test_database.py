"""store.database: works are committed in groups, and none of them hurts another."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from gatewayd import failpoints
from gatewayd.errors import StoreConflict, StoreUnavailable
from gatewayd.failpoints import FailPointReached
from gatewayd.store.database import GROUP_LIMIT, Database, Tx
from tests.fakes.stores import Store
from tests.fakes.writing import Gate, mark, marks, take_key, together


async def test_write_when_it_returns_is_seen_by_another_connection(store: Store) -> None:
    """A future is resolved after the commit, never before."""
    one, other = store.open(), store.open()
    for number in range(20):
        await one.write(mark(f"{number}"))

        assert f"{number}" == (await other.read(marks))[-1]


async def test_write_before_the_commit_is_seen_by_nobody(store: Store) -> None:
    """What a work has written is its own until the group is committed."""
    one, other = store.open(), store.open()
    gate = Gate()

    def work(tx: Tx) -> None:
        mark("x")(tx)
        gate.work(tx)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one.write(work))
        await gate.entered()
        before = await other.read(marks)
        gate.open()

    assert (before, await other.read(marks)) == ([], ["x"])


async def test_works_that_wait_are_committed_together(database: Database) -> None:
    """Forty writes and one commit."""
    groups: list[int] = []
    database.observe_groups(lambda works, _: groups.append(works))

    results = await together(database, *(database.write(mark(f"{n}")) for n in range(40)))

    assert [f"{n}" for n in range(40)] == results == await database.read(marks)
    assert groups == [1, 40]


async def test_a_group_has_a_bound(database: Database) -> None:
    """More works than a group takes are committed in the next one, in their order."""
    groups: list[int] = []
    database.observe_groups(lambda works, _: groups.append(works))

    await together(database, *(database.write(mark(f"{n}")) for n in range(GROUP_LIMIT + 5)))

    assert groups == [1, GROUP_LIMIT, 5]
    assert [f"{n}" for n in range(GROUP_LIMIT + 5)] == await database.read(marks)


def _raise(tx: Tx) -> None:
    mark("raised")(tx)
    raise LookupError("mine")


def _conflict(tx: Tx) -> None:
    mark("conflict")(tx)
    take_key(tx, "k")
    take_key(tx, "k")


def _syntax(tx: Tx) -> None:
    mark("syntax")(tx)
    tx.execute(text("SELECT nothing FROM nowhere"))


async def test_a_work_that_fails_hurts_no_neighbour(database: Database) -> None:
    """Each fails with its own error, nothing of it is kept, and those beside it are."""
    results = await together(
        database,
        database.write(mark("a")),
        database.write(_raise),
        database.write(mark("b")),
        database.write(_conflict),
        database.write(_syntax),
        database.write(mark("c")),
    )

    kinds = [type(one) for one in results]
    assert [str, LookupError, str, StoreConflict, StoreUnavailable, str] == kinds
    assert await database.read(marks) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("work", "error"),
    [(_raise, LookupError), (_conflict, StoreConflict), (_syntax, StoreUnavailable)],
)
async def test_a_work_that_fails_alone_keeps_nothing(
    database: Database, work: object, error: type[Exception]
) -> None:
    """Without a neighbour it has no savepoint: then the transaction is rolled back."""
    with pytest.raises(error):
        await database.write(work)  # type: ignore[arg-type]  # one of the three above

    assert await database.write(mark("after")) == "after"
    assert await database.read(marks) == ["after"]


async def test_a_caller_that_is_cancelled_does_not_take_the_work_back(database: Database) -> None:
    """The client is gone, the message is kept."""
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(database.write(gate.work))
        await gate.entered()
        caller = tasks.create_task(database.write(mark("kept")))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        gate.open()

    assert caller.cancelled()
    await database.write(mark("next"))
    assert await database.read(marks) == ["kept", "next"]


async def test_a_fault_before_the_commit_fails_the_whole_group(database: Database) -> None:
    """Then nobody is told yes, and nothing is there."""
    failpoints.arm("before_commit=raise@2")
    try:
        results = await together(database, *(database.write(mark(f"{n}")) for n in range(3)))
    finally:
        failpoints.disarm()

    assert [FailPointReached] * 3 == [type(one) for one in results]
    assert await database.write(mark("after")) == "after"
    assert await database.read(marks) == ["after"]


async def test_an_observer_that_fails_stops_nobody(database: Database) -> None:
    """A mistake in a metric is not allowed to end the writer: every door would wait for ever."""
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(type(context["exception"]).__name__))

    def fail(_: int, __: float) -> None:
        raise ZeroDivisionError

    database.observe_groups(fail)
    results = await together(database, database.write(mark("a")), database.write(mark("b")))

    assert results == ["a", "b"]
    assert told == ["ZeroDivisionError"] * 2


async def test_close_finishes_what_waits(store: Store) -> None:
    """What was handed over before the close is stored; what comes later is refused."""
    database = store.open()
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(database.write(gate.work))
        await gate.entered()
        last = tasks.create_task(database.write(mark("last")))
        await asyncio.sleep(0)
        closing = tasks.create_task(asyncio.to_thread(database.close))
        gate.open()
        await closing

    assert last.result() == "last"
    with pytest.raises(StoreUnavailable):
        await database.write(mark("late"))
    with pytest.raises(StoreUnavailable):
        await database.read(marks)
    database.close()
    assert await store.open().read(marks) == ["last"]

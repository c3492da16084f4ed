"""store.sets: items that wait are one set; only the guilty one fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gatewayd.errors import Code, GatewayError, Refused, StoreConflict, StoreUnavailable
from gatewayd.store.database import Database, Tx
from gatewayd.store.sets import SET_LIMIT, SetWriter
from tests.fakes.stores import Store
from tests.fakes.writing import GATE_S, Gate, caught, mark, marks, take_key, together
from tests.peers.waiting import eventually


class Sets:
    """Writes a mark for each item; items that start with a word misbehave."""

    def __init__(self, database: Database) -> None:
        self.seen: list[int] = []
        self.committed: list[int] = []
        self.writer: SetWriter[str, str] = SetWriter(
            database, self._work, on_commit=lambda results: self.committed.append(len(results))
        )

    def _work(self, tx: Tx, items: Sequence[str]) -> list[str | GatewayError]:
        self.seen.append(len(items))
        answers: list[str | GatewayError] = []
        for item in items:
            if item.startswith("refuse"):
                answers.append(Refused(Code.CONFLICT, item))
                continue
            mark(item)(tx)
            if item.startswith("raise"):
                raise LookupError(item)
            if item.startswith("key"):
                take_key(tx, "the same")
            answers.append(item.upper())
        return answers


async def test_items_that_wait_are_one_set(database: Database) -> None:
    """One work, one commit, and each caller gets its own answer."""
    sets = Sets(database)

    results = await together(database, *(sets.writer.put(f"i{n}") for n in range(50)))

    assert [f"I{n}" for n in range(50)] == results
    assert (sets.seen, sets.committed) == ([50], [50])
    assert [f"i{n}" for n in range(50)] == await database.read(marks)


async def test_a_set_has_a_bound(database: Database) -> None:
    """More than a set takes go into the next one; nobody is forgotten."""
    sets = Sets(database)
    count = 2 * SET_LIMIT + 7

    results = await together(database, *(sets.writer.put(f"i{n}") for n in range(count)))

    assert [f"I{n}" for n in range(count)] == results
    assert sets.seen == [SET_LIMIT, SET_LIMIT, 7]


async def test_a_refusal_that_is_returned_undoes_nothing(database: Database) -> None:
    """It is one member's answer; the set is kept."""
    sets = Sets(database)

    results = await together(database, *(sets.writer.put(one) for one in ("a", "refuse", "b")))

    assert ["A", Refused, "B"] == [one if isinstance(one, str) else type(one) for one in results]
    assert sets.seen == [3]
    assert await database.read(marks) == ["a", "b"]


@pytest.mark.parametrize(
    ("items", "error"), [(("raise",), LookupError), (("key1", "key2"), StoreConflict)]
)
async def test_a_set_that_fails_is_run_one_by_one(
    database: Database, items: tuple[str, ...], error: type[Exception]
) -> None:
    """Only the guilty one fails; of it nothing is kept."""
    sets = Sets(database)

    results = await together(database, *(sets.writer.put(one) for one in ("a", *items, "b")))

    good = ["a", *items[:-1], "b"]
    assert [*(one.upper() for one in good[:-1]), error, "B"] == [
        one if isinstance(one, str) else type(one) for one in results
    ]
    assert [len(items) + 2, *[1] * (len(items) + 2)] == sets.seen
    assert good == await database.read(marks)


async def test_a_work_with_too_few_answers_leaves_nobody_waiting(database: Database) -> None:
    """A mistake of ours ends in an error for each caller, not in silence."""
    short: SetWriter[str, str] = SetWriter(database, lambda _, items: list(items)[1:])

    results = await together(database, short.put("a"), short.put("b"), database.write(mark("c")))

    assert [ValueError, ValueError, str] == [type(one) for one in results]


async def test_an_on_commit_that_fails_leaves_no_neighbour_waiting(database: Database) -> None:
    """Every caller of the group is told, also those behind the set whose hook is broken."""
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(type(context["exception"]).__name__))

    def fail(_: object) -> None:
        raise ZeroDivisionError

    broken: SetWriter[str, str] = SetWriter(database, lambda _, items: items, on_commit=fail)

    results = await together(database, broken.put("a"), database.write(mark("b")))

    assert results == ["a", "b"]
    assert told == ["ZeroDivisionError"]


async def test_a_member_that_is_cancelled_is_kept(database: Database) -> None:
    """The client is gone, the message is kept, and the hook is called for it."""
    sets = Sets(database)
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(database.write(gate.work))
        await gate.entered()
        caller = tasks.create_task(sets.writer.put("kept"))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        gate.open()

    assert await sets.writer.put("after") == "AFTER"
    assert await database.read(marks) == ["kept", "after"]
    assert sum(sets.committed) == 2


async def test_who_waits_beyond_a_set_is_told_of_the_close(store: Store) -> None:
    """All of them: one that is cancelled among them keeps it from nobody."""
    database = store.open()
    sets, gate = Sets(database), Gate()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(database.write(gate.work))
        await gate.entered()
        waiting = [
            tasks.create_task(caught(sets.writer.put(f"i{n}"))) for n in range(SET_LIMIT + 3)
        ]
        await asyncio.sleep(0)
        waiting[SET_LIMIT].cancel()
        closing = tasks.create_task(asyncio.to_thread(database.close))
        await asyncio.to_thread(eventually, lambda: database._closing, within_s=GATE_S)
        gate.open()
    await closing

    told = [one.result() for one in waiting if not one.cancelled()]
    assert told[:SET_LIMIT] == [f"I{n}" for n in range(SET_LIMIT)]
    assert [type(one) for one in told[SET_LIMIT:]] == [StoreUnavailable] * 2


async def test_put_after_close_is_refused(store: Store) -> None:
    """Nobody waits for a writer that is gone, the first time and every time."""
    database = store.open()
    sets = Sets(database)
    assert await sets.writer.put("a") == "A"
    database.close()

    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await sets.writer.put("late")

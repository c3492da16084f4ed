"""signing_threads: the work of a turn goes over together, each piece comes back to its asker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

import pytest

from gatewayd.delivery.signing_threads import SHARE, SigningThreads


class Counting(Executor):
    """Counts what is submitted, and has it done elsewhere."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.submitted = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as an Executor has it
        self.submitted += 1
        return self._executor.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait, cancel_futures=cancel_futures)


@pytest.fixture
def threads() -> Iterator[SigningThreads]:
    threads = SigningThreads(2)
    threads.executor = Counting(threads.executor)
    yield threads
    threads.close()


def submitted(threads: SigningThreads) -> int:
    assert isinstance(threads.executor, Counting)
    return threads.executor.submitted


@pytest.mark.parametrize(
    ("pieces", "shares"),
    [(1, 1), (2, 2), (3, 2), (2 * SHARE, 2), (2 * SHARE + 1, 3), (5 * SHARE, 5)],
)
async def test_a_turn_is_handed_over_in_shares(
    threads: SigningThreads, pieces: int, shares: int
) -> None:
    """A part for each thread, and no more than so many pieces in one; results in place."""
    results = await asyncio.gather(*(threads.run(partial(int, number)) for number in range(pieces)))

    assert results == list(range(pieces))
    assert submitted(threads) == shares


async def test_the_next_turn_is_handed_over_alone(threads: SigningThreads) -> None:
    """Nothing waits for more to come."""
    assert await threads.run(lambda: 1) == 1
    assert await threads.run(lambda: 2) == 2
    assert submitted(threads) == 2


@pytest.mark.parametrize(
    ("fault", "told"), [(KeyError("no"), KeyError), (StopIteration(), RuntimeError)]
)
async def test_what_fails_fails_alone(
    threads: SigningThreads, fault: Exception, told: type[Exception]
) -> None:
    """Others of its share have what they asked for, also when no future takes what it raised."""

    def fail() -> int:
        raise fault

    works: list[Callable[[], int]] = [lambda: 1, fail, lambda: 3, lambda: 4]
    one, error, three, four = await asyncio.gather(*map(threads.run, works), return_exceptions=True)

    assert [one, three, four] == [1, 3, 4]
    assert isinstance(error, told)


async def test_who_is_cancelled_is_not_worked_for(threads: SigningThreads) -> None:
    """A drain that comes before the threads have begun."""
    held = threading.Event()
    done: list[int] = []
    blocking = [asyncio.ensure_future(threads.run(held.wait)) for _ in range(2)]
    await asyncio.sleep(0)  # their turn
    waiting = [
        asyncio.ensure_future(threads.run(partial(done.append, number))) for number in range(4)
    ]
    await asyncio.sleep(0)
    for each in waiting[1:]:
        each.cancel()
    await asyncio.wait(waiting[1:])
    held.set()
    await asyncio.gather(*blocking, waiting[0])

    assert done == [0]
    assert all(each.cancelled() for each in waiting[1:])


async def test_who_waits_at_the_end_is_cancelled() -> None:
    """And who comes after it is told."""
    threads = SigningThreads(1)
    held, began = threading.Event(), threading.Event()

    def hold() -> bool:
        began.set()
        return held.wait(10)

    running = asyncio.ensure_future(threads.run(hold))
    await asyncio.to_thread(began.wait, 10)
    waiting = asyncio.ensure_future(threads.run(lambda: 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(asyncio.to_thread(threads.close))
    await asyncio.wait([waiting])
    held.set()
    await closing

    assert await running
    assert waiting.cancelled()
    with pytest.raises(RuntimeError):
        await threads.run(lambda: 1)

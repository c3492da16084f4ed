"""SigningThreads: work of one turn of the loop, handed to threads and brought back together.

What a transaction of the store ends, begins in one turn: some ten attempts, each with a message to
sign. Handing each one over alone, and waking the loop for each, cost it more than all that it has
to say to the next hop. So the work of a turn goes over in shares, and each share comes back whole.

| a share                 | is                                                      |
|-------------------------|---------------------------------------------------------|
| of what waits           | a part for each thread, and at most 8 pieces            |
| with a piece that fails | brought back like any: who asked for that piece is told |
| that nobody waits for   | not begun, or forgotten: a drain has cancelled it       |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

SHARE: Final = 8  # pieces, of 0.3 ms each if they are an RSA signature

R = TypeVar("R")
_Piece = tuple[Callable[[], Any], asyncio.Future[Any]]
_Result = tuple[asyncio.Future[Any], Any, BaseException | None]


class SigningThreads:
    """So many threads; used by one loop.

    Attributes:
        executor: the same threads, for what has nothing to share.
    """

    def __init__(self, threads: int) -> None:
        self.executor: Executor = ThreadPoolExecutor(threads, thread_name_prefix="signing")
        self._threads = threads
        self._waiting: list[_Piece] = []

    async def run(self, work: Callable[[], R]) -> R:
        """Do this on a thread; what it returns or raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._hand_over, loop)
        self._waiting.append((work, done))
        return await done

    def close(self) -> None:
        """End the threads; what they are at is finished first, what waits is cancelled."""
        self.executor.shutdown(wait=True, cancel_futures=True)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, []
        size = min(SHARE, -(-len(waiting) // self._threads))
        for start in range(0, len(waiting), size):
            share = waiting[start : start + size]
            try:
                handed = self.executor.submit(_do, share, loop)
            except RuntimeError as fault:  # closed
                _bring_back([(done, None, fault) for _, done in share])
            else:
                handed.add_done_callback(partial(_ended, share, loop))


def _do(share: Sequence[_Piece], loop: asyncio.AbstractEventLoop) -> None:
    results = [_result(work, done) for work, done in share if not done.cancelled()]
    loop.call_soon_threadsafe(_bring_back, results)


def _result(work: Callable[[], Any], done: asyncio.Future[Any]) -> _Result:
    try:
        return done, work(), None
    except BaseException as fault:  # noqa: BLE001 - it is raised again for who waits
        return done, None, _for_futures(fault)


def _for_futures(fault: BaseException) -> BaseException:
    """A future takes no StopIteration, which would end the coroutine that waits for it."""
    return RuntimeError("a generator ended") if isinstance(fault, StopIteration) else fault


def _ended(share: Sequence[_Piece], loop: asyncio.AbstractEventLoop, handed: Future[None]) -> None:
    """See to it that nobody waits for a share that `close` has cancelled."""
    if handed.cancelled():
        for _, done in share:
            loop.call_soon_threadsafe(done.cancel)


def _bring_back(results: Sequence[_Result]) -> None:
    for done, result, fault in results:
        if done.done():  # cancelled
            continue
        if fault is not None:
            done.set_exception(fault)
        else:
            done.set_result(result)

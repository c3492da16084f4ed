"""SetWriter: items that wait are handed to one work as a list, in the writer's transaction.

The work loads, decides and keeps for all of them by one statement per kind. If it raises, the set
is rolled back to its savepoint and its members are run one by one: only the guilty one fails.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError

from gatewayd.errors import GatewayError, StoreError
from gatewayd.store.database import Database, Tx, call_on, in_savepoint, is_fatal

R = TypeVar("R")
T = TypeVar("T")

SET_LIMIT = 500  # members of one set


class SetWriter(Generic[T, R]):
    """Gathers items, and hands all that wait to one work in the writer's transaction.

    Args:
        database: where to write.
        work: takes the items, and returns for each, in order, its result or the error that its
            caller gets (an error that is returned undoes nothing of the others).
        on_commit: called on the loop with the results of a set that was committed, even if its
            callers are gone.
    """

    def __init__(
        self,
        database: Database,
        work: Callable[[Tx, Sequence[T]], Sequence[R | GatewayError]],
        *,
        on_commit: Callable[[Sequence[R | BaseException]], None] | None = None,
    ) -> None:
        self._database = database
        self._work = work
        self._on_commit = on_commit
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._lock = threading.Lock()
        self._is_asked = False

    async def put(self, item: T) -> R:
        """Hand an item over, and return its result when that is on stable storage.

        A caller that is cancelled does not take the item back.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        with self._lock:
            self._waiting.append((item, future))
            ask, self._is_asked = not self._is_asked, True
        if ask:
            self._ask(loop)
        return await future  # cancelled, it is done, and nobody is told

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._database.submit(_Set(self, loop))
        except StoreError as error:
            for _, future in self.take(limit=None):
                if not future.done():
                    future.set_exception(error)

    def take(self, *, limit: int | None) -> list[tuple[T, asyncio.Future[R]]]:
        with self._lock:
            count = len(self._waiting) if limit is None else min(len(self._waiting), limit)
            taken = [self._waiting.popleft() for _ in range(count)]
            self._is_asked = bool(self._waiting)
        return taken

    @property
    def is_asked(self) -> bool:
        return self._is_asked

    def committed(self, results: Sequence[R | BaseException]) -> None:
        if self._on_commit is not None:
            self._on_commit(results)

    def decide(self, tx: Tx, items: Sequence[T]) -> Sequence[R | GatewayError]:
        return self._work(tx, items)

    def ask_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ask(loop)


class _Set(Generic[T, R]):
    """The job of one set: its members are taken when it runs, so all that came are in it."""

    def __init__(self, owner: SetWriter[T, R], loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._members: list[tuple[T, asyncio.Future[R]]] = []
        self._results: list[R | BaseException] = []
        self.loop = loop
        self.has_savepoint = True

    def run(self, tx: Tx) -> None:
        self._members = self._owner.take(limit=SET_LIMIT)
        if self._owner.is_asked:
            call_on(self.loop, [functools.partial(self._owner.ask_again, self.loop)])
        items = [item for item, _ in self._members]
        try:
            self._results = in_savepoint(tx, lambda: self._answers(tx, items))
        except DBAPIError as error:
            if is_fatal(tx, error):
                raise
            self._results = [self._alone(tx, item) for item in items]
        except Exception:  # noqa: BLE001 - each member raises its own when it runs alone
            self._results = [self._alone(tx, item) for item in items]

    def _answers(self, tx: Tx, items: Sequence[T]) -> list[R | BaseException]:
        answers: list[R | BaseException] = list(self._owner.decide(tx, items))
        if len(answers) != len(items):
            raise ValueError("the work of a set answers for each of its items")
        return answers

    def _alone(self, tx: Tx, item: T) -> R | BaseException:
        try:
            (result,) = in_savepoint(tx, lambda: self._answers(tx, [item]))
        except DBAPIError as error:
            if is_fatal(tx, error):
                raise
            return tx.dialect.map_error(error)
        except Exception as error:  # noqa: BLE001 - it is the member's, and goes back to its caller
            return error
        return result

    def committed(self) -> None:
        for (_, future), result in zip(self._members, self._results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._owner.committed(self._results)

    def failed(self, error: BaseException) -> None:
        members = self._members or self._owner.take(limit=None)
        for _, future in members:
            if not future.done():
                future.set_exception(error)

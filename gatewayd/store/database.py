"""Database.read(work) / .write(work): one writer that commits in groups, a pool of readers.

`work` is a plain function over `tx`, run on a database thread. All works that wait are run in one
transaction and committed together: one fdatasync for all. Each has a savepoint, so one that fails
takes nothing of its neighbours with it. A future is resolved after the commit, never before. Works
that are many and alike go further, as a set (`sets.py`).

Errors of the drivers stop here: what comes out is in `errors.py`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, Executable, Table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gatewayd import failpoints
from gatewayd.errors import StoreBroken, StoreUnavailable
from gatewayd.store.dialect import Dialect, Insert

R = TypeVar("R")

GROUP_LIMIT = 64  # works in one transaction


class Tx:
    """One transaction: what every statement function takes first."""

    __slots__ = ("_now", "connection", "dialect", "direct")

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self.direct = dialect.direct(connection)
        self._now: dt.datetime | None = None

    @property
    def now(self) -> dt.datetime:
        """When this transaction runs, by the clock that leases are reckoned by."""
        if self._now is None:
            self._now = self.dialect.now(self.connection)
        return self._now

    def execute(
        self,
        statement: Executable,
        parameters: Sequence[dict[str, Any]] | dict[str, Any] | None = None,
    ) -> CursorResult[Any]:
        return self.connection.execute(statement, parameters)

    def run(self, text: str) -> None:
        """Execute what both databases write alike."""
        if self.direct is not None:
            self.direct(text)
        else:
            self.connection.exec_driver_sql(text)

    def insert(self, table: Table) -> Insert:
        return self.dialect.insert(table)


class Job(Protocol):
    """What the writer runs: `run` in a transaction, then one of the two, on the loop's thread."""

    loop: asyncio.AbstractEventLoop
    has_savepoint: bool  # it keeps its own, so the writer need not

    def run(self, tx: Tx) -> None: ...

    def committed(self) -> None: ...

    def failed(self, error: BaseException) -> None: ...


class Database:
    """Reads and writes of one daemon. Built and closed once."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        readers: int = 2,
        on_broken: Callable[[StoreBroken], None] | None = None,
    ) -> None:
        self.dialect = dialect
        self._on_broken = on_broken
        self._jobs: deque[Job] = deque()
        self._wanted = threading.Condition()
        self._closing = False
        self._broken: StoreBroken | None = None
        self._groups: Callable[[int, float], None] | None = None
        self._writer_engine = dialect.writer_engine()
        self._reader_engine = dialect.reader_engine()
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="gatewayd-reader")
        self._local = threading.local()
        self._opened: list[Connection] = []
        self._writer = threading.Thread(target=self._write_all, name="gatewayd-writer", daemon=True)
        self._writer.start()

    def observe_groups(self, observe: Callable[[int, float], None]) -> None:
        """Call `observe(works, seconds)` for each group that was committed."""
        self._groups = observe

    @property
    def engine(self) -> Engine:
        """The engine of the writer, for migrations and backups before the daemon serves."""
        return self._writer_engine

    async def write(self, work: Callable[[Tx], R]) -> R:
        """Run `work` in the next group, and return its result when that is on stable storage.

        A caller that is cancelled does not take the work back.

        Raises:
            StoreError: nothing was stored.
            Exception: whatever `work` raised; nothing of it was stored.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self.submit(_Single(work, future, loop))
        return await future  # cancelled, it is done, and nobody is told

    async def read(self, work: Callable[[Tx], R]) -> R:
        """Run `work` on a reader, over one consistent snapshot.

        Raises:
            StoreError: it could not be read in time.
        """
        loop = asyncio.get_running_loop()
        try:
            reading = loop.run_in_executor(self._readers, functools.partial(self._read, work))
        except RuntimeError as error:  # the executor was shut down
            raise _closing() from error
        return await reading

    def submit(self, job: Job) -> None:
        with self._wanted:
            if self._broken is not None:
                raise self._broken
            if self._closing:
                raise _closing()
            self._jobs.append(job)
            self._wanted.notify()

    def close(self) -> None:
        """Finish what waits, then close every connection. May be called twice."""
        with self._wanted:
            self._closing = True
            self._wanted.notify()
        self._writer.join()
        self._readers.shutdown()
        for connection in self._opened:
            connection.close()
        self._opened.clear()
        self._reader_engine.dispose()
        self._writer_engine.dispose()

    # --- readers ---

    def _read(self, work: Callable[[Tx], R]) -> R:
        try:
            connection = self._reader_connection()
            self.dialect.guard_reader(connection)
            with connection.begin():
                return work(Tx(connection, self.dialect))
        except SQLAlchemyError as error:
            self._forget_reader()
            mapped = _mapped(error, self.dialect)
            if isinstance(mapped, StoreBroken):
                self._break(mapped)
            raise mapped from error

    def _reader_connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._reader_engine.connect()
            self._local.connection = connection
            self._opened.append(connection)
        return connection

    def _forget_reader(self) -> None:
        connection: Connection | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            self._opened.remove(connection)
            connection.invalidate()
            connection.close()

    # --- the writer's thread ---

    def _write_all(self) -> None:
        connection: Connection | None = None
        while True:
            group = self._next_group()
            if not group:
                break
            try:
                if connection is None:
                    connection = self._writer_engine.connect()
                self._write_group(connection, group)
            except Exception as error:  # noqa: BLE001 - a writer that ended would leave every caller waiting
                self._fail(group, _mapped(error, self.dialect))
                self._drop(connection)
                connection = None
        self._drop(connection)

    def _next_group(self) -> list[Job]:
        with self._wanted:
            while not self._jobs and not self._closing:
                self._wanted.wait()
            return [self._jobs.popleft() for _ in range(min(len(self._jobs), GROUP_LIMIT))]

    def _write_group(self, connection: Connection, group: list[Job]) -> None:
        done: list[Job] = []
        refused: list[tuple[Job, BaseException]] = []
        began = time.monotonic()
        with connection.begin() as transaction:
            tx = Tx(connection, self.dialect)
            for job in group:
                error = self._run(tx, job, is_alone=len(group) == 1)
                if error is None:
                    done.append(job)
                else:
                    refused.append((job, error))
            if done:
                failpoints.reach("before_commit")
            else:
                transaction.rollback()
        if done:
            failpoints.reach("after_commit")
        self._settle(done, refused, seconds=time.monotonic() - began)

    def _run(self, tx: Tx, job: Job, *, is_alone: bool) -> BaseException | None:
        """Run one job; what it raised is returned, unless the transaction is gone with it."""
        try:
            if is_alone or job.has_savepoint:  # alone, its rollback is the transaction's
                job.run(tx)
            else:
                in_savepoint(tx, lambda: job.run(tx))
        except DBAPIError as error:
            if is_fatal(tx, error):
                raise
            return self.dialect.map_error(error)
        except Exception as error:  # noqa: BLE001 - it is the caller's, and goes back to it
            return error
        return None

    def _settle(
        self,
        done: list[Job],
        refused: list[tuple[Job, BaseException]],
        *,
        seconds: float = 0.0,
    ) -> None:
        """Tell every waiting caller, and the observer, with one wake-up for each loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
        for job in done:
            by_loop.setdefault(job.loop, []).append(job.committed)
        if done and self._groups is not None:
            by_loop[done[0].loop].append(functools.partial(self._groups, len(done), seconds))
        for job, error in refused:
            by_loop.setdefault(job.loop, []).append(functools.partial(job.failed, error))
        for loop, calls in by_loop.items():
            call_on(loop, calls)

    def _fail(self, group: list[Job], error: BaseException) -> None:
        if isinstance(error, StoreBroken):
            self._break(error)
        self._settle([], [(job, error) for job in group])

    def _break(self, error: StoreBroken) -> None:
        """Take no work from now on, refuse what waits, and say so once."""
        with self._wanted:
            is_first = self._broken is None
            self._broken = self._broken or error
            waiting = list(self._jobs)
            self._jobs.clear()
        self._settle([], [(job, error) for job in waiting])
        if is_first and self._on_broken is not None:
            self._on_broken(error)

    def _drop(self, connection: Connection | None) -> None:
        if connection is None:
            return
        try:
            connection.close()
        except SQLAlchemyError:
            connection.invalidate()


class _Single(Generic[R]):
    """One work with one caller."""

    def __init__(
        self, work: Callable[[Tx], R], future: asyncio.Future[R], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._work = work
        self._future = future
        self._result: R | None = None
        self.loop = loop
        self.has_savepoint = False

    def run(self, tx: Tx) -> None:
        self._result = self._work(tx)

    def committed(self) -> None:
        if not self._future.done():
            self._future.set_result(self._result)  # type: ignore[arg-type]  # run() has set it

    def failed(self, error: BaseException) -> None:
        if not self._future.done():
            self._future.set_exception(error)


def call_on(loop: asyncio.AbstractEventLoop, calls: Sequence[Callable[[], None]]) -> None:
    def run() -> None:
        for call in calls:
            loop.call_soon(call)  # each by itself: an error in one is not the others'

    try:
        loop.call_soon_threadsafe(run)
    except RuntimeError:
        return  # the loop was closed: nobody waits any more


def in_savepoint(tx: Tx, work: Callable[[], R]) -> R:
    """Run work so that what it wrote is undone when it raises.

    After an error that has ended the transaction there is no savepoint to go back to, and trying
    would hide the error: SQLite does that when the disk is full.
    """
    tx.run("SAVEPOINT before_work")
    try:
        result = work()
        tx.run("RELEASE SAVEPOINT before_work")
    except BaseException as error:
        if not (isinstance(error, DBAPIError) and is_fatal(tx, error)):
            tx.run("ROLLBACK TO SAVEPOINT before_work")
            tx.run("RELEASE SAVEPOINT before_work")
        raise
    return result


def is_fatal(tx: Tx, error: DBAPIError) -> bool:
    """Whether the whole group fails with this: its transaction is gone, or the database is."""
    if tx.dialect.is_lost(tx.connection, error):
        return True
    return isinstance(tx.dialect.map_error(error), StoreBroken)


def _mapped(error: Exception, dialect: Dialect) -> Exception:
    """A foreign error as one of ours; any other is a caller's or a fault of ours, and stays."""
    if isinstance(error, DBAPIError):
        return dialect.map_error(error)
    if isinstance(error, SQLAlchemyError | OSError):
        return StoreUnavailable(f"the database did not answer: {error}")
    return error


def _closing() -> StoreUnavailable:
    return StoreUnavailable("the database is closing")

"""SQLite dialect: pragmas, BEGIN IMMEDIATE, full sync.

`synchronous=FULL` in WAL mode costs one fdatasync per commit and is what makes a 250 true after a
power loss; NORMAL loses acknowledged mail. One connection does all writes and all checkpoints:
versions up to 3.51.2 can corrupt the file when two connections do so at the same time.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from gatewayd.clock import Clock
from gatewayd.errors import StoreBroken, StoreConflict, StoreError, StoreFull, StoreUnavailable
from gatewayd.store.dialect import Direct, Insert

CHECKPOINT_PAGES = 4000  # 16 MiB of WAL
PROGRESS_STEPS = 20_000  # virtual machine steps between two looks at a reader's deadline

# Primary result codes (sqlite.org/rescode.html); the low byte of the extended one.
_DAMAGED = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
_SAME_KEY = frozenset((sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE))
_MEANINGS: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_BUSY: (StoreUnavailable, "the database is locked by another process"),
    sqlite3.SQLITE_LOCKED: (StoreUnavailable, "the database is busy"),
    sqlite3.SQLITE_INTERRUPT: (StoreUnavailable, "a read took too long and was cut"),
    sqlite3.SQLITE_FULL: (StoreFull, "no space for the database"),
    sqlite3.SQLITE_READONLY: (StoreUnavailable, "the database cannot be written"),
    sqlite3.SQLITE_CANTOPEN: (StoreUnavailable, "the database file cannot be opened"),
    sqlite3.SQLITE_PERM: (StoreUnavailable, "the database file cannot be opened"),
}


class SqliteDialect:
    """One file in the state directory, written by one daemon."""

    name = "sqlite"
    has_single_node = True

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        busy: dt.timedelta = dt.timedelta(seconds=5),
        reader: dt.timedelta = dt.timedelta(seconds=30),
    ) -> None:
        self._path = path
        self._clock = clock
        self._busy_s = busy.total_seconds()
        self._reader_s = reader.total_seconds()

    def writer_engine(self) -> Engine:
        engine = create_engine(
            "sqlite://", creator=self._connect_writer, poolclass=NullPool, query_cache_size=2000
        )
        event.listen(engine, "begin", _begin_immediate)
        return engine

    def reader_engine(self) -> Engine:
        engine = create_engine(
            "sqlite://", creator=self._connect_reader, poolclass=NullPool, query_cache_size=2000
        )
        event.listen(engine, "begin", _begin)
        return engine

    def now(self, connection: Connection) -> dt.datetime:  # noqa: ARG002 - the port's signature
        return self._clock.now()

    def direct(self, connection: Connection) -> Direct | None:
        return _direct(connection)

    def insert(self, table: Table) -> Insert:
        return insert(table)

    def guard_reader(self, connection: Connection) -> None:
        deadline = time.monotonic() + self._reader_s
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - narrows the driver's type
        driver.set_progress_handler(lambda: time.monotonic() > deadline, PROGRESS_STEPS)

    def checkpoint(self, connection: Connection) -> None:
        """Nothing: the writer's autocheckpoint runs on its own connection, after a commit."""

    def is_lost(self, connection: Connection, error: DBAPIError) -> bool:  # noqa: ARG002 - the port's signature
        driver = connection.connection.driver_connection
        return not (isinstance(driver, sqlite3.Connection) and driver.in_transaction)

    def map_error(self, error: DBAPIError) -> StoreError:
        return map_sqlite_error(error.orig)

    def _connect_writer(self) -> sqlite3.Connection:
        is_new = False
        with contextlib.suppress(OSError):  # SQLite says itself why it cannot open a file
            # The journal gets the mode of the file, whatever umask the process has.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            is_new = True
        connection = self._connect()
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute("PRAGMA journal_size_limit=67108864")
        connection.execute("PRAGMA cache_size=-16384")
        connection.execute("PRAGMA temp_store=MEMORY")
        if is_new:
            # The names of the new files must survive a power loss too.
            sync_directory(self._path.parent)
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        connection = self._connect()
        connection.execute("PRAGMA query_only=ON")
        return connection

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self._path,
            timeout=self._busy_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=400,
        )


def map_sqlite_error(error: BaseException | None) -> StoreError:
    """Which of our errors an sqlite3 error is."""
    extended = getattr(error, "sqlite_errorcode", None)
    code = extended & 0xFF if isinstance(extended, int) else -1
    text = str(error)
    if code in _DAMAGED:
        hint = "restore a backup, see docs/runbooks/backup.md"
        return StoreBroken(f"the database file is damaged ({text}); {hint}", exit_code=65)
    if extended in _SAME_KEY:
        return StoreConflict(f"a row with this key is there: {text}")
    if code == sqlite3.SQLITE_IOERR:
        return StoreBroken(f"the disk failed under the database: {text}", exit_code=74)
    kind, what = _MEANINGS.get(code, (StoreUnavailable, "the database refused a statement"))
    return kind(f"{what}: {text}")


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _direct(connection: Connection) -> Direct:
    """The driver, or SQLAlchemy's way to it where somebody listens to statements."""
    if connection.engine.dispatch.before_cursor_execute:
        return functools.partial(_execute_heard, connection)
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - narrows the driver's type
    return functools.partial(_execute, driver.cursor().execute)


def _execute(execute: Any, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401 - of a cursor
    try:
        return execute(text, values).fetchall()  # type: ignore[no-any-return]  # sqlite3's rows
    except sqlite3.Error as error:
        raise DBAPIError(text, None, error) from error


def _execute_heard(
    connection: Connection, text: str, values: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    found = connection.exec_driver_sql(text, tuple(values))
    return [tuple(row) for row in found] if found.returns_rows else []


def _begin_immediate(connection: Connection) -> Any:  # noqa: ANN401 - an event's signature
    _direct(connection)("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> Any:  # noqa: ANN401 - an event's signature
    # Without it each statement would see a snapshot of its own.
    _direct(connection)("BEGIN")

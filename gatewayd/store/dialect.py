"""Dialect: the list of everything that differs between the databases.

|                     | SQLite                              | PostgreSQL                          |
|---------------------|-------------------------------------|-------------------------------------|
| the time            | the daemon's clock: there is one    | the database's: nodes may disagree  |
| begin to write      | BEGIN IMMEDIATE                     | BEGIN                               |
| durable             | WAL, synchronous=FULL               | synchronous_commit=on               |
| row locks           | none: there is one writer           | FOR UPDATE, SKIP LOCKED to claim    |
| insert unless there | ON CONFLICT, its own construct      | ON CONFLICT, its own construct      |
| what mail waits for | straight to the driver              | by SQLAlchemy                       |
|                     | (`prepared.py`, `bulk.py`)          |                                     |
| a reader            | query_only, cut by progress handler | read only, statement_timeout        |
| crash recovery      | at start: the lock proves us alone  | when leases expire                  |
| faults              | by sqlite_errorcode                 | by SQLSTATE                         |

Nowhere else is asked which database it is.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, Select, Table
from sqlalchemy.exc import DBAPIError

from gatewayd.errors import StoreError

Insert = Any  # the two insert constructs share `on_conflict_*` but no base class


class Direct(Protocol):
    """Executes a statement as the driver takes it, past SQLAlchemy; its rows, if it has any.

    Raises:
        DBAPIError: as for any statement.
    """

    def __call__(self, text: str, values: Sequence[Any] = (), /) -> list[tuple[Any, ...]]: ...


class Dialect(Protocol):
    """What `Database` and the statements ask of one kind of database."""

    name: str
    has_single_node: bool
    """True where the state directory's lock proves that no other daemon uses the database."""

    def writer_engine(self) -> Engine: ...

    def reader_engine(self) -> Engine: ...

    def now(self, connection: Connection) -> dt.datetime:
        """The time that leases and schedules are reckoned by."""
        ...

    def direct(self, connection: Connection) -> Direct | None:
        """The way to the driver for a statement that is compiled; None where it has to be told."""
        ...

    def insert(self, table: Table) -> Insert:
        """An insert that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
        ...

    def guard_reader(self, connection: Connection) -> None:
        """Cut what this reader does next when it takes too long."""
        ...

    def checkpoint(self, connection: Connection) -> None:
        """Keep the journal short; between transactions only."""
        ...

    def is_lost(self, connection: Connection, error: DBAPIError) -> bool:
        """Whether the error took the whole transaction with it, savepoints and all."""
        ...

    def map_error(self, error: DBAPIError) -> StoreError:
        """Which of our errors a driver's error is."""
        ...


# Row locks are written once: SQLAlchemy leaves them out where the database has none.


def lock_to_claim(query: Select[Any]) -> Select[Any]:
    """Take these rows, passing over those that another worker has."""
    return query.with_for_update(skip_locked=True)


def lock_to_change(query: Select[Any]) -> Select[Any]:
    """Keep these rows for this transaction; ask in key order, so that two never deadlock."""
    return query.with_for_update()

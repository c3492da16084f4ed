"""A database of either kind, empty and migrated, that a test may open as often as it likes."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from gatewayd.errors import StoreBroken
from gatewayd.store import migrate
from gatewayd.store.database import Database
from gatewayd.store.dialect import Dialect
from gatewayd.store.postgres import PostgresDialect
from gatewayd.store.schema import metadata
from gatewayd.store.sqlite import SqliteDialect
from tests.fakes.clock import ManualClock
from tests.peers.postgres import PostgresServer

PATIENT = dt.timedelta(seconds=60)  # a slow machine is no fault
HASTY = dt.timedelta(milliseconds=300)


class TimedPostgres(PostgresDialect):
    """The real dialect, but for its clock."""

    def __init__(
        self, url: str, clock: ManualClock, *, busy: dt.timedelta, reader: dt.timedelta
    ) -> None:
        super().__init__(url, busy=busy, reader=reader)
        self._clock = clock

    def now(self, connection: Connection) -> dt.datetime:  # noqa: ARG002 - the port's signature
        return self._clock.now()


@dataclass(kw_only=True)
class Store:
    """One database on disk or server; `open()` is a daemon that uses it.

    busy, reader: how long it waits for a lock, and lets one read take.
    """

    kind: str
    clock: ManualClock
    busy: dt.timedelta = PATIENT
    reader: dt.timedelta = PATIENT
    file: Path | None = None
    server: PostgresServer | None = None
    broken: list[StoreBroken] = field(default_factory=list)
    _opened: list[Database] = field(default_factory=list)

    def make_dialect(self) -> Dialect:
        if self.server is not None:
            return TimedPostgres(self.server.url, self.clock, busy=self.busy, reader=self.reader)
        assert self.file is not None
        return SqliteDialect(self.file, clock=self.clock, busy=self.busy, reader=self.reader)

    def open(self) -> Database:
        database = Database(self.make_dialect(), on_broken=self.broken.append)
        self._opened.append(database)
        return database

    def close(self) -> None:
        for database in self._opened:
            database.close()


def sqlite(directory: Path, template: Path | None, clock: ManualClock) -> Store:
    """A file of this test; a copy of the migrated template where there is one."""
    file = directory / "gatewayd.db"
    if template is not None:
        shutil.copy(template, file)
    return Store(kind="sqlite", clock=clock, file=file)


def postgres(server: PostgresServer, clock: ManualClock) -> Store:
    return Store(kind="postgres", clock=clock, server=server)


def empty(server: PostgresServer) -> None:
    """Make the tables of the server new: missing ones are made, rows are deleted."""
    dialect = PostgresDialect(server.url)
    if migrate.current(dialect) is None:
        migrate.upgrade(dialect)
    engine = dialect.writer_engine()
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.delete())
    engine.dispose()


def drop_all(server: PostgresServer) -> None:
    """Leave a database without any table."""
    engine = PostgresDialect(server.url).writer_engine()
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()

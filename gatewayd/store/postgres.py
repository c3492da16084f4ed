"""PostgreSQL dialect: SKIP LOCKED, the database's clock, faults by SQLSTATE."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Connection, Engine, Table, create_engine, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError

from gatewayd.errors import StoreBroken, StoreConflict, StoreError, StoreFull, StoreUnavailable
from gatewayd.store.dialect import Direct, Insert

CONNECT_S = 10
BUSY = dt.timedelta(seconds=5)
READER = dt.timedelta(seconds=30)

_NOW = select(func.clock_timestamp())


class PostgresDialect:
    """A server that several nodes may share."""

    name = "postgresql"
    has_single_node = False

    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        readers: int = 2,
        busy: dt.timedelta = BUSY,
        reader: dt.timedelta = READER,
    ) -> None:
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        self._url: URL = parsed.set(password=password) if password else parsed
        self._readers = readers
        self._lock_ms = _milliseconds(busy)
        self._statement_ms = _milliseconds(reader)

    def writer_engine(self) -> Engine:
        return self._engine(pool_size=1, options="-c synchronous_commit=on")

    def reader_engine(self) -> Engine:
        # Repeatable read: otherwise each statement would see a snapshot of its own.
        return self._engine(
            pool_size=self._readers,
            options="-c default_transaction_read_only=on"
            r" -c default_transaction_isolation=repeatable\ read",
        )

    def now(self, connection: Connection) -> dt.datetime:
        moment = connection.execute(_NOW).scalar_one()
        assert isinstance(moment, dt.datetime)  # noqa: S101 - narrows the driver's type
        return moment.astimezone(dt.UTC)

    def direct(self, connection: Connection) -> Direct | None:  # noqa: ARG002 - the port's signature
        """None: what an execution costs here is the way to the server."""
        return None

    def insert(self, table: Table) -> Insert:
        return insert(table)

    def guard_reader(self, connection: Connection) -> None:
        """Nothing: statement_timeout was set when the connection was made."""

    def checkpoint(self, connection: Connection) -> None:
        """Nothing: the server keeps its own journal."""

    def is_lost(self, connection: Connection, error: DBAPIError) -> bool:  # noqa: ARG002 - the port's signature
        return error.connection_invalidated

    def map_error(self, error: DBAPIError) -> StoreError:
        state = getattr(error.orig, "sqlstate", None) or ""
        text = " ".join(str(error.orig).split())
        if state == "23505":
            return StoreConflict(text)
        if state.startswith("53100"):
            return StoreFull(f"no space for the database: {text}")
        if state.startswith(("XX001", "XX002")):
            return StoreBroken(f"the database is damaged: {text}", exit_code=65)
        return StoreUnavailable(f"the database did not answer ({state or 'no connection'}): {text}")

    def _engine(self, *, pool_size: int, options: str) -> Engine:
        return create_engine(
            self._url,
            pool_size=pool_size,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": CONNECT_S,
                "options": f"{options} -c statement_timeout={self._statement_ms}"
                f" -c lock_timeout={self._lock_ms} -c timezone=UTC",
                "application_name": "gatewayd",
            },
        )


def _milliseconds(duration: dt.timedelta) -> int:
    return max(1, duration // dt.timedelta(milliseconds=1))

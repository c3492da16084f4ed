"""store.migrate: from nothing to the schema of this code, whole or not at all, never backwards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, Engine, MetaData, create_engine, inspect, text

from gatewayd import failpoints
from gatewayd.errors import SchemaMismatch, StoreUnavailable
from gatewayd.failpoints import FailPointReached
from gatewayd.store import migrate, schema
from gatewayd.store.dialect import Dialect
from gatewayd.store.postgres import PostgresDialect
from gatewayd.store.sqlite import SqliteDialect
from tests.conftest import BOTH
from tests.fakes import stores
from tests.fakes.clock import ManualClock
from tests.peers.postgres import PostgresServer


@pytest.fixture(params=BOTH)
def dialect(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> Iterator[Dialect]:
    """A database without a table."""
    if request.param == "sqlite":
        yield SqliteDialect(tmp_path / "gatewayd.db", clock=clock)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    stores.drop_all(server)
    yield PostgresDialect(server.url)
    stores.drop_all(server)


def _tables(dialect: Dialect) -> set[str]:
    engine = dialect.writer_engine()
    with engine.connect() as connection:
        names = set(inspect(connection).get_table_names())
    engine.dispose()
    return names


def _set_revision(dialect: Dialect, revision: str) -> None:
    engine = dialect.writer_engine()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
    engine.dispose()


def test_head_is_the_revision_that_the_schema_names() -> None:
    """`schema.REVISION` is what this code reads and writes."""
    assert migrate.head() == schema.REVISION == migrate.history()[-1].revision


def test_upgrade_from_nothing_makes_every_table(dialect: Dialect) -> None:
    """It says which revisions it ran; a second time there is nothing to do."""
    assert migrate.current(dialect) is None

    ran = migrate.upgrade(dialect)

    assert ran == [step.revision for step in migrate.history()]
    assert migrate.current(dialect) == migrate.head()
    assert schema.metadata.tables.keys() < _tables(dialect)
    assert migrate.upgrade(dialect) == []
    migrate.check(dialect)


def test_migrated_schema_equals_the_metadata(dialect: Dialect) -> None:
    """Nothing stands in one of the two only: tables, columns, types, indexes."""
    migrate.upgrade(dialect)

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, schema.metadata))

    engine = dialect.writer_engine()
    with engine.connect() as connection:
        found = differences(connection)
    engine.dispose()

    assert found == []


def test_migrated_sqlite_file_has_the_same_statements_as_the_metadata(
    sqlite_template: Path, clock: ManualClock
) -> None:
    """What Alembic does not compare: checks, and the conditions of partial indexes."""
    made = create_engine("sqlite://")
    schema.metadata.create_all(made)
    migrated = SqliteDialect(sqlite_template, clock=clock).reader_engine()

    assert _statements(migrated) == _statements(made)
    made.dispose()
    migrated.dispose()


def _statements(engine: Engine) -> set[tuple[str, ...]]:
    """Each clause of each statement by table, so that the order of columns does not matter."""
    query = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return {
        (name, *sorted(clause.strip(" )\n\t") for clause in re.split(r"[,(]\s", _plain(sql))))
        for name, sql in rows
        if name != "alembic_version"
    }


def _plain(sql: str) -> str:
    """As if each statement had been written by one hand: a column that was added stands inline."""
    return " ".join(sql.replace('"', "").split())


def test_empty_database_is_refused_with_the_command_that_helps(dialect: Dialect) -> None:
    with pytest.raises(SchemaMismatch, match="gatewayd db init"):
        migrate.check(dialect)


def test_database_of_a_newer_gatewayd_is_refused(dialect: Dialect) -> None:
    """Neither served nor migrated: there is no way back but a backup."""
    migrate.upgrade(dialect)
    _set_revision(dialect, "9999")

    for step in (migrate.check, migrate.upgrade):
        with pytest.raises(SchemaMismatch, match="newer"):
            step(dialect)

    assert migrate.current(dialect) == "9999"


def test_migration_that_is_broken_off_has_not_happened(dialect: Dialect) -> None:
    """Tables and mark are one transaction, on both databases; the next try does all of it."""
    failpoints.arm("migrate=raise")
    try:
        with pytest.raises(FailPointReached):
            migrate.upgrade(dialect)
    finally:
        failpoints.disarm()

    assert migrate.current(dialect) is None
    assert _tables(dialect) <= {"alembic_version"}
    assert migrate.upgrade(dialect) == [step.revision for step in migrate.history()]


_EARLIER = [step.revision for step in migrate.history()][:-1]


@pytest.mark.parametrize("revision", _EARLIER)
def test_filled_database_of_each_earlier_revision_keeps_every_row(
    dialect: Dialect, revision: str
) -> None:
    """Nothing is lost or changed; new columns hold what means nothing yet."""
    engine = dialect.writer_engine()
    migrate.upgrade_engine(engine, revision)
    before = _fill(engine)

    migrate.upgrade(dialect)

    after = _rows(engine)
    engine.dispose()
    for name, rows in before.items():
        assert rows == [{key: row[key] for key in rows[0]} for row in after[name]]
    assert migrate.current(dialect) == migrate.head()


def _fill(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Put three rows into every table, each value its own."""
    tables = MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for table in tables.sorted_tables:
            if table.name != "alembic_version":
                rows = [{c.name: _value(c, number) for c in table.columns} for number in (1, 2, 3)]
                connection.execute(table.insert(), rows)
    return _rows(engine)


_CHECKED = {"window": "hour", "state": "queued"}


def _value(column: Column[Any], number: int) -> object:
    if column.name in _CHECKED:
        return _CHECKED[column.name]
    kind = column.type.python_type
    if kind is str:
        return f"{column.name} {number}"
    return f"{column.name} {number}".encode() if kind is bytes else kind(number)


def _rows(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        return {
            table.name: [
                dict(row._mapping)
                for row in connection.execute(table.select().order_by(*table.primary_key))
            ]
            for table in tables.sorted_tables
            if table.name != "alembic_version"
        }


def test_no_revision_offers_a_way_back() -> None:
    """A downgrade would lose mail: a backup is the way back."""
    for file in sorted((Path(migrate.__file__).parent / "migrations" / "versions").glob("*.py")):
        assert "def downgrade" not in file.read_text()


def test_database_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    for dialect in (
        SqliteDialect(tmp_path / "none" / "gatewayd.db", clock=ManualClock()),
        PostgresDialect(f"postgresql://u@/d?host={tmp_path}"),
    ):
        for step in (migrate.current, migrate.check, migrate.upgrade):
            with pytest.raises(StoreUnavailable):
                step(dialect)

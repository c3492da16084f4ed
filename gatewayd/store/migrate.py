"""Bring a database to the schema of this code, by Alembic; refuse one that is newer.

Each revision runs in one transaction with the mark that it was run, on both databases, so a
migration that is killed has not happened.

Alembic is imported when there is something to migrate or to tell about it, not by a daemon that
finds its schema: it takes 10 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, Select, column, inspect, select, table
from sqlalchemy.exc import DBAPIError

from gatewayd.errors import SchemaMismatch
from gatewayd.store import schema
from gatewayd.store.dialect import Dialect

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

_DIRECTORY: Final = Path(__file__).parent / "migrations"
_MARK: Final = "alembic_version"  # where Alembic keeps the last revision that was run
_MARKED: Final[Select[Any]] = select(column("version_num")).select_from(table(_MARK))


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One step of the schema's history."""

    revision: str
    what: str


def head() -> str:
    """The revision that this code reads and writes."""
    found = _scripts().get_current_head()
    assert found is not None  # noqa: S101 - the package ships at least one revision
    return found


def history() -> list[Revision]:
    """Every revision, the first one first."""
    steps = reversed(list(_scripts().walk_revisions()))
    return [Revision(revision=step.revision, what=step.doc) for step in steps]


def current(dialect: Dialect) -> str | None:
    """The revision of a database; None when it has no tables yet.

    Raises:
        StoreError: it could not be read.
    """
    engine = dialect.writer_engine()
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(_MARK):
                return None
            found = connection.execute(_MARKED).scalar_one_or_none()
            return None if found is None else str(found)
    except DBAPIError as error:
        raise dialect.map_error(error) from error
    finally:
        engine.dispose()


def upgrade(dialect: Dialect) -> list[str]:
    """Run the revisions that are missing; their names.

    Raises:
        SchemaMismatch: the database is newer than this code.
        StoreError: it could not be written; nothing was changed.
    """
    before = current(dialect)
    refuse_unknown(before)
    engine = dialect.writer_engine()
    try:
        with engine.connect() as connection, connection.begin():
            _run(connection, "head")
    except DBAPIError as error:
        raise dialect.map_error(error) from error
    finally:
        engine.dispose()
    names = [step.revision for step in history()]
    return names if before is None else names[names.index(before) + 1 :]


def check(dialect: Dialect) -> None:
    """Refuse to work with a database of another schema.

    Raises:
        SchemaMismatch: says which command helps.
    """
    found = current(dialect)
    if found == schema.REVISION:
        return
    refuse_unknown(found)
    if found is None:
        raise SchemaMismatch("the database is empty; make its tables with `gatewayd db init`")
    raise SchemaMismatch(
        f"the database has schema {found}, this gatewayd needs {schema.REVISION}; back it up, then "
        "run `gatewayd db migrate`"
    )


def refuse_unknown(revision: str | None) -> None:
    """Refuse a revision that this code has never heard of.

    Raises:
        SchemaMismatch: a newer gatewayd has migrated this database.
    """
    if revision is not None and revision not in {step.revision for step in history()}:
        raise SchemaMismatch(
            f"the database has schema {revision}, which this gatewayd does not know: a newer one "
            "wrote it; run that version, or restore a backup from before the upgrade"
        )


def upgrade_engine(engine: Engine, to: str = "head") -> None:
    """Run every missing revision on an engine, up to one, for tests."""
    with engine.connect() as connection, connection.begin():
        _run(connection, to)


def _run(connection: Connection, to: str) -> None:
    from alembic import command  # noqa: PLC0415 - see above

    command.upgrade(_config(connection), to)


def _config(connection: Connection | None = None) -> Config:
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see above

    return ScriptDirectory.from_config(_config())

"""What `gatewayd db` does: make, migrate, show, copy and verify a database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gatewayd.clock import Clock, SystemClock
from gatewayd.config.tree import Config
from gatewayd.daemon import build
from gatewayd.daemon.statedir import owned
from gatewayd.errors import Code, Refused
from gatewayd.store import backup, migrate

_OTHER_DATABASE = (
    "this is for SQLite; use pg_dump or pg_basebackup for PostgreSQL, see docs/runbooks/backup.md"
)

_MAKE = "`gatewayd db init` makes it"


@dataclass(frozen=True, slots=True)
class DatabaseTools:
    """Tools over the database of a configuration. They need no running daemon."""

    config: Config
    clock: Clock

    def init(self) -> list[str]:
        """Make the tables, and the key files of a new database; the revisions that were run.

        None are run where the tables are there already.

        Raises:
            StateDirLocked: a daemon runs.
            Refused: there are tables of an older schema.
            StoreError, KeyFileError.
        """
        with owned(self.config.daemon.state_dir):
            found = self.current()
            if found is not None and found != self.head():
                raise Refused(
                    Code.CONFLICT,
                    f"the database has tables already, of schema {found}: make a backup, then "
                    f"`gatewayd db migrate` brings it to {self.head()}",
                )
            return build.initialise(self.config, self.clock)

    def migrate(self) -> list[str]:
        """Bring the database to the schema of this code; the revisions that were run.

        Key files of purposes that the database has not had yet are made with it.

        Raises:
            StateDirLocked: a daemon runs.
            StoreError: nothing was changed.
        """
        with owned(self.config.daemon.state_dir):
            return build.initialise(self.config, self.clock)

    def current(self) -> str | None:
        """The revision of the database; None when it has no tables."""
        section = self.config.database
        if section.is_sqlite and not self.config.database_file.exists():
            return None  # to look must not make it
        return migrate.current(build.dialect_of(self.config, self.clock))

    def head(self) -> str:
        """The revision that this code reads and writes."""
        return migrate.head()

    def history(self) -> list[tuple[str, str]]:
        """Every revision, the first one first, with what it does."""
        return [(step.revision, step.what) for step in migrate.history()]

    def backup(self, to: Path) -> dict[str, object]:
        """Copy the database into a new file, also while a daemon writes; facts about the copy.

        Raises:
            Refused: it is PostgreSQL; there is no database yet, or a file in the way.
            StoreError: the copy could not be made.
        """
        self._refuse_postgres()
        self._refuse_absent(self.config.database_file)
        if to.exists():
            raise Refused(Code.CONFLICT, f"{to} exists; name a file that is not there yet")
        if not to.parent.is_dir():
            raise Refused(Code.NOT_FOUND, f"{to.parent}: no such directory; make it first")
        octets = backup.copy(self.config.database_file, to)
        return {"octets": octets, **backup.verify(to)}

    def verify(self, file: Path | None) -> dict[str, object]:
        """Read every page of a database, this one or a copy; facts about it.

        Raises:
            Refused: it is PostgreSQL; there is no such file, or no table in it.
            StoreBroken: it is damaged.
        """
        if file is None:
            self._refuse_postgres()
            self._refuse_absent(self.config.database_file)
            if self.current() is None:
                raise Refused(Code.NOT_FOUND, f"the database has no tables: {_MAKE}")
        elif not file.is_file():
            raise Refused(Code.NOT_FOUND, f"{file}: no such file")
        return backup.verify(file or self.config.database_file)

    def _refuse_absent(self, file: Path) -> None:
        if not file.exists():
            raise Refused(Code.NOT_FOUND, f"{file}: there is no database yet: {_MAKE}")

    def _refuse_postgres(self) -> None:
        if not self.config.database.is_sqlite:
            raise Refused(Code.CONFLICT, _OTHER_DATABASE)


def database_tools(config: Config) -> DatabaseTools:
    return DatabaseTools(config, SystemClock())

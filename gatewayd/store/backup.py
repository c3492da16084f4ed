"""Copy and verify an SQLite database while it is in use.

PostgreSQL has its own tools (`pg_dump`, `pg_basebackup`): see docs/runbooks/backup.md.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from gatewayd.errors import StoreBroken, StoreUnavailable
from gatewayd.store.sqlite import map_sqlite_error, sync_directory

PAGES: Final = 1000  # copied between two looks at signals


def copy(database: Path, to: Path) -> int:
    """Copy a database into a new file of mode 0600; its size in octets.

    It is one consistent state, even while a daemon writes, and it is on stable storage on return.

    Raises:
        StoreUnavailable: `to` exists or cannot be written.
        StoreError: the database could not be read.
    """
    try:
        descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{to}: {error.strerror}; name a file that is not there") from error
    os.close(descriptor)
    try:
        with (
            closing(
                sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)
            ) as source,
            closing(sqlite3.connect(to)) as target,
        ):
            # One snapshot for all of it. Without, each commit of the daemon between two steps makes
            # SQLite begin again: under load a copy of 400 MB never ended.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            source.backup(target, pages=PAGES)
            target.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        to.unlink(missing_ok=True)
        raise map_sqlite_error(error) from error
    with to.open("rb+") as file:
        os.fsync(file.fileno())
    sync_directory(to.parent)
    return to.stat().st_size


def verify(database: Path) -> dict[str, object]:
    """Read every page of a database file; facts about it.

    Raises:
        StoreBroken: it is damaged.
        StoreUnavailable: it cannot be opened.
    """
    if not database.is_file():
        raise StoreUnavailable(f"{database}: no such file")
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(20)")]
            if found != ["ok"]:
                raise StoreBroken(
                    f"{database} is damaged: {'; '.join(found)}; restore a backup, see "
                    "docs/runbooks/backup.md",
                    exit_code=65,
                )
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            messages = connection.execute("SELECT count(*) FROM messages").fetchone()
            queued = connection.execute(
                "SELECT count(*) FROM recipients WHERE state IN ('queued', 'claimed', 'in_doubt')"
            ).fetchone()
    except sqlite3.Error as error:
        raise map_sqlite_error(error) from error
    return {
        "file": str(database),
        "integrity": "ok",
        "revision": revision[0] if revision else None,
        "messages": messages[0],
        "recipients_owed": queued[0],
    }

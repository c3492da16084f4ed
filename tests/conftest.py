"""Fixtures that more than one room needs: a clock, a PostgreSQL server, a database of each kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from gatewayd.store import migrate
from gatewayd.store.database import Database
from gatewayd.store.sqlite import SqliteDialect
from tests.fakes import stores
from tests.fakes.clock import ManualClock
from tests.fakes.stores import Store
from tests.fakes.world import World
from tests.peers.postgres import PostgresServer, find_bin

# How long one example takes is the machine's affair. The rest is as it was: in CI, derandomized.
settings.register_profile("any-machine", settings(), deadline=None)
settings.load_profile("any-machine")

BOTH = ("sqlite", pytest.param("postgres", marks=pytest.mark.peer))


@pytest.fixture(autouse=True)
def _process_as_at_the_start() -> Iterator[None]:
    """What a test sets up for its whole process ends with it: logging, the umask of a daemon."""
    umask = os.umask(0)
    os.umask(umask)
    yield
    os.umask(umask)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for this worker. Without PostgreSQL the test is skipped; in CI that fails."""
    directory = find_bin()
    if directory is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed; .ci/run installs it")
        pytest.skip("PostgreSQL is not installed")
    server = PostgresServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy, which is faster than to migrate again."""
    file = tmp_path_factory.mktemp("template") / "gatewayd.db"
    dialect = SqliteDialect(file, clock=ManualClock())
    migrate.upgrade(dialect)
    return file


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    """An empty, migrated database of each kind; every `open()` is closed at the end."""
    if request.param == "sqlite":
        found = stores.sqlite(tmp_path, request.getfixturevalue("sqlite_template"), clock)
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        stores.empty(server)
        found = stores.postgres(server, clock)
    yield found
    found.close()


@pytest.fixture
def database(store: Store) -> Database:
    """The one daemon of most tests."""
    return store.open()


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    """The kernel over an empty database of each kind."""
    return World(store=store, spool_directory=tmp_path / "spool")

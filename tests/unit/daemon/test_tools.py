"""daemon.tools: what `gatewayd db` refuses before it touches anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayd.clock import SystemClock
from gatewayd.config.load import parse
from gatewayd.daemon import build
from gatewayd.daemon.tools import DatabaseTools
from gatewayd.errors import Refused
from gatewayd.store import migrate
from tests.peers.command import config_text


def tools(directory: Path, more: str = "") -> DatabaseTools:
    return DatabaseTools(parse(config_text(directory) + more, environment={}), SystemClock())


def test_backup_of_postgres_points_to_its_own_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_dump knows better than we do how to copy it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    found = tools(tmp_path, '[database]\nurl = "postgresql://u@h/d"\n')

    with pytest.raises(Refused, match="pg_dump"):
        found.backup(tmp_path / "copy")
    with pytest.raises(Refused, match="pg_dump"):
        found.verify(None)
    assert not (tmp_path / "copy").exists()


def test_current_of_nothing_makes_nothing(tmp_path: Path) -> None:
    """A look leaves no file behind."""
    assert tools(tmp_path).current() is None
    assert not (tmp_path / "state").exists()


def test_history_ends_with_the_head(tmp_path: Path) -> None:
    found = tools(tmp_path)

    assert found.history()[-1][0] == found.head()


def test_migrate_makes_the_keys_that_an_older_database_has_not_had(tmp_path: Path) -> None:
    """Those of VERP and tracking came with revision 0002; a key that was there is left alone."""
    found = tools(tmp_path)
    found.init()
    keys = found.config.keys_directory
    before = (keys / "jwt.keys").read_bytes()
    for name in ("verp", "tracking"):
        (keys / f"{name}.keys").unlink()
    found.config.database_file.unlink()
    engine = build.dialect_of(found.config, found.clock).writer_engine()
    migrate.upgrade_engine(engine, "0001")
    engine.dispose()

    assert found.migrate() == ["0002"]

    assert sorted(file.name for file in keys.iterdir()) == [
        "fernet.keys",
        "jwt.keys",
        "tracking.keys",
        "verp.keys",
    ]
    assert (keys / "jwt.keys").read_bytes() == before


def test_migrate_never_replaces_a_key_that_is_lost(tmp_path: Path) -> None:
    """What it has sealed and signed would be lost with it: an operator has to know."""
    found = tools(tmp_path)
    found.init()
    (found.config.keys_directory / "verp.keys").unlink()

    assert found.migrate() == []

    assert not (found.config.keys_directory / "verp.keys").exists()

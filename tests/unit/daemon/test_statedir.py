"""daemon.statedir: one owner at a time."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gatewayd.daemon.statedir import LOCK, owned
from gatewayd.errors import ConfigError, StateDirLocked


def test_it_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """Mode 0700, and 0600 for the lock, whatever the umask."""
    state_dir = tmp_path / "a" / "state"
    with owned(state_dir):
        assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE((state_dir / LOCK).stat().st_mode) == 0o600


def test_second_owner_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """The lock ends with the block, not with the file."""
    with owned(tmp_path), pytest.raises(StateDirLocked, match="in use"), owned(tmp_path):
        pass
    with owned(tmp_path):
        assert (tmp_path / LOCK).exists()


def test_lock_ends_with_an_exception(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), owned(tmp_path):
        raise ZeroDivisionError
    with owned(tmp_path):
        pass


def test_file_in_its_place_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    """It names the key."""
    (tmp_path / "state").write_text("")

    with pytest.raises(ConfigError, match=r"daemon\.state_dir"), owned(tmp_path / "state"):
        pass

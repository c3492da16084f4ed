"""Public names are added freely and renamed never."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.public_names import commands, names

ROOT = Path(__file__).parents[2]
COMMANDS = ROOT / "docs/cli.md"
RECORD = Path(__file__).with_name("public-names.txt")
REFRESH = "python -m tests.contracts.public_names > tests/contracts/public-names.txt"


def recorded() -> list[str]:
    return RECORD.read_text().splitlines()


def test_no_public_name_has_gone() -> None:
    """A client, script or dashboard that was written for an earlier version still works."""
    assert [name for name in recorded() if name not in set(names())] == []


def test_every_public_name_is_recorded() -> None:
    """A new name is written down, so that it cannot go unnoticed later."""
    assert [name for name in names() if name not in set(recorded())] == [], REFRESH


def test_every_command_is_documented() -> None:
    """docs/cli.md names every command."""
    if not COMMANDS.exists():
        pytest.skip("docs/cli.md is not written yet")
    text = COMMANDS.read_text()
    missing = [name for name in commands() if "--" not in name and name not in text]

    assert missing == []

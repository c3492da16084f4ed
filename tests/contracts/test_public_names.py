"""Public names are added freely and renamed never."""

from __future__ import annotations

from pathlib import Path

from tests.contracts.public_names import names

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("public-names.txt")
REFRESH = "python -m tests.contracts.public_names > tests/contracts/public-names.txt"


def recorded() -> list[str]:
    return RECORD.read_text().splitlines()


def test_no_public_name_has_gone() -> None:
    """A client, script or dashboard that was written for an earlier version still works."""
    current = set(names())

    assert [name for name in recorded() if name not in current] == []


def test_every_public_name_is_recorded() -> None:
    """A new name is written down, so that it cannot go unnoticed later."""
    known = set(recorded())

    assert [name for name in names() if name not in known] == [], REFRESH

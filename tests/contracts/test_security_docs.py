"""docs/security.md, docs/reliability.md: the tests that they name exist, and no key is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gatewayd.keys.ring import Purpose

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WITNESS = re.compile(r"`(tests/[\w/.-]+)`")
BOUNDARY = re.compile(r"^### (.+)$", re.MULTILINE)
LETTERS = set("STRIDE")
# Letters that a boundary has no row for, because there is nobody who could.
EXCUSED = {
    "Database and spool": {"S"},  # nobody logs in to a file
    "Files, keys, configuration and command line": {"R"},  # its only author is the operator
}


def rows(file: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    text = (DOCS / file).read_text()
    _, section = re.split(rf"^#+ {re.escape(heading)}\n", text, flags=re.MULTILINE)
    section, *_ = re.split(r"^#", section, flags=re.MULTILINE)
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def boundaries() -> list[str]:
    return BOUNDARY.findall((DOCS / "security.md").read_text())


@pytest.mark.parametrize("file", ["security.md", "reliability.md"])
def test_every_witness_exists(file: str) -> None:
    """A promise whose test was renamed or removed is not held by anything."""
    named = set(WITNESS.findall((DOCS / file).read_text()))
    missing = {path for path in named if not (ROOT / path).exists()}

    assert named
    assert missing == set()


@pytest.mark.parametrize("heading", boundaries())
def test_every_threat_has_a_witness(heading: str) -> None:
    """Each row names what stops it, and a test."""
    for letters, threat, stopped_by, tests in rows("security.md", heading):
        assert set(letters.split()) <= LETTERS, threat
        assert stopped_by, threat
        assert WITNESS.search(tests), threat


@pytest.mark.parametrize("heading", boundaries())
def test_every_boundary_is_looked_at_from_all_sides(heading: str) -> None:
    """STRIDE: spoofing and the other five, or it is said in another row of the same table."""
    told = {letter for row in rows("security.md", heading) for letter in row[0].split()}

    assert told >= LETTERS - EXCUSED.get(heading, set())


def test_every_key_purpose_has_a_row() -> None:
    """What each ring opens if it is stolen, and how to change it."""
    told = {row[1].strip("`"): row for row in rows("security.md", "What each secret opens")}

    assert {purpose.value for purpose in Purpose} <= told.keys()
    for purpose in Purpose:
        name, _, opens, change = told[purpose.value]
        assert name == f"`{purpose.value}.keys`"
        assert opens
        assert f"`keys rotate {purpose.value}`" in change


def test_figures_of_the_units_are_those_that_are_tested() -> None:
    """Which figure is held is said in one place."""
    told = {row[0]: row[1:] for row in rows("security.md", "Hardening")}

    assert len(told) == 3
    for measured, aim in told.values():
        assert float(measured) <= float(aim)


def test_security_can_be_found() -> None:
    """From the README, from CONTRIBUTING, and back."""
    assert "](docs/security.md)" in (ROOT / "README.md").read_text()
    assert "](SECURITY.md)" in (ROOT / "CONTRIBUTING.md").read_text()
    assert "](docs/security.md)" in (ROOT / "SECURITY.md").read_text()
    assert "](../SECURITY.md)" in (DOCS / "security.md").read_text()

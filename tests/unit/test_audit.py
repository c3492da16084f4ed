"""tests/audit.py: holes fail, no database does not, and the two are never taken for each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import audit
from tests.audit import FILES, REQUIREMENTS, Found, Ran, read

HOLE = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


def told(*packages: dict[str, Any], stderr: str = "") -> Ran:
    return Ran(stdout=json.dumps({"dependencies": packages, "fixes": []}), stderr=stderr)


def package(name: str, *holes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": list(holes)}


class FakeDatabase:
    """Answers for files of pins, one answer after the other."""

    def __init__(self, *answers: Ran) -> None:
        self._answers = list(answers)
        self.asked: list[list[str]] = []
        self.pins: list[str] = []

    def __call__(self, files: list[Path]) -> Ran:
        self.asked.append([file.name for file in files])
        self.pins.append(files[0].read_text())
        return self._answers.pop(0)


@pytest.mark.parametrize(
    ("ran", "found"),
    [
        pytest.param(told(package("a"), package("b", HOLE)), Found.HOLES, id="a hole"),
        pytest.param(told(package("b", HOLE), SKIPPED), Found.HOLES, id="a hole, one unknown"),
        pytest.param(told(package("a"), package("b")), Found.CLEAN, id="none"),
        pytest.param(told(package("a"), SKIPPED), Found.CLEAN, id="none, one unknown"),
        pytest.param(told(SKIPPED), Found.UNKNOWN, id="a mirror that knows none"),
        pytest.param(told(), Found.UNKNOWN, id="nothing was looked up"),
        pytest.param(
            Ran(stdout="", stderr="ERROR:pip_audit._cli:Could not connect to the feed\n"),
            Found.UNKNOWN,
            id="no connection",
        ),
        pytest.param(
            Ran(stdout="", stderr="requests.exceptions.ProxyError: refused\n"),
            Found.UNKNOWN,
            id="no proxy",
        ),
        pytest.param(
            Ran(stdout="", stderr="requests.exceptions.ReadTimeout: read timed out\n"),
            Found.UNKNOWN,
            id="no answer",
        ),
        pytest.param(Ran(stdout="", stderr="", in_time=False), Found.UNKNOWN, id="too slow"),
        pytest.param(
            Ran(stdout="", stderr="No module named pip_audit\n"), Found.BROKEN, id="not installed"
        ),
        pytest.param(
            Ran(stdout="", stderr="ERROR:pip_audit._cli:requirement lacks a hash\n"),
            Found.BROKEN,
            id="pins that it refuses",
        ),
        pytest.param(Ran(stdout="[]", stderr=""), Found.BROKEN, id="another format"),
    ],
)
def test_read_says_what_was_found(ran: Ran, found: Found) -> None:
    """One row for each way in which pip-audit ends."""
    assert found is read(ran).found


def test_exit_code_is_one_for_holes_and_zero_without_a_database() -> None:
    """CI fails for what is known to be broken, and not for a machine without a network."""
    codes = {found: found.exit_code for found in Found}

    assert codes == {Found.CLEAN: 0, Found.HOLES: 1, Found.UNKNOWN: 0, Found.BROKEN: 2}


def test_hole_is_named_with_the_version_that_mends_it() -> None:
    """What to do stands in the line."""
    verdict = read(told(package("a"), package("b", HOLE)))

    assert verdict.lines == (
        "b 1.0: PYSEC-2026-1 CVE-2026-1, mended in 1.1",
        "2 packages were looked up: 1 known holes",
    )


def test_not_audited_is_one_line_that_says_so() -> None:
    """Nobody may take it for clean."""
    (line,) = read(told(SKIPPED)).lines

    assert line.startswith("the pins were not audited: ")


def test_all_pins_are_looked_up_where_the_first_is_known() -> None:
    """The probe is not the answer."""
    database = FakeDatabase(told(package("a")), told(package("a"), package("b", HOLE)))

    verdict = audit.audit(database, REQUIREMENTS)

    assert verdict.found is Found.HOLES
    assert database.asked == [["one.txt"], list(FILES)]


def test_one_pin_is_looked_up_where_nobody_answers() -> None:
    """A mirror is not asked a hundred times for what it does not have."""
    database = FakeDatabase(told(SKIPPED))

    verdict = audit.audit(database, REQUIREMENTS)

    assert verdict.found is Found.UNKNOWN
    assert database.asked == [["one.txt"]]


def test_first_pin_is_whole() -> None:
    """One requirement with all its hashes, as pip-audit wants it."""
    database = FakeDatabase(told(SKIPPED))
    audit.audit(database, REQUIREMENTS)
    (pin,) = database.pins
    first, *hashes = pin.splitlines()

    assert "==" in first
    assert hashes
    assert all(line.strip().startswith("--hash=sha256:") for line in hashes)
    assert not pin.rstrip().endswith("\\")


def test_every_file_of_pins_is_audited() -> None:
    """A new one must not be forgotten."""
    assert {file.name for file in REQUIREMENTS.glob("*.txt")} == set(FILES)

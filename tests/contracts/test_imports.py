"""The architecture is a test: floors, landlords, rooms and their names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gatewayd"
BETWEEN = re.compile(r"[ |:()]+")  # brackets are for rooms that may be missing
NO_ROOM = {"utils", "helpers", "common", "misc", "base", "manager", "core"}
FLOOR = re.compile(r"^ *(-?\d+) +([a-z: |]+?)(?:  .*)?$", re.MULTILINE)


def rooms() -> set[str]:
    """Directories and modules of the package, but for what only starts it."""
    return {
        path.stem
        for path in PACKAGE.iterdir()
        if (path.is_dir() and (path / "__init__.py").exists()) or path.suffix == ".py"
    } - {"__init__", "__main__"}


def layers() -> list[set[str]]:
    """The floors of the import contract that exist, the highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (found,) = [one for one in settings["contracts"] if one["type"] == "layers"]
    floors = [set(BETWEEN.split(line)) for line in found["layers"]]
    return [floor & rooms() for floor in floors if floor & rooms()]


def documented_floors() -> list[set[str]]:
    """The floors that docs/architecture.md draws."""
    text = (ROOT / "docs/architecture.md").read_text()
    block = text.partition("## Floors\n")[2].partition("\n## ")[0].partition("```\n")[2]
    block = block.partition("```")[0]
    return [set(BETWEEN.split(match[2])) for match in FLOOR.finditer(block)]


@pytest.mark.slow
def test_import_contracts_are_kept() -> None:
    """Floors, landlords and pure rooms hold (import-linter, all contracts of pyproject.toml)."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_every_room_has_a_floor() -> None:
    """Nothing of the package stands beside the contract."""
    assert rooms() == set().union(*layers())


def test_docs_draw_the_floors_of_the_contract() -> None:
    """docs/architecture.md shows the building as it stands."""
    assert layers() == [floor & rooms() for floor in documented_floors()]


def test_docs_list_every_room() -> None:
    """docs/house-style.md says what each room is for."""
    text = (ROOT / "docs/house-style.md").read_text()
    section = text.partition("## Rooms\n")[2].partition("\n## ")[0]

    assert rooms() == set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def test_no_file_has_a_name_that_says_nothing() -> None:
    """A helper has a name of its own (house style, find the room)."""
    assert [str(file) for file in PACKAGE.rglob("*") if file.stem in NO_ROOM] == []


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_every_file_says_what_it_is_for(file: Path) -> None:
    """The first line of each module is a sentence about it."""
    text = ast.get_docstring(ast.parse(file.read_text())) or ""

    assert text.splitlines()[:1] not in ([], [""])


@pytest.mark.slow
def test_the_package_imports_no_command_line_library() -> None:
    """Alembic and typer are loaded by the command that needs them, not by a door."""
    code = (
        "import sys, gatewayd.smtpd, gatewayd.web.app, gatewayd.intake.pipeline\n"
        "print(*sorted({'alembic', 'typer', 'gatewayd.cli'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == ""

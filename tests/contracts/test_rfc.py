"""docs/rfc.md: what is said of a standard is so, in both directions."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CITATION = re.compile(r"\bRFC (\d+)\b")
ROW = re.compile(r"\| RFC (\d+) \| (.+?) \| (.+?) \| (.*?) ?\| (.+?) \|")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table of cited standards."""

    number: int
    support: str
    missing: str
    rooms: tuple[str, ...]


def rows() -> list[Row]:
    """The table under "Cited in the code"."""
    text = (ROOT / "docs/rfc.md").read_text()
    section = text.partition("## Cited in the code\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| RFC ")]
    found = [match for line in lines if (match := ROW.fullmatch(line))]
    assert len(lines) == len(found)
    return [
        Row(
            number=int(match[1]),
            support=match[3],
            missing=match[4],
            rooms=tuple(room for room in match[5].split(", ") if room != "-"),
        )
        for match in found
    ]


def cited() -> dict[int, set[str]]:
    """The rooms that cite each standard; a module beside the rooms counts as one."""
    found: dict[int, set[str]] = defaultdict(set)
    for file in sorted((ROOT / "gatewayd").rglob("*.py")):
        room = file.relative_to(ROOT / "gatewayd").parts[0].removesuffix(".py")
        for number in CITATION.findall(file.read_text()):
            found[int(number)].add(room)
    return found


def test_every_cited_rfc_is_in_the_table() -> None:
    """Who cites a standard says in docs/rfc.md how far it is obeyed."""
    assert set() == cited().keys() - {row.number for row in rows()}


def test_the_table_is_in_order_and_has_each_once() -> None:
    """A reader finds a number where it belongs."""
    numbers = [row.number for row in rows()]

    assert sorted(set(numbers)) == numbers


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"rfc{row.number}")
def test_a_row_names_rooms_that_cite_it(row: Row) -> None:
    """What is supported can be found: each room that a row names cites the standard."""
    assert row.support in ("yes", "partial", "no")
    assert bool(row.rooms) == (row.support != "no")
    assert set() == set(row.rooms) - cited()[row.number]


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"rfc{row.number}")
def test_a_partial_row_says_what_is_missing(row: Row) -> None:
    """Partial without a word about what is missing helps nobody."""
    assert row.support == "yes" or row.missing

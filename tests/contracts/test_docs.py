"""Documents cannot rot: links resolve, tables are the code's, every public word is there."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayd import failpoints
from gatewayd.errors import Code
from gatewayd.events.types import EventType
from gatewayd.metrics import Metrics
from gatewayd.queue.states import AT_REST, TRANSITIONS, State
from gatewayd.smtpd import replies
from gatewayd.web import problems
from gatewayd.web.problems import HttpFault

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")],
    key=str,
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SOURCE = re.compile(r"(?<![/\w.-])[a-z_]+(?:/[a-z_0-9*]+)+\.(?:py|md|toml|service|socket|conf)")
CITED_DOCUMENT = re.compile(r"\bdocs/[a-z0-9/-]+\.md\b")


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@functools.cache
def prose(file: Path) -> str:
    """A document without its fenced blocks, which are examples."""
    return FENCE.sub("", file.read_text())


def slugs(file: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = HEADING.findall(prose(file))
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in headings}


def table(file: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    section = (DOCS / file).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def word(cell: str) -> str:
    return cell.strip("`")


@pytest.mark.parametrize("file", DOCUMENTS, ids=name_of)
def test_every_link_resolves(file: Path) -> None:
    """A link leads to a file of this repository, and to a heading of it if it names one."""
    broken = []
    for target in LINK.findall(prose(file)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (file.parent / path).resolve() if path else file
        if (
            not found.is_relative_to(ROOT)
            or not found.exists()
            or (anchor and anchor not in slugs(found))
        ):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("file", DOCUMENTS, ids=name_of)
def test_every_file_that_is_named_exists(file: Path) -> None:
    """`queue/states.py` in a document is a file of the package, or of the repository."""
    named = {
        path
        for span in SPAN.findall(prose(file))
        for path in SOURCE.findall(span)
        if "*" not in path
    }
    missing = {
        path
        for path in named
        if not any((base / path).exists() for base in (ROOT, ROOT / "gatewayd", DOCS))
    }

    assert set() == missing


def sources() -> Iterator[Path]:
    for pattern in ("gatewayd/**/*.py", "conf/*.toml", "systemd/*"):
        yield from sorted(ROOT.glob(pattern))


def test_every_document_that_the_code_names_exists() -> None:
    """A message or comment that sends a reader to a document does not send him nowhere."""
    named = {
        (name_of(file), cited)
        for file in sources()
        for cited in CITED_DOCUMENT.findall(file.read_text())
    }

    assert set() == {(file, cited) for file, cited in named if not (ROOT / cited).exists()}


def test_every_document_can_be_reached_from_the_readme() -> None:
    """Nobody has to know the name of a document to find it."""
    reached, waiting = {ROOT / "README.md"}, [ROOT / "README.md"]
    while waiting:
        file = waiting.pop()
        for target in LINK.findall(prose(file)):
            found = (file.parent / target.partition("#")[0]).resolve()
            if found.suffix == ".md" and found.exists() and found not in reached:
                reached.add(found)
                waiting.append(found)

    assert set() == set(DOCUMENTS) - reached


def test_errors_are_those_of_the_code() -> None:
    """docs/errors.md gives each code the statuses that the doors give it."""
    expected = [
        [
            code.word,
            code.status,
            "-" if code in replies.NEVER_IN_SMTP else " ".join(map(str, replies.TABLE[code])),
            str(problems.TABLE[code].status),
        ]
        for code in Code
    ]

    rows = table("errors.md", "Codes of every door")
    assert expected == [[word(row[0]), *row[1:4]] for row in rows]
    assert all(row[4] and row[5] for row in rows)


def test_http_errors_are_those_of_the_code() -> None:
    """docs/errors.md lists what only HTTP has."""
    expected = [[fault.word, str(fault.status)] for fault in HttpFault]

    rows = table("errors.md", "Codes that only HTTP has")
    assert expected == [[word(row[0]), row[1]] for row in rows]


def test_events_are_those_of_the_code() -> None:
    """docs/events.md lists every word, in the order of events/types.py."""
    rows = re.findall(r"^\| `([a-z_.]+)` \| .+ \|$", (DOCS / "events.md").read_text(), re.MULTILINE)

    assert [kind.value for kind in EventType] == rows


def test_states_are_those_of_the_code() -> None:
    """docs/queue-states.md lists every state, and which of them are at rest."""
    rows = table("queue-states.md", "States")

    assert [[state.value, "yes" if state in AT_REST else "no"] for state in State] == [
        [word(row[0]), row[2]] for row in rows
    ]


def test_transitions_are_those_of_the_code() -> None:
    """docs/queue-states.md has each transition once, and no other."""
    rows = table("queue-states.md", "Transitions")
    shown = [(word(row[0]), row[1], word(row[2])) for row in rows]

    expected = {
        (before.value, happened.value, after.value)
        for (before, happened), after in TRANSITIONS.items()
    }
    assert expected == set(shown)
    assert len(expected) == len(shown)


def test_fail_points_are_those_of_the_code() -> None:
    """docs/architecture.md says what a crash at each fail point means, in their order."""
    rows = table("architecture.md", "A crash at each point")

    assert list(failpoints.POINTS) == [word(row[0]) for row in rows]


def test_every_metric_is_documented() -> None:
    """docs/metrics.md names every metric of ours."""
    text = (DOCS / "metrics.md").read_text()
    # A counter's family has lost its suffix; process_* is named as a whole.
    names = [
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
        if not family.name.startswith("process_")
    ]

    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_configuration_key_has_a_document() -> None:
    """docs/config.md is there; test_conf.py holds each of its lines."""
    assert (DOCS / "config.md").is_file()

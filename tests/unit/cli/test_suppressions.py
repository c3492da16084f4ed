"""gatewayd suppressions: test says why, and a file goes out and comes in."""

from __future__ import annotations

import csv
import io
import json
import stat
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli

AGENT = "agent@example.com"
OTHER = "other@example.com"
BOB = "bob@example.net"


@pytest.fixture
def agent(cli: Cli) -> Cli:
    """With two mailboxes."""
    for mailbox in (AGENT, OTHER):
        cli.run("mailboxes", "create", mailbox)
    return cli


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def listed(cli: Cli) -> list[tuple[str, str, str]]:
    items = cli.json("suppressions", "list")["items"]
    return [(item["address"], item["mailbox"], item["reason"]) for item in items]


def test_test_says_whose_mail_is_refused_and_why(agent: Cli) -> None:
    """Every row that holds: which mailbox's, the reason, since when, until when."""
    agent.run("suppressions", "add", BOB, "--all", "--reason", "asked by phone")
    agent.run("suppressions", "add", BOB, "--mailbox", AGENT, "--expires", "2999-01-01")
    said = agent.run("suppressions", "test", BOB).out.splitlines()
    ours = agent.run("suppressions", "test", BOB, "--mailbox", OTHER).out.splitlines()
    found = agent.json("suppressions", "test", BOB)

    assert said[0].startswith(
        f"{BOB} gets no mail of any mailbox: asked by phone, known by operator"
    )
    assert said[0].endswith("for ever")
    assert said[1].startswith(
        f"{BOB} gets no mail of {AGENT}: operator, known by operator, since 20"
    )
    assert said[1].endswith("until 2999-01-01T00:00:00Z")
    assert ours == said[:1]
    assert (found["suppressed"], [one["mailbox"] for one in found["entries"]]) == (
        True,
        ["*", AGENT],
    )


def test_test_of_an_address_of_one_mailbox_only(agent: Cli) -> None:
    """Without a mailbox it is not suppressed for all, but those who may not write are named."""
    agent.run("suppressions", "add", BOB, "--mailbox", AGENT)
    found = agent.json("suppressions", "test", BOB)
    said = agent.run("suppressions", "test", BOB, "--mailbox", OTHER)

    assert (found["suppressed"], len(found["entries"])) == (False, 1)
    assert said.out == f"{BOB} is not suppressed for mail of {OTHER}\n"


def test_export_is_imported_into_another_daemon(agent: Cli, file: Path) -> None:
    """Nothing is lost: not the mailbox, the reason, the end, or a formula of an address."""
    agent.run("suppressions", "add", "=1+1@example.net", "--all", "--reason", '=cmd|"x"')
    agent.run("suppressions", "add", BOB, "--mailbox", AGENT, "--expires", "2999-01-01")
    before = agent.json("suppressions", "list")["items"]
    said = agent.run("suppressions", "export", str(file))
    for item in before:
        whose = ("--all",) if item["mailbox"] == "*" else ("--mailbox", item["mailbox"])
        agent.run("suppressions", "remove", item["address"], *whose)
    done = agent.json("suppressions", "import", str(file))

    assert said.err == "2 exported\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "'=1+1@example.net" in file.read_text()
    assert (done["added"], done["changed"], done["bad"]) == (2, 0, 0)
    again = agent.json("suppressions", "list")["items"]
    assert before == again


def test_export_as_json_lines_to_a_pipe(agent: Cli) -> None:
    agent.run("suppressions", "add", BOB, "--all")
    agent.run("suppressions", "add", "zoe@example.net", "--mailbox", AGENT)
    everything = agent.run("suppressions", "export", "--format", "jsonl").out.splitlines()
    ours = agent.run("suppressions", "export", "--mailbox", AGENT).out

    assert [json.loads(line)["address"] for line in everything] == [BOB, "zoe@example.net"]
    assert [row["address"] for row in csv.DictReader(io.StringIO(ours))] == ["zoe@example.net"]


def test_export_overwrites_nothing(agent: Cli, file: Path) -> None:
    file.write_text("precious")
    said = agent.run("suppressions", "export", str(file), code=74)

    assert "File exists" in said.err
    assert file.read_text() == "precious"


def test_import_of_a_list_of_addresses(agent: Cli, file: Path) -> None:
    """One a line, for the mailbox that the command names; the second time nothing is new."""
    file.write_text("a@example.net\nb@example.net\nA@EXAMPLE.NET\na@example.net\n")
    first = agent.json("suppressions", "import", str(file), "--mailbox", AGENT)
    second = agent.json("suppressions", "import", str(file), "--mailbox", AGENT)

    assert (first["added"], first["changed"]) == (3, 0)
    assert (second["added"], second["changed"]) == (0, 3)
    assert {entry[1:] for entry in listed(agent)} == {(AGENT, "imported")}


def test_import_names_bad_lines_and_takes_nothing(agent: Cli, file: Path) -> None:
    """Unless it is told to pass them over."""
    file.write_bytes(
        b"address,mailbox\na@example.net,*\nnobody,*\nb@example.net,ghost@example.com\n"
        b"c@example.net,\nd\xff@example.net,*\ne@example.net,AGENT@example.com\n"
    )
    said = agent.run("suppressions", "import", str(file), code=65)

    assert said.err.splitlines() == [
        "gatewayd: nothing was imported; 4 bad line(s), see --skip-bad",
        "  line 3 address 'nobody' is no mail address: an address has an @ and a domain",
        "  line 4 names ghost@example.com, and there is no such mailbox",
        "  line 5 names no mailbox: say --mailbox ADDRESS or --all",
        "  line 6 address is not UTF-8",
    ]
    assert listed(agent) == []

    done = agent.json("suppressions", "import", str(file), "--skip-bad")
    assert (done["added"], done["bad"]) == (2, 4)
    assert [entry[:2] for entry in listed(agent)] == [
        ("a@example.net", "*"),
        ("e@example.net", AGENT),
    ]


def test_import_of_many_from_a_pipe(agent: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one batch, and more bad lines than are worth naming."""
    lines = [json.dumps({"address": f"a{number}@example.net"}) for number in range(1201)]

    class Stdin:
        buffer = io.BytesIO("\n".join(lines).encode())

    monkeypatch.setattr(sys, "stdin", Stdin())
    done = agent.json("suppressions", "import", "-", "--format", "jsonl", "--all")
    Stdin.buffer = io.BytesIO(b"\n".join([b"17"] * 60))
    said = agent.run("suppressions", "import", "-", "--format", "jsonl", "--all", code=65)

    assert done["added"] == 1201
    assert said.err.splitlines()[-1] == "  and 10 more"
    assert len(agent.run("suppressions", "export").out.splitlines()) == 1202


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("import", "nowhere.csv", "--all"), 74),
        (("import", "x", "--all", "--mailbox", AGENT), 64),
        (("import", "x", "--format", "xml"), 64),
        (("export", "--mailbox", "ghost@example.com"), 69),
        (("export", "no/such/file.csv"), 74),
    ],
)
def test_refuses_in_words(agent: Cli, words: tuple[str, ...], code: int) -> None:
    said = agent.run("suppressions", *words, code=code)

    assert said.err.startswith("gatewayd: ")

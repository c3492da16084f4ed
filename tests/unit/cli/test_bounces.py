"""gatewayd bounces: what a person reads, what changes, and what it exits with."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from gatewayd import bounces
from gatewayd.clock import SystemClock
from gatewayd.config import load
from gatewayd.daemon import build
from gatewayd.daemon.statedir import owned
from gatewayd.errors import StoreBroken
from gatewayd.mail.outcome import Delivered
from gatewayd.mail.reply import Reply
from gatewayd.mail.status import EnhancedStatus
from gatewayd.mailboxes.accounts import Change
from gatewayd.metrics import Metrics
from gatewayd.queue.outcome import AttemptRecord
from gatewayd.tokens.service import Request
from tests.fakes.clock import NOW
from tests.fakes.returning import arf, dsn, group
from tests.fakes.world import ANN, HOP, submission
from tests.unit.cli.conftest import Cli

_DOMAIN = "bounces.example.com"
_TABLES = f'[bounces]\ndomain = "{_DOMAIN}"\npostmaster = "{ANN}"\n'


@pytest.fixture
def returning(cli: Cli) -> Cli:
    """With a bounce domain."""
    cli.write_config(_TABLES)
    return cli


def _sent(cli: Cli, *, is_marked: bool = True) -> str:
    """A message of Ann's to Bob that was handed over, or is about to be; its reverse-path."""

    async def work(kernel: build.Kernel) -> str:
        await kernel.mailboxes.create(ANN, Change())
        issued = await kernel.tokens.issue(Request(mailbox=ANN))
        principal = await kernel.tokens.authenticate(issued.token, user=None)
        accepted = await kernel.intake.accept(submission(principal, "bob@example.net"))
        (claim,) = await kernel.queue.claim(dict.fromkeys(await kernel.queue.lanes(), 1))
        if is_marked:
            await kernel.queue.mark(claim)
            taken = Delivered(Reply(250, EnhancedStatus(2, 0, 0), "ok"))
            record = AttemptRecord(
                next_hop="h:25", phase="dot", tls="", transcript="", started_at=NOW, ended_at=NOW
            )
            await kernel.queue.settle(claim, {claim.recipients[0].recipient_id: taken}, record)
        assert kernel.reverse_paths is not None
        return str(kernel.reverse_paths.make(accepted.queue_id))

    def fail(error: StoreBroken) -> None:
        raise error

    async def run() -> str:
        kernel = build.kernel(
            load.load(cli.config_file),
            clock=SystemClock(),
            metrics=Metrics(),
            smarthost=HOP,
            on_broken=fail,
        )
        try:
            return await work(kernel)
        finally:
            kernel.close()

    with owned(cli.state_dir):
        return asyncio.run(run())


def test_ingest_moves_the_recipient_once(returning: Cli, tmp_path: Path) -> None:
    """The VERP address in To proves whose report it is; the second time nothing is new."""
    report = tmp_path / "report.eml"
    report.write_bytes(dsn(group(), to=_sent(returning)))

    first, again = (returning.json("bounces", "ingest", str(report)) for _ in range(2))
    (item,) = first["items"]

    assert item["result"] == {"kind": "report", "why": None, "changes": 1, "suppressed": 1}
    assert (item["file"], item["kind"]) == (str(report), "dsn")
    assert item["recipients"][0]["suppresses"]
    assert again["items"][0]["result"]["changes"] == 0
    assert returning.json("suppressions", "list")["items"][0]["address"] == "bob@example.net"


def test_ingest_tells_a_person_what_it_read_and_did(returning: Cli, tmp_path: Path) -> None:
    """One message, one paragraph; control characters of strangers are taken out."""
    (tmp_path / "box").mkdir()
    hostile = dsn(group(said="550 5.1.1 \x1b[31mno such user"), to=_sent(returning))
    (tmp_path / "box" / "a.eml").write_bytes(hostile)
    (tmp_path / "box" / "b.eml").write_bytes(b"Subject: lunch?\r\n\r\nAt noon?\r\n")
    said = returning.run("bounces", "ingest", str(tmp_path / "box"))

    assert (
        said.out.splitlines()
        == [
            f"{tmp_path}/box/a.eml: dsn",
            "  bob@example.net: failed permanent user_unknown 5.1.1 suppresses",
            r"    550 5.1.1 \x1b[31mno such user",
            "  -> report, 1 changed, 1 suppressed",
            f"{tmp_path}/box/b.eml: other",
            "  -> unrecognised: not_a_report, 0 changed, 0 suppressed",
        ]
        or "\x1b" not in said.out
    )


def test_report_of_what_is_still_under_way_exits_75(returning: Cli, tmp_path: Path) -> None:
    """It may be shown again; nothing was changed."""
    report = tmp_path / "report.eml"
    report.write_bytes(dsn(group(), to=_sent(returning, is_marked=False)))
    said = returning.run("bounces", "ingest", str(report), code=75)

    assert "-> too_early: the message that this report is about is still being" in said.out


def test_forged_report_changes_nothing(returning: Cli, tmp_path: Path) -> None:
    """One character of the address is another."""
    path = _sent(returning)
    forged = path[:9] + ("b" if path[9] != "b" else "c") + path[10:]
    report = tmp_path / "report.eml"
    report.write_bytes(dsn(group(), to=forged))
    (item,) = returning.json("bounces", "ingest", str(report))["items"]

    assert (item["result"]["kind"], item["result"]["why"]) == ("unrecognised", "not_signed")
    assert returning.json("suppressions", "list")["items"] == []


def test_dry_run_needs_neither_configuration_nor_database(empty: Cli, tmp_path: Path) -> None:
    """It says what the reader says, and no more."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1").write_bytes(dsn(group(), group("x@y.example", action="delayed")))
    (tmp_path / "in" / "2").write_bytes(arf(b"Subject: x\r\n\r\n", named="bob@example.net"))
    empty.config_file.unlink()
    said = empty.bare("bounces", "ingest", "--dry-run", str(tmp_path / "in"))

    assert "  bob@example.net: failed permanent user_unknown 5.1.1 suppresses" in said.out
    assert "\n  x@y.example: delayed " in said.out
    assert f"{tmp_path}/in/2: abuse (abuse)" in said.out
    assert "->" not in said.out
    assert not empty.state_dir.exists()


def test_name_that_is_no_text_is_shown_and_taken(returning: Cli, tmp_path: Path) -> None:
    """A file system takes any octets for a name."""
    directory = tmp_path / "in"
    directory.mkdir()
    with open(os.fsencode(directory) + b"/\xff\x1b", "wb") as file:  # noqa: PTH123 - octets
        file.write(b"Subject: x\r\n\r\n")
    said = returning.run("bounces", "ingest", str(directory))

    assert "/in/\ufffd\ufffd: other" in said.out


def test_path_that_is_not_there_exits_69(returning: Cli, tmp_path: Path) -> None:
    """Before anything was taken."""
    said = returning.run("bounces", "ingest", str(tmp_path), str(tmp_path / "none"), code=69)

    assert f"{tmp_path}/none: no such file or directory" in said.err
    assert said.out == ""


def test_file_that_cannot_be_read_is_named(returning: Cli, tmp_path: Path) -> None:
    """The others are taken; alone it is exit 65."""
    report = tmp_path / "report.eml"
    report.write_bytes(dsn(group(), to=_sent(returning)))
    unreadable = "/proc/self/mem"  # for root, too

    both = returning.run("bounces", "ingest", unreadable, str(report))
    alone = returning.run("bounces", "ingest", "--json", "--dry-run", unreadable, code=65)

    assert "-> report, 1 changed, 1 suppressed" in both.out
    assert "gatewayd: /proc/self/mem: " in both.err
    assert json.loads(alone.out)["items"] == []
    assert json.loads(alone.out)["unreadable"][0]["file"] == unreadable


def test_empty_directory_says_so(empty: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()

    assert empty.run("bounces", "ingest", "--dry-run", str(tmp_path / "in")).err == (
        "nothing found\n"
    )


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        ((), 64, "--host"),
        (("--host", "imap.example.com", "--tls", "none-on-loopback"), 65, "loopback only"),
        (("--host", "127.0.0.1", "--port", "1"), 69, "could not connect"),
        (("--host", "127.0.0.1", "--folder", "Rejected-Bounces"), 65, "cannot be put away"),
    ],
)
def test_poll_once_says_what_is_wrong(
    returning: Cli, tmp_path: Path, options: tuple[str, ...], code: int, expected: str
) -> None:
    secret = tmp_path / "password"
    secret.write_text("sesame\n")
    secret.chmod(0o600)
    words = ("--user", "u", "--password-file", str(secret), *options)

    assert expected in returning.run("bounces", "poll-once", *words, code=code).err


def test_poll_once_takes_no_password_that_others_can_read(returning: Cli, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("sesame\n")
    secret.chmod(0o644)
    words = ("--host", "127.0.0.1", "--user", "u", "--password-file", str(secret))
    said = returning.run("bounces", "poll-once", *words, code=77)

    assert "sesame" not in said.err


def test_poll_once_without_its_library_names_the_extra(
    returning: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never installed by default, because of its licence."""
    monkeypatch.delattr(bounces, "poll", raising=False)
    monkeypatch.setitem(sys.modules, "gatewayd.bounces.poll", None)
    words = ("--host", "h", "--user", "u", "--password-file", str(tmp_path))
    said = returning.run("bounces", "poll-once", *words, code=69)

    assert "pip install 'gatewayd[imap]'" in said.err


def test_report_may_be_larger_than_other_requests(returning: Cli, tmp_path: Path) -> None:
    """As large as the listener reads one; what is beyond that is left out."""
    report = tmp_path / "report.eml"
    report.write_bytes(dsn(group(), to=_sent(returning), original=b"x" * 3_000_000))
    (item,) = returning.json("bounces", "ingest", str(report))["items"]

    assert item["result"]["changes"] == 1

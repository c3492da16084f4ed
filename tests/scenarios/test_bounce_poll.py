"""bounces.poll: an IMAP folder is read, judged and emptied, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewayd.bounces import poll as polling
from gatewayd.bounces.ingest import RawFile
from gatewayd.bounces.poll import Account, Fate, Left, Polled, poll
from gatewayd.cli.main import main
from gatewayd.clock import SystemClock
from gatewayd.config import load
from gatewayd.daemon.tools import DatabaseTools
from gatewayd.errors import Code, Refused, StoreUnavailable
from tests.fakes.imap_server import PASSWORD, USER, ImapServer, Mail
from tests.fakes.returning import dsn, group
from tests.fakes.submission_host import authority, server_context
from tests.peers.command import config_text

_REJECTED = polling.REJECTED


def _account(server: ImapServer) -> Account:
    return Account(
        host="127.0.0.1",
        port=server.port,
        user=USER,
        password=PASSWORD,
        folder="INBOX",
        processed=None,
        is_plaintext=True,
        ca_file=None,
        most_octets=1000,
        most_messages=100,
    )


def _judge(seen: list[RawFile]) -> Callable[[RawFile], Awaitable[Fate]]:
    """By the first word of a message."""

    async def judge(one: RawFile) -> Fate:
        seen.append(one)
        return Fate(one.octets.split()[0].decode())

    return judge


def _filled(capabilities: tuple[str, ...] = ("UIDPLUS", "MOVE")) -> ImapServer:
    server = ImapServer(capabilities=capabilities)
    for octets in (b"taken\r\n\r\n)", b"rejected (1 FETCH (\r\n", b"later\r\n\r\nA1 OK\r\n"):
        server.put(octets)
    return server


@pytest.mark.parametrize("capabilities", [("UIDPLUS", "MOVE"), ("UIDPLUS",), ()])
async def test_each_message_goes_where_its_fate_says(capabilities: tuple[str, ...]) -> None:
    """Taken ones are deleted, rejected ones moved, others stay; whatever the server can."""
    server, seen = _filled(capabilities=capabilities), list[RawFile]()
    async with server.running():
        polled = await poll(_account(server), _judge(seen))

    assert Polled(taken=1, rejected=1, later=1) == polled
    assert [one.name for one in seen] == ["INBOX:1", "INBOX:2", "INBOX:3"]
    assert server.held("INBOX") == [b"later\r\n\r\nA1 OK\r\n"]
    assert server.held(_REJECTED) == [b"rejected (1 FETCH (\r\n"]


@pytest.mark.parametrize(("capabilities", "left"), [(("UIDPLUS",), [7]), ((), [1, 2, 7])])
async def test_what_others_have_marked_is_not_expunged(
    capabilities: tuple[str, ...], left: list[int]
) -> None:
    """Without UIDPLUS nothing is: EXPUNGE takes all that is marked (RFC 4315 2.1)."""
    server = _filled(capabilities)
    server.folders["INBOX"][7] = Mail(b"another program's", is_deleted=True)
    async with server.running():
        await poll(_account(server), _judge([]))
        again = await poll(_account(server), _judge([]))

    assert again == Polled(later=1)
    assert sorted(uid for uid, one in server.folders["INBOX"].items() if one.is_deleted) == left


@pytest.mark.parametrize("kind", [Code.MESSAGE_TOO_LARGE, Code.VALIDATION_FAILED])
async def test_message_that_we_refuse_is_passed_over(kind: Code) -> None:
    """It stays and is told; those behind it are read."""
    server = _filled()
    judge = _judge([])

    async def refusing(one: RawFile) -> Fate:
        if one.name == "INBOX:1":
            raise Refused(kind, "not this one")
        return await judge(one)

    async with server.running():
        polled = await poll(_account(server), refusing)

    assert polled == Polled(rejected=1, later=1, refused=[Left("INBOX:1", "not this one")])
    assert server.held("INBOX")[0].startswith(b"taken")


async def test_refusal_that_is_about_no_message_ends_the_run() -> None:
    """A daemon that is overloaded refuses the next one too."""
    server = _filled()

    async def judge(one: RawFile) -> Fate:
        raise Refused(Code.UNAVAILABLE, one.name)

    async with server.running():
        with pytest.raises(Refused, match="INBOX:1"):
            await poll(_account(server), judge)


@pytest.mark.parametrize("command", ["UID FETCH", "UID STORE", "UID EXPUNGE"])
async def test_message_that_the_server_refuses_is_passed_over(command: str) -> None:
    """To give it, or to let it go."""
    server = _filled()
    server.refuses = (command, 1)
    async with server.running():
        polled = await poll(_account(server), _judge([]))

    (left,) = polled.refused
    assert (polled.taken, polled.rejected, polled.later) == (0, 1, 1)
    assert left.name == "INBOX:1"
    assert "NO not this one" in left.why


async def test_messages_for_later_do_not_fill_a_run() -> None:
    """They are the oldest, and would be read again and again, and nothing else."""
    server = ImapServer()
    for octets in (b"later 1", b"later 2", b"later 3", b"taken 4", b"taken 5"):
        server.put(octets)
    async with server.running():
        polled = await poll(replace(_account(server), most_messages=1), _judge([]))

    assert polled == Polled(later=3, taken=1)
    assert server.held("INBOX")[-1] == b"taken 5"


async def test_processed_ones_are_kept_where_the_operator_says() -> None:
    """Then nothing is deleted at all; a name with a space and a quote is one name."""
    server = _filled()
    async with server.running():
        account = replace(_account(server), processed='Done "ones"')
        await poll(account, _judge([]))

    assert server.held('Done "ones"') == [b"taken\r\n\r\n)"]


async def test_the_next_run_finds_only_what_is_left() -> None:
    """Once more changes nothing."""
    server, seen = _filled(), list[RawFile]()
    async with server.running():
        await poll(_account(server), _judge([]))
        polled = await poll(_account(server), _judge(seen))

    assert Polled(later=1) == polled
    assert [one.name for one in seen] == ["INBOX:3"]


async def test_only_the_beginning_of_a_message_is_read() -> None:
    """However long it is."""
    server, seen = ImapServer(), list[RawFile]()
    server.put(b"taken " + b"x" * 100_000)
    async with server.running():
        await poll(_account(server), _judge(seen))

    assert len(seen[0].octets) == 1000


async def test_one_run_reads_no_more_than_its_limit() -> None:
    """The oldest first."""
    server = ImapServer()
    for number in range(5):
        server.put(b"taken %d" % number)
    async with server.running():
        polled = await poll(replace(_account(server), most_messages=3), _judge([]))

    assert Polled(taken=3) == polled
    assert server.held("INBOX") == [b"taken 3", b"taken 4"]


async def test_message_stays_when_the_store_is_down() -> None:
    """What was not taken is not put away."""
    server = _filled()

    async def judge(one: RawFile) -> Fate:
        raise StoreUnavailable(one.name)

    async with server.running():
        with pytest.raises(StoreUnavailable):
            await poll(_account(server), judge)

    assert len(server.held("INBOX")) == 3
    assert server.commands[-1] == "LOGOUT"


async def test_over_tls_the_certificate_is_checked(tmp_path: Path) -> None:
    """By the authorities that are named, and for the name that is connected to."""
    server = _filled()
    ca_file = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(ca_file)
    async with server.running(server_context()):
        account = replace(_account(server), is_plaintext=False)
        with pytest.raises(Refused, match="could not connect"):
            await poll(replace(account, host="localhost"), _judge([]))
        with pytest.raises(Refused, match="could not connect"):
            await poll(replace(account, ca_file=ca_file), _judge([]))
        polled = await poll(replace(account, host="localhost", ca_file=ca_file), _judge([]))

    assert Polled(taken=1, rejected=1, later=1) == polled


async def test_failed_login_says_what_the_server_said() -> None:
    """And the password stands nowhere."""
    server = _filled()
    async with server.running():
        with pytest.raises(Refused, match=r"could not log in: .* wrong password") as refused:
            await poll(replace(_account(server), password="sesame"), _judge([]))

    assert refused.value.kind is Code.UNAVAILABLE
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    ("before", "command", "step"),
    [
        (0, "CAPABILITY", "connect"),
        (1, "LOGIN", "log in"),
        (3, "SELECT", "open INBOX"),
        (4, "UID SEARCH", "search"),
        (5, "UID FETCH", "read message 1"),
        (6, "UID STORE", "delete"),
    ],
)
async def test_silent_server_is_not_waited_for(
    before: int, command: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step has its deadline; the message is taken again by the next run."""
    server = _filled()

    def be_short_from_now_on() -> None:
        # Not before: on a slow machine another step would be too slow.
        if len(server.commands) >= before:
            monkeypatch.setattr(polling, "STEP_S", 0.05)

    be_short_from_now_on()
    server.is_silent_at, server.on_command = command, be_short_from_now_on
    async with server.running():
        with pytest.raises(Refused, match=f"could not {step}: no answer"):
            await poll(_account(server), _judge([]))

    assert server.commands[before:] in ([], [command])  # none: too slow to connect is silent, too
    assert len(server.held("INBOX")) == 3


async def test_nobody_listens() -> None:
    """The operator reads which step failed."""
    with pytest.raises(Refused, match=r"127\.0\.0\.1:1: could not connect"):
        await poll(_account(ImapServer(port=1)), _judge([]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"host": "imap.example.com"}, "loopback only"),
        ({"folder": "a\r\nb"}, "one line"),
        ({"password": ""}, "not empty"),
        ({"folder": "Prüfung"}, "modified UTF-7"),
        ({"folder": _REJECTED}, "cannot be put away"),
        ({"processed": "INBOX"}, "cannot be put away"),
    ],
)
def test_account_that_could_not_work_is_refused(change: dict[str, Any], said: str) -> None:
    """Before anything is sent."""
    with pytest.raises(Refused, match=said):
        replace(_account(ImapServer()), **change)


@pytest.mark.slow
async def test_command_reads_the_folder_into_the_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the timer calls it: what carries no MAC of ours is put aside for a person."""
    config_file, password_file = tmp_path / "gatewayd.toml", tmp_path / "password"
    config_file.write_text(config_text(tmp_path))
    DatabaseTools(load.load(config_file), SystemClock()).init()
    password_file.write_text(PASSWORD)
    password_file.chmod(0o600)
    server = ImapServer()
    server.put(dsn(group()))
    words = ["--host", "127.0.0.1", "--tls", "none-on-loopback", "--user", USER]
    words += ["--password-file", str(password_file), "-c", str(config_file), "--json"]
    async with server.running():
        words += ["--port", str(server.port)]
        code = await asyncio.to_thread(main, ["bounces", "poll-once", *words])

    assert code == 0
    expected = {"taken": 0, "rejected": 1, "later": 0, "refused": []}
    assert expected == json.loads(capsys.readouterr().out)
    assert server.held(_REJECTED) == [dsn(group())]


@pytest.mark.slow
async def test_command_names_what_was_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It exits 65, so that the timer's unit shows it; the others were taken care of."""
    config_file, password_file = tmp_path / "gatewayd.toml", tmp_path / "password"
    config_file.write_text(config_text(tmp_path))
    DatabaseTools(load.load(config_file), SystemClock()).init()
    password_file.write_text(PASSWORD)
    password_file.chmod(0o600)
    server = ImapServer(refuses=("UID FETCH", 1))
    for _ in range(2):
        server.put(dsn(group()))
    words = ["--host", "127.0.0.1", "--tls", "none-on-loopback", "--user", USER]
    words += ["--password-file", str(password_file), "-c", str(config_file)]
    async with server.running():
        words += ["--port", str(server.port)]
        code = await asyncio.to_thread(main, ["bounces", "poll-once", *words])

    said = capsys.readouterr()
    assert code == 65
    assert "INBOX:1 was refused, and stays:" in said.err
    assert "NO not this one" in said.err
    assert "refused   1" in said.out
    assert len(server.held(_REJECTED)) == 1

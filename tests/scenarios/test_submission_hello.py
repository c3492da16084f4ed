"""A client says hello: what is offered to whom, and who is shown the door at once."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gatewayd.config.limits import LimitsSection
from gatewayd.config.listeners import ListenerTls
from tests.fakes.submission_client import connect
from tests.fakes.submission_host import (
    HOSTNAME,
    MAILBOX,
    TOKEN,
    client_context,
    submission_host,
)

_ALWAYS = {
    "SIZE 10485760",
    "8BITMIME",
    "SMTPUTF8",
    "PIPELINING",
    "ENHANCEDSTATUSCODES",
    "CHUNKING",
    "DSN",
    "LIMITS RCPTMAX=100",
}
_AUTH = "AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER"


async def test_hello_on_587_offers_starttls_and_no_auth_before_it() -> None:
    """A token is never asked for in plaintext (RFC 8314 4.1)."""
    async with (
        submission_host(tls=ListenerTls.STARTTLS, auth_without_tls=False) as host,
        connect(host.address) as client,
    ):
        before = await client.hello()
        await client.start_tls(client_context())
        after = await client.ask("EHLO client.example")

    assert before.lines[0] == HOSTNAME
    assert {*_ALWAYS, "STARTTLS"} == set(before.lines[1:])
    assert {*_ALWAYS, _AUTH} == set(after.lines[1:])


async def test_hello_on_465_offers_auth() -> None:
    """TLS is on from the first octet, so there is no STARTTLS (RFC 8314 3.3)."""
    async with (
        submission_host(tls=ListenerTls.IMPLICIT, auth_without_tls=False) as host,
        connect(host.address, tls=client_context()) as client,
    ):
        answer = await client.hello()

    assert {*_ALWAYS, _AUTH} == set(answer.lines[1:])


async def test_hello_on_loopback_offers_auth_if_the_listener_says_so() -> None:
    """And only then."""
    async with submission_host(auth_without_tls=True) as host, connect(host.address) as client:
        offered = await client.hello()
    async with submission_host(auth_without_tls=False) as host, connect(host.address) as client:
        withheld = await client.hello()

    assert {*_ALWAYS, _AUTH} == set(offered.lines[1:])
    assert set(withheld.lines[1:]) == _ALWAYS


async def test_size_and_recipients_are_those_of_the_limits() -> None:
    """RFC 1870 4, RFC 9422 4.1."""
    limits = LimitsSection(message_octets=5000, recipients=7)
    async with submission_host(limits=limits) as host, connect(host.address) as client:
        answer = await client.hello()

    assert {"SIZE 5000", "LIMITS RCPTMAX=7"} <= set(answer.lines)


async def test_helo_is_answered_in_one_line() -> None:
    """Nothing is offered to it (RFC 5321 4.1.1.1)."""
    async with submission_host() as host, connect(host.address) as client:
        await client.read()
        answer = await client.ask("HELO client.example")

    assert answer.lines == (HOSTNAME,)


async def test_every_other_reply_has_an_enhanced_status() -> None:
    """RFC 2034 4."""
    commands = {
        "NOOP": "250 2.0.0",
        "NOOP with words": "250 2.0.0",
        "RSET": "250 2.0.0",
        "RSET now": "501 5.5.4",
        "VRFY someone": "252 2.5.0",
        "HELP": "214 2.0.0",
        "EXPN list": "500 5.5.1",
        "MAIL FROM:<a@example.com>": "530 5.7.0",
        "RCPT TO:<a@example.com>": "503 5.5.1",
        "DATA": "503 5.5.1",
        "DATA now": "501 5.5.4",
        "BDAT 0 LAST": "503 5.5.1",
        "STARTTLS": "502 5.5.1",
        "EHLO": "501 5.5.4",
    }
    limits = LimitsSection(idle_commands=100)
    async with submission_host(limits=limits) as host, connect(host.address) as client:
        await client.hello()
        await client.log_in(MAILBOX, TOKEN)  # so that errors are forgiven
        found = {command: str(await client.ask(command)) for command in commands}
        bye = await client.ask("QUIT")

    commands["MAIL FROM:<a@example.com>"] = "550 5.7.1"
    assert commands == {command: answer[:9] for command, answer in found.items()}
    assert (bye.code, bye.status) == (221, "2.0.0")


async def test_mail_before_hello_or_login_is_told_what_to_do() -> None:
    """The text helps."""
    async with (
        submission_host(tls=ListenerTls.STARTTLS, auth_without_tls=False) as host,
        connect(host.address) as client,
    ):
        await client.read()
        first = await client.ask(f"MAIL FROM:<{MAILBOX}>")
        await client.ask("EHLO x")
        second = await client.ask(f"MAIL FROM:<{MAILBOX}>")

    assert str(first) == "503 5.5.1 say EHLO first"
    assert str(second).startswith("530 5.7.0 token_missing: say STARTTLS, then log in")


async def test_commands_are_caseless() -> None:
    """RFC 5321 2.4."""
    async with submission_host() as host, connect(host.address) as client:
        await client.read()

        assert (await client.ask("ehlo x")).code == 250
        assert (await client.ask("nOOp")).code == 250


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: mail.example.com\r\n\r\n",
        b"POST /\r\n",
        b"CONNECT mail.example.com:25 HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello there\r\n",
        b"\r\n",
        b"\x00\x00\x00\x00\n",
    ],
)
async def test_other_protocol_is_closed_at_its_first_line(junk: bytes) -> None:
    """Nobody makes a browser speak SMTP with us."""
    async with submission_host() as host, connect(host.address) as client:
        await client.read()
        client.send(junk)
        answer = await client.read()

        assert (answer.code, answer.status) == (554, "5.5.1")
        assert await client.is_closed()


async def test_http_verb_after_hello_is_closed_too() -> None:
    """As Postfix's smtpd_forbidden_commands."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()

        assert (await client.ask("POST / HTTP/1.1")).code == 554
        assert await client.is_closed()


async def test_client_that_speaks_before_the_greeting_is_closed() -> None:
    """It does not speak SMTP, it only sends (RFC 5321 3.1)."""
    async with submission_host() as host:
        # Blocking, and before the loop can run: the octets are there before the listener looks.
        raw = socket.create_connection((host.address.host, host.address.port))
        raw.sendall(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
        reader, writer = await asyncio.open_connection(sock=raw)
        received = await reader.read()
        writer.close()

    assert received.startswith(b"554 5.5.1 ")
    assert received.count(b"\r\n") == 1


@pytest.mark.parametrize("first", ["EHLO x", "NOOP", "VRFY a", "AUTH LOGIN", "HELP"])
async def test_stranger_that_pipelines_past_a_command_is_closed(first: str) -> None:
    """As Postfix's smtpd_forbid_unauth_pipelining (RFC 2920 3.1)."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        client.send(f"{first}\r\nMAIL FROM:<a@example.com>\r\n".encode())
        answer = await client.read()

        assert (answer.code, answer.status) == (503, "5.5.1")
        assert await client.is_closed()


async def test_unknown_command_is_never_said_back() -> None:
    """It may be the password of a client that did not notice a 538 (library-facts F8)."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        answer = await client.ask("c2VjcmV0LXBhc3N3b3Jk")

    assert answer.code == 500
    assert "c2VjcmV0" not in str(answer).replace("C", "c")


async def test_tenth_error_of_a_stranger_ends_the_session() -> None:
    """421 4.7.0."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        answers = [await client.ask("NONSENSE") for _ in range(10)]
        last = await client.read()

        assert [answer.code for answer in answers] == [500] * 10
        assert (last.code, last.status) == (421, "4.7.0")
        assert await client.is_closed()


@pytest.mark.parametrize("command", ["NOOP", "RSET", "EHLO x", "VRFY x", "HELP"])
async def test_twentyfirst_idle_command_ends_the_session(command: str) -> None:
    """Who has nothing to send makes room."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        for _ in range(20):
            assert (await client.ask(command)).code // 100 == 2
        last = await client.ask(command)

        assert (last.code, last.status) == (421, "4.7.0")
        assert await client.is_closed()


async def test_idle_commands_are_forgiven_by_a_message() -> None:
    """A client that says RSET before each message is a good one."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        await client.log_in(MAILBOX, TOKEN)
        for _ in range(40):
            assert (await client.ask("RSET")).code == 250
            await client.ask_all([f"MAIL FROM:<{MAILBOX}>", "RCPT TO:<b@example.net>", "DATA"])
            assert (await client.ask("\r\nx\r\n.")).code == 250

    assert len(host.intake.accepted) == 40


@pytest.mark.parametrize(
    ("first", "line"),
    [
        (f"MAIL FROM:<{MAILBOX}>", b"RCPT TO:<a@example.net"),
        (f"MAIL FROM:<{MAILBOX}>", b"NONSENSE"),
        (f"MAIL FROM:<{MAILBOX}>", b"RCPT TO:<" + b"a" * 3000),
        ("AUTH PLAIN", b""),
        ("AUTH PLAIN", b"a" * 13_000),
    ],
    ids=["path", "nonsense", "long", "response", "long response"],
)
async def test_what_follows_a_bare_lf_is_no_command(first: str, line: bytes) -> None:
    """Its sender meant one line: nothing of it is obeyed, and the session ends (RFC 5321 2.3.8)."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        if not first.startswith("AUTH"):
            await client.log_in(MAILBOX, TOKEN)
        assert (await client.ask(first)).code in {250, 334}
        client.send(line + b"\nRCPT TO:<b@example.net>\r\n")

        assert str(await client.read())[:9] == "500 5.5.2"
        assert await client.is_closed()


async def test_command_with_a_bare_cr_or_control_character_is_refused() -> None:
    """Nothing of it ends a line, so the session goes on."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        client.send(b"NOOP a\rb\r\n")
        assert str(await client.read())[:9] == "501 5.5.2"
        client.send(b"NOOP a\x00b\r\n")
        assert str(await client.read())[:9] == "501 5.5.2"
        client.send(b"NOOP\r\r\n")
        assert str(await client.read())[:9] == "500 5.5.2"
        client.send(b"NOOP \xff\xfe\r\n")
        assert str(await client.read())[:9] == "501 5.5.2"


async def test_limit_of_a_command_line_is_its_own() -> None:
    """512 octets, 1181 for MAIL, 1047 for RCPT (RFC 5321 4.5.3.1.4 and the extensions)."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        await client.log_in(MAILBOX, TOKEN)
        assert (await client.ask("NOOP " + "x" * 505)).code == 250
        assert str(await client.ask("NOOP " + "x" * 506))[:9] == "500 5.5.2"
        mail = f"MAIL FROM:<{MAILBOX}> AUTH=" + "x" * 500 + " ENVID=" + "e" * 100
        assert (await client.ask(mail)).code == 250
        rcpt = "RCPT TO:<b@example.net> ORCPT=rfc822;"
        assert (await client.ask(rcpt + "x" * 480)).code == 250
        assert str(await client.ask(rcpt + "x" * 1100))[:9] == "500 5.5.2"


async def test_limits_of_one_connection_do_not_change_by_another_or_by_ehlo() -> None:
    """They are not shared, and do not grow (library-facts F3)."""
    async with (
        submission_host() as host,
        connect(host.address) as one,
        connect(host.address) as other,
    ):
        await one.hello()
        for _ in range(5):
            await one.ask("EHLO x")
        await other.hello()

        assert (await one.ask("NOOP " + "x" * 506)).code == 500
        assert (await other.ask("NOOP " + "x" * 506)).code == 500


async def test_line_that_is_far_too_long_is_dropped_as_it_comes() -> None:
    """One reply, and the next command is understood."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        client.send(b"NOOP " + b"x" * 40_000 + b"\r\nNOOP\r\n"[:2])
        assert (await client.read()).code == 500
        assert (await client.ask("NOOP")).code == 250


@pytest.mark.parametrize("octet", [b"x", b"\r", b"\0"])
async def test_line_without_an_end_ends_the_session(octet: bytes) -> None:
    """After 64 KiB, which is all that it can cost."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        client.send(b"NOOP " + octet * 300_000)
        answer = await client.read()

        assert (answer.code, answer.status) == (421, "4.7.0")
        assert await client.is_closed()

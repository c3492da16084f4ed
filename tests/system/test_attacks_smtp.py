"""The submission listeners of an installed daemon under attack.

One daemon stands for the whole file. After every attack it takes a plain message by SMTP, delivers
it, and its log holds no error. What it costs to hold connections open is in
test_attacks_connections.py, bounces are in test_attacks_bounces.py.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.peers.attacker import MAILBOX, Attacker, assert_goes_on, count, logged_in, trusting
from tests.peers.target import Target, target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

VICTIM = "victim@rcpt.test"


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("attacked")) as running:
        yield running


@pytest.fixture(autouse=True)
def _goes_on(attacked: Target) -> Iterator[None]:
    """Whatever was done to it, the next message arrives, and nothing broke inside."""
    yield
    assert_goes_on(attacked)


def queued(attacked: Target) -> int:
    return count(attacked, "SELECT count(*) FROM messages")


def to_victim(attacked: Target) -> int:
    query = "SELECT count(*) FROM recipients WHERE forward_path = ?"
    return count(attacked, query, VICTIM)


# A second message inside the first.

ENDS = [
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r",
    b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\r\n\r.\r\n", b"\r\n.\r\r\n", b"\n\n.\n\n",
]  # fmt: skip
SECOND = f"MAIL FROM:<{MAILBOX}>\r\nRCPT TO:<{VICTIM}>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n".encode()


@pytest.mark.parametrize(
    ("door", "is_split"),
    [("plain", False), ("plain", True), ("submissions", False), ("submissions", True)],
    ids=["segment", "segments", "record", "records"],
)
def test_only_one_thing_ends_a_message(attacked: Target, door: str, *, is_split: bool) -> None:
    """Every other end of data is content, and refused as such (CVE-2023-51764, CVE-2024-27305)."""
    before = queued(attacked)
    with logged_in(attacked, door) as client:
        for end in ENDS:
            client.begin()
            if is_split:
                client.send(b"Subject: x\r\n\r\nfirst")
                client.send_each(end + SECOND[:12])
                client.send(SECOND[12:] + b"\r\n.\r\n")
            else:
                client.send(b"Subject: x\r\n\r\nfirst" + end + SECOND + b"\r\n.\r\n")
            assert (end, client.read().both) == (end, (550, "5.5.2"))
            # Were the second message taken, these would be the answers to its commands.
            assert (end, client.ask("MAIL").both) == (end, (501, "5.5.4"))

    assert (queued(attacked), to_victim(attacked)) == (before, 0)


def test_what_follows_the_end_is_a_message_of_its_own(attacked: Target) -> None:
    """The control of the test before: with the one end that counts, the second one is taken."""
    before = queued(attacked)
    with logged_in(attacked) as client:
        client.begin()
        client.send(b"Subject: x\r\n\r\nfirst\r\n.\r\n" + SECOND.replace(b"victim", b"ann"))
        client.send(b".\r\n")

        assert [client.read().code for _ in range(5)] == [250, 250, 250, 354, 250]
    assert queued(attacked) == before + 2


# Plaintext before TLS, and commands before their time.


@pytest.mark.parametrize(
    "behind",
    [
        b"RSET\r\nMAIL FROM:<x@y>\r\n",
        b"EHLO evil.test\r\n",
        b"NOOP\r\n" * 100,
        b"\r\n",
        b"A",
        b"\x16\x03\x01",
    ],
    ids=["commands", "ehlo", "many", "empty", "letter", "record"],
)
def test_nothing_is_injected_before_tls(attacked: Target, behind: bytes) -> None:
    """What follows STARTTLS in its segment ends the session (CVE-2011-0411, CVE-2024-34083)."""
    with Attacker(attacked.gateway.ports.submission) as client:
        client.hello()
        client.send(b"STARTTLS\r\n" + behind)

        assert [each.both for each in client.rest()] == [(503, "5.5.1")]


def test_nothing_said_before_tls_counts_after_it(attacked: Target) -> None:
    """EHLO and AUTH are to be said again, and STARTTLS is not (RFC 3207 4.2)."""
    with Attacker(attacked.gateway.ports.submission) as client:
        before = client.hello()
        assert client.ask("STARTTLS").code == 220
        client.wrap(trusting())

        assert client.ask(f"MAIL FROM:<{MAILBOX}>").both == (503, "5.5.1")
        after = client.ask("EHLO attacker.test")
        assert client.ask(f"MAIL FROM:<{MAILBOX}>").both == (530, "5.7.0")
        assert client.log_in(MAILBOX, attacked.gateway.token).code == 235
        assert client.ask("STARTTLS").both == (503, "5.5.1")
    assert "STARTTLS" in before.text.splitlines()
    assert "STARTTLS" not in after.text.splitlines()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
def test_no_token_is_taken_in_plaintext(attacked: Target, mechanism: str) -> None:
    """It is neither offered nor asked for; 538 before anything secret is sent (RFC 4954 6)."""
    with Attacker(attacked.gateway.ports.submission) as client:
        offered = client.hello().text
        for line in (f"AUTH {mechanism}", f"AUTH {mechanism} AGEAYg==", f"auth {mechanism} ="):
            assert client.ask(line).both == (538, "5.7.11")
        assert client.ask(f"MAIL FROM:<{MAILBOX}>").both == (530, "5.7.0")
    assert "AUTH" not in offered


# What comes too soon, or is no SMTP.


def test_who_does_not_wait_for_the_greeting_is_sent_away(attacked: Target) -> None:
    """No mail server does that (RFC 5321 3.1); what it sent is not obeyed."""
    process = attacked.gateway.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)  # until all of it is in the kernel
    try:
        client = Attacker(attacked.gateway.ports.plain)
        client.send(b"EHLO attacker.test\r\n" + SECOND)
    finally:
        process.send_signal(signal.SIGCONT)
    with client:
        assert [each.both for each in client.rest()] == [(554, "5.5.1")]
    assert to_victim(attacked) == 0


@pytest.mark.parametrize("line", ["EHLO attacker.test", "NOOP", "VRFY ann", "HELP", "AUTH PLAIN"])
def test_a_stranger_waits_for_the_reply(attacked: Target, line: str) -> None:
    """Before AUTH nobody pipelines where RFC 2920 3.1 forbids it; nobody is logged in so."""
    with Attacker(attacked.gateway.ports.plain) as client:
        client.hello()
        client.send(f"{line}\r\n".encode() + SECOND)

        assert [each.both for each in client.rest()] == [(503, "5.5.1")]
    assert to_victim(attacked) == 0


def test_pipelining_before_login_sends_nothing(attacked: Target) -> None:
    """MAIL, RCPT and DATA may be pipelined; each is refused, and the message is no command."""
    with Attacker(attacked.gateway.ports.plain) as client:
        client.hello()
        answers = client.ask_all(f"MAIL FROM:<{MAILBOX}>", f"RCPT TO:<{VICTIM}>", "DATA")

        assert [each.both for each in answers] == [(530, "5.7.0"), (503, "5.5.1"), (503, "5.5.1")]


OTHERS = {
    "get": b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n" + SECOND,
    "post": b"POST / HTTP/1.1\r\nContent-Length: 500\r\n\r\n" + SECOND,
    "connect": b"CONNECT 127.0.0.1:25 HTTP/1.1\r\n\r\n" + SECOND,
    "client hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
    "client hello with LF": b"\x16\x03\x01\x02\x00\x01\n\x01\xfc\x03\x03" + bytes(32),
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "redis": b"*1\r\n$4\r\nPING\r\n",
    "empty lines": b"\r\n" * 100,
}


@pytest.mark.parametrize("protocol", OTHERS)
def test_another_protocol_is_not_listened_to(attacked: Target, protocol: str) -> None:
    """The first junk ends it: a browser made to post SMTP gets nowhere (Postfix closes, too)."""
    with Attacker(attacked.gateway.ports.plain) as client:
        assert client.read().code == 220
        client.send(OTHERS[protocol])

        assert [each.both for each in client.rest()] == [(554, "5.5.1")]
    assert to_victim(attacked) == 0


@pytest.mark.parametrize("verb", ["GET", "POST", "CONNECT", "PUT", "OPTIONS"])
def test_http_is_known_after_ehlo_and_login_too(attacked: Target, verb: str) -> None:
    """Junk that got so far is a request behind a request."""
    with logged_in(attacked) as client:
        client.send(f"{verb} / HTTP/1.1\r\n".encode() + SECOND)

        assert [each.both for each in client.rest()] == [(554, "5.5.1")]
    assert to_victim(attacked) == 0


# The envelope.

PATHS = {
    "cr": "a\rX: y", "nul": "a\0", "del": "a\x7f", "esc": "\x1b[2J", "tab": "a\tb",
    "cr in quotes": f'"a\rRCPT TO:<{VICTIM}>"@rcpt.test', "nul in quotes": '"a\0"@rcpt.test',
    "escaped cr": '"a\\\r"@rcpt.test', "parens": "(" * 450, "pairs": "()" * 220,
    "less": "<" * 450, "quotes": '"' * 450, "escapes": "\\" * 450, "ats": "@" * 450,
    "dots": "." * 450, "colons": "@a:" * 150, "commas": "@a," * 150, "bracket": "a@[" + "[" * 400,
    "v6": "a@[IPv6:" + "::" * 200 + "]", "long local-part": "a" * 65 + "@rcpt.test",
    "long domain": "a@" + "a" * 64 + ".test", "many labels": "a@" + "a." * 130 + "test",
    "percent": "%s%n%x@", "pipe": "|/bin/sh", "shell": "$(id)@;",
    "two": "a@rcpt.test>,<b@rcpt.test",
    "injected parameter": "a@rcpt.test> NOTIFY=NEVER\tX", "line": "a" * 3000 + "@rcpt.test",
    "long line": "a" * 20_000 + "@rcpt.test", "latin": "caf\xe9@rcpt.test",
    "nel": "a\x85b@rcpt.test", "surrogate": "a\ud800@rcpt.test", "rtl": "a\u202eb@rcpt.test",
    "line separator": "a\u2028b@rcpt.test",
}  # fmt: skip


@pytest.mark.parametrize("verb", ["MAIL FROM", "RCPT TO"])
def test_no_path_breaks_out_of_its_brackets(attacked: Target, verb: str) -> None:
    """A path that is none is 5yz, never a fault of ours; the session stays in step."""
    with logged_in(attacked) as client:
        if verb == "RCPT TO":
            assert client.ask(f"MAIL FROM:<{MAILBOX}>").code == 250
        told = {}
        for name, path in PATHS.items():
            told[name] = client.ask(f"{verb}:<{path}>".encode(errors="surrogatepass"))
        if verb == "MAIL FROM":
            assert client.ask(f"MAIL FROM:<{MAILBOX}>").code == 250
        else:
            assert client.ask("DATA").both == (554, "5.5.1")

    assert {name: each for name, each in told.items() if each.code // 100 != 5} == {}


@pytest.mark.parametrize("line", ["RCPT TO:<ann@rcpt.test>", "RCPT TO:<a", "NOOP a", "NONSENSE"])
def test_a_line_end_of_another_kind_is_no_line_end(attacked: Target, line: str) -> None:
    """A library that lets LF into an address makes no command of what stands behind it."""
    with logged_in(attacked) as client:
        assert client.ask(f"MAIL FROM:<{MAILBOX}>").code == 250
        client.send(f"{line}\nRCPT TO:<{VICTIM}>\r\nDATA\r\n\r\nx\r\n.\r\n".encode())

        assert [each.both for each in client.rest()] == [(500, "5.5.2")]
    assert to_victim(attacked) == 0

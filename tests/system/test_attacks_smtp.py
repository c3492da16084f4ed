"""The submission listeners of an installed daemon under attack.

One daemon stands for the whole file. After every attack it takes a plain message by SMTP, delivers
it, and its log holds no error. What it costs to hold connections open is in
test_attacks_connections.py, bounces are in test_attacks_bounces.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.peers.attacker import HOME, Attacker, trusting
from tests.peers.gateway import Gateway
from tests.peers.target import Target, target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MAILBOX = "agent@sender.test"
VICTIM = "victim@rcpt.test"


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("attacked")) as running:
        yield running


@pytest.fixture(autouse=True)
def _goes_on(attacked: Target) -> Iterator[None]:
    """Whatever was done to it, the next message by SMTP arrives, and nothing broke inside."""
    yield
    subject = attacked.mark()
    with logged_in(attacked.gateway) as client:
        assert sent(client, f"Subject: {subject}\r\n\r\nHello\r\n".encode()) == (250, "2.0.0")
    attacked.copy(subject)
    assert attacked.faults() == []


def logged_in(gateway: Gateway, door: str = "plain", *, source: str = HOME) -> Attacker:
    """A connection that may send mail; door: plain, or submissions."""
    tls = trusting() if door == "submissions" else None
    client = Attacker(getattr(gateway.ports, door), source=source, tls=tls)
    client.hello()
    assert client.log_in(MAILBOX, gateway.token).code == 235
    return client


def begun(client: Attacker, *, to: str = "ann@rcpt.test") -> None:
    """A transaction that waits for its message."""
    answers = client.ask_all(f"MAIL FROM:<{MAILBOX}>", f"RCPT TO:<{to}>", "DATA")
    assert [answer.code for answer in answers] == [250, 250, 354]


def sent(client: Attacker, octets: bytes) -> tuple[int, str]:
    """What is answered to a message, whose lines end as it says."""
    begun(client)
    client.send(octets + b".\r\n")
    return client.read().both


def count(attacked: Target, query: str, *values: str) -> int:
    """A number that the daemon's database holds."""
    file = f"file:{attacked.gateway.state_dir / 'gatewayd.db'}?mode=ro"
    with closing(sqlite3.connect(file, uri=True, timeout=60)) as connection:
        (number,) = connection.execute(query, values).fetchone()
        return int(number)


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
    with logged_in(attacked.gateway, door) as client:
        for end in ENDS:
            begun(client)
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
    with logged_in(attacked.gateway) as client:
        begun(client)
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

"""Messages that attack: who they say wrote them, what they are made of, and what is logged of them.

Handed in by SMTP, with a good token, to one daemon that stands for the whole file. After every
attack it takes a plain message by SMTP, delivers it, and its log holds no error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.peers.attacker import (
    COST_S,
    MAILBOX,
    Attacker,
    assert_goes_on,
    count,
    cpu_s,
    logged_in,
    stored,
)
from tests.peers.bombs import BOMBS
from tests.peers.target import Target, target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


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


# Whose name it bears.

EVE, ME = "eve@evil.test", MAILBOX
SPOOFS = {
    "other": f"From: {EVE}\r\n",
    "two in one": f"From: {ME}, {EVE}\r\n",
    "two in one, reversed": f"From: {EVE}, {ME}\r\n",
    "two fields": f"From: {ME}\r\nFrom: {EVE}\r\n",
    "two fields, reversed": f"From: {EVE}\r\nFrom: {ME}\r\n",
    "two fields apart": f"From: {ME}\r\nX: y\r\nfROM: {EVE}\r\n",
    "space before the colon": f"From: {ME}\r\nFrom : {EVE}\r\n",
    "folded": f"From:\r\n {EVE}\r\n",
    "folded in the address": f"From: {ME}\r\n\t, {EVE}\r\n",
    "folded to nothing": f"From: \r\n \r\n {EVE}\r\n",
    "display name": f'From: "{ME}" <{EVE}>\r\n',
    "display name, bare": f"From: {ME} <{EVE}>\r\n",
    "encoded word": "From: =?utf-8?q?eve=40evil.test?=\r\n",
    "encoded word, then other": f"From: =?utf-8?q?{ME.replace('@', '=40')}?= <{EVE}>\r\n",
    "encoded word in brackets": "From: <=?utf-8?q?eve=40evil.test?=>\r\n",
    "encoded brackets": f"From: =?utf-8?q?=3Ceve=40evil.test=3E?= <{EVE}>\r\n",
    "group": f"From: all: {ME}, {EVE};\r\n",
    "group of one": f"From: all: {EVE};\r\n",
    "empty group": "From: all:;\r\n",
    "comment": f"From: ({ME}) {EVE}\r\n",
    "comment inside": "From: eve@evil(@sender).test\r\n",
    "nested comment": f"From: {ME} ((<{EVE}>)\r\n",
    "route": f"From: <@sender.test:{EVE}>\r\n",
    "two brackets": f"From: <{ME}><{EVE}>\r\n",
    "no brackets": f"From: {ME} {EVE}\r\n",
    "quoted local-part": 'From: "agent@sender.test,"@evil.test\r\n',
    "subdomain": f"From: {ME}.evil.test\r\n",
    "percent": "From: agent%sender.test@evil.test\r\n",
    "nothing": "From:\r\n",
    "semicolon": f"From: {ME}; {EVE}\r\n",
    "homograph": "From: =?utf-8?q?agent?= <agent@s\u0435nder.test>\r\n",
    "nul": f"From: {ME}\0{EVE}\r\n",
    "sender": f"From: {ME}\r\nSender: {EVE}\r\n",
    "two senders": f"From: {ME}\r\nSender: {ME}\r\nSender: {EVE}\r\n",
    "reply-to": f"From: {ME}\r\nReply-To: {EVE}\r\n",
    "resent-from": f"From: {ME}\r\nResent-From: {EVE}\r\n",
    "resent-from, second": f"From: {ME}\r\nResent-From: {ME}\r\nResent-From: {EVE}\r\n",
    "resent-sender": f"From: {ME}\r\nResent-Sender: {EVE}\r\n",
    "resent-reply-to": f"From: {ME}\r\nResent-Reply-To: {EVE}\r\n",
}


MALFORMED = {
    "two fields": "5.6.0", "two fields, reversed": "5.6.0", "two fields apart": "5.6.0",
    "two senders": "5.6.0", "space before the colon": "5.6.0", "folded to nothing": "5.6.0",
    "nul": "5.5.2",
}  # fmt: skip


def test_nobody_writes_in_anothers_name(attacked: Target) -> None:
    """From and its kin are the mailbox of the token, by every way to read them (RFC 6409 6.1)."""
    before = queued(attacked)
    with logged_in(attacked) as client:
        told = {
            name: client.hand_in(f"{header}Subject: x\r\n\r\nx\r\n".encode()).both
            for name, header in SPOOFS.items()
        }

    assert told == {name: (550, MALFORMED.get(name, "5.7.1")) for name in SPOOFS}
    assert queued(attacked) == before


@pytest.mark.parametrize("path", [EVE, "", f"{ME}.evil.test", f'"{ME}"@evil.test'])
def test_nobody_mails_from_anothers_reverse_path(attacked: Target, path: str) -> None:
    """Nor from the null one: reports are ours to write."""
    with logged_in(attacked) as client:
        assert client.ask(f"MAIL FROM:<{path}>").both == (550, "5.7.1")


def test_ones_own_name_is_ones_own_in_any_case(attacked: Target) -> None:
    """The control of the tests before."""
    with logged_in(attacked) as client:
        named = f'From: "A, B" <{ME.upper()}>\r\n'
        for header in (named, f"From: <{ME}>\r\nSender: {ME}\r\n", ""):
            octets = f"{header}Subject: x\r\n\r\nx\r\n".encode()
            answer = client.hand_in(octets, by=ME.upper())
            assert answer.code == 250


def test_mail_in_a_loop_ends(attacked: Target) -> None:
    """51 Received fields are one hop too many, also with ours among them (RFC 5321 6.3)."""
    hop = b"Received: from a.test by gateway.test; Sat, 21 Nov 2026 12:00:00 +0000\r\n"
    with logged_in(attacked) as client:
        assert client.hand_in(hop * 50 + b"\r\nx\r\n").both == (250, "2.0.0")
        for field in (hop, hop.lower(), hop.replace(b" from", b"\r\n from")):
            assert client.hand_in(field * 51 + b"\r\nx\r\n").both == (554, "5.4.6")


# What it is made of.


def test_a_message_is_taken_apart_within_limits(attacked: Target) -> None:
    """Each is answered, at a bounded cost, and others are served meanwhile."""
    told, costs = {}, {}
    with logged_in(attacked) as client, logged_in(attacked) as other:
        for name, (octets, _) in BOMBS.items():
            before = cpu_s(attacked)
            client.begin()
            client.send(octets + b".\r\n")
            assert other.ask(f"MAIL FROM:<{EVE}>").code == 550
            told[name] = client.read().both
            costs[name] = cpu_s(attacked) - before

    assert told == {name: answer for name, (_, answer) in BOMBS.items()}
    assert {name: cost for name, cost in costs.items() if cost > COST_S} == {}


# What is kept and logged of it.

FORGED = [
    'x","level":"error","event":"ERROR root login"}', "\x1b[2J\x1b]0;pwn\x07", "\x9b31m", "\u2028x",
    "\u202e", "\\n{}", "%s%n%(x)s{x}", "x\tERROR", "\x7f\x08\x08", "<script>alert(1)</script>",
]  # fmt: skip
LINES = ["\n", "\r", "\r\n", "\0", "\x0b", "\x0c", "\x85"]


def test_no_line_of_the_log_is_forged(attacked: Target) -> None:
    """Whatever clients send, each line is one JSON object without control characters."""
    for text in [*FORGED, *(f'x{end}{{"event":"login"}}' for end in LINES)]:
        encoded = text.encode()
        with Attacker(attacked.gateway.ports.plain) as client:
            client.read()
            client.send(b"EHLO " + encoded + b"\r\n")
            client.read()
        with Attacker(attacked.gateway.ports.plain) as client:
            client.hello()
            assert client.log_in(text.replace("\0", ""), "x").code in {535, 501}
        with logged_in(attacked) as client:
            client.send(f"MAIL FROM:<{ME}> SMTPUTF8\r\nRCPT TO:<ann@rcpt.test>\r\n".encode())
            client.send(b"DATA\r\nMessage-ID: <" + encoded + b"@x>\r\nX-Gatewayd-Track: off\r\n")
            client.send(b"Subject: " + encoded + b"\r\n\r\nx\r\n.\r\n")
            client.read(), client.read(), client.read()
            assert client.read().code in {250, 550}
        with logged_in(attacked) as client:
            client.ask(f"MAIL FROM:<{ME}> SMTPUTF8")
            client.send(b'RCPT TO:<"' + encoded + b'"@rcpt.test>\r\n')
            client.read()

    lines = attacked.log_lines()
    assert [line for line in lines if not line.isprintable()] == []
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert attacked.gateway.logged("login") == []


SQL = [
    "' OR '1'='1", "'; DROP TABLE messages; --", '"; DROP TABLE recipients; --', "') ; VACUUM; --",
    "' UNION SELECT address FROM mailboxes --", "1; ATTACH DATABASE '/tmp/x' AS x", "\\'; --",
    "%' --", ":queue_id", "?1", "$1", "%(state)s", "'||(SELECT token_id FROM tokens)||'", "NULL",
]  # fmt: skip
KEPT = (
    "SELECT subject, key, forward_path FROM messages JOIN idempotency USING (queue_id)"
    " JOIN recipients USING (queue_id) WHERE queue_id = ?"
)
TABLES = "SELECT group_concat(name || sql) FROM sqlite_master"


def test_what_looks_like_sql_is_text(attacked: Target) -> None:
    """In EHLO, recipient, subject and key it is refused, or kept as it came."""
    tables = stored(attacked, TABLES)
    for text in SQL:
        address = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"@rcpt.test'
        with logged_in(attacked) as client:
            client.ask(f"EHLO {text}")
            key = text.replace(" ", "/**/").replace('"', "''")
            header = f"Subject: {text}\r\nIdempotency-Key: {key}\r\nMessage-ID: <{key}@x>\r\n"
            answer = client.hand_in(f"{header}\r\nx\r\n".encode(), to=address)
        assert answer.code == 250
        assert stored(attacked, KEPT, answer.text.split()[1]) == [(text, key, address)]

    assert stored(attacked, TABLES) == tables
